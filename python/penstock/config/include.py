"""`include:`: other files merged into the one that names them.

Works on nodes, before binding, so that a problem in an included file is reported in that file. As in
LiteLLM, lists are joined and what an included file sets goes before what its includer set; mappings are
merged key by key rather than replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from penstock.config import document
from penstock.config.document import Entry, Mapping, Scalar, Sequence
from penstock.config.problems import Mark, Report

MAX_FILES: Final = 100


class Sources:
    """The files that were read, by the name under which problems refer to them."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}


def read(path: Path, report: Report, sources: Sources) -> Mapping:
    """The file at ``path`` with everything that it includes."""
    return _Reader(report, sources).file(path, str(path), None, ())


def merge_includes(root: Mapping, directory: Path | None, report: Report, sources: Sources) -> Mapping:
    """``root`` with what it includes; ``directory`` None: it came from no file and cannot include any."""
    return _Reader(report, sources).expand(root, directory, ())


class _Reader:
    def __init__(self, report: Report, sources: Sources) -> None:
        self._report = report
        self._sources = sources

    def file(self, path: Path, name: str, asked: Mark | None, above: tuple[Path, ...]) -> Mapping:
        empty = Mapping({}, asked or Mark(name, 1, 1))
        where = asked if asked is not None else Mark(name)
        try:
            resolved = path.resolve()
            if resolved in above:
                self._report.error(("include",), "this file includes itself, directly or through another", mark=where)
                return empty
            if len(self._sources.texts) >= MAX_FILES:
                self._report.error(("include",), f"more than {MAX_FILES} files are included", mark=where)
                return empty
            if not path.is_file():
                self._report.error((), f"there is no file at {name}", mark=where)
                return empty
            if path.stat().st_size > document.MAX_BYTES:
                self._report.error((), f"the file is longer than {document.MAX_BYTES >> 20} MiB", mark=where)
                return empty
            text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "its path cannot be used"
            self._report.error((), f"the file cannot be read: {reason}", mark=where)
            return empty
        self._sources.texts[name] = text
        return self.expand(document.parse(text, name, self._report), path.parent, (*above, resolved))

    def expand(self, root: Mapping, directory: Path | None, above: tuple[Path, ...]) -> Mapping:
        include = root.entries.get("include")
        if include is None:
            return root
        if not isinstance(include.value, Sequence):
            return root
        for item in include.value.items:
            if not isinstance(item, Scalar):
                continue
            if directory is None:
                self._report.error(("include",), "only a configuration file can include others", mark=item.mark)
                continue
            path = directory / item.text
            _merge(root, self.file(path, str(path), item.mark, above), self._report, ())
        return root


def _merge(into: Mapping, other: Mapping, report: Report, path: tuple[str, ...]) -> None:
    for name, entry in other.entries.items():
        if name == "include" and not path:
            continue
        mine = into.entries.get(name)
        if mine is None:
            into.entries[name] = entry
        elif isinstance(mine.value, Sequence) and isinstance(entry.value, Sequence):
            items = [*mine.value.items, *entry.value.items]
            into.entries[name] = Entry(name, mine.mark, Sequence(items, mine.value.mark))
        elif isinstance(mine.value, Mapping) and isinstance(entry.value, Mapping):
            merged = Mapping(dict(mine.value.entries), mine.value.mark)
            _merge(merged, entry.value, report, (*path, name))
            into.entries[name] = Entry(name, mine.mark, merged)
        else:
            report.warning(
                (*path, name),
                f"replaces what {mine.mark.file}:{mine.mark.line} set: keep one of the two",
                mark=entry.mark,
            )
            into.entries[name] = entry
