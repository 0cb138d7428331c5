"""From a file to a checked configuration, with everything that is wrong with it.

The order matters: files are merged first, `environment_variables` take effect second, and only then is
anything interpolated and bound.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.config import document
from penstock.config.bind import Binder
from penstock.config.document import Mapping, Sequence
from penstock.config.env import Environment
from penstock.config.include import Sources, merge_includes, read
from penstock.config.problems import ConfigError, Problem, Report
from penstock.config.schema import Config, ModelEntry
from penstock.config.validate import validate


class Loaded(msgspec.Struct, frozen=True):
    """What loading came to. Usable when there is no error among the problems."""

    config: Config
    """Holds every part that could be read, even when there are errors."""
    problems: list[Problem]
    """Errors and warnings, in the order of the file."""
    environment: Environment
    """The environment with the file's `environment_variables`: what the configuration is to be compiled with."""
    sources: dict[str, str]
    """Texts of the files by name, for showing problems."""

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(problem.severity != "error" for problem in self.problems)


def load(path: Path | None, environment: Environment) -> Loaded:
    """Read and check the configuration at ``path``; without one, Penstock's defaults. Never raises."""
    report, sources = Report(), Sources()
    if path is None:
        return _finish(Config(), report, environment, sources)
    root = read(path, report, sources)
    return _bind(root, report, environment, sources)


def load_text(text: str, name: str, environment: Environment) -> Loaded:
    """Like :func:`load`, for a configuration that does not come from a file; ``name`` stands for it in problems."""
    report, sources = Report(), Sources()
    sources.texts[name] = text
    root = merge_includes(document.parse(text, name, report), None, report, sources)
    return _bind(root, report, environment, sources)


def load_or_raise(path: Path | None, environment: Environment) -> Loaded:
    """Like :func:`load`.

    Raises:
        ConfigError: there are errors; it carries the warnings too.
    """
    loaded = load(path, environment)
    if not loaded.ok:
        raise ConfigError(loaded.problems)
    return loaded


def _bind(root: Mapping, report: Report, environment: Environment, sources: Sources) -> Loaded:
    variables = root.entries.get("environment_variables")
    if variables is not None:
        exported = Binder(Report(), environment).section(
            Mapping({"environment_variables": variables}, root.mark), Config, ()
        )
        if exported is not None:
            environment = environment.overlay(
                {name: value.reveal() for name, value in exported.environment_variables.items()}
            )
    models = root.entries.get("model_list")
    rest = Mapping({name: entry for name, entry in root.entries.items() if name != "model_list"}, root.mark)
    config = Binder(report, environment).section(rest, Config, ()) or Config()
    entries: list[ModelEntry] = []
    if models is not None:
        report.place(("model_list",), models.mark)
        entries = _models(models.value, report, environment)
    config = msgspec.structs.replace(config, model_list=entries, from_file=True)
    return _finish(config, report, environment, sources)


def _models(node: document.Node, report: Report, environment: Environment) -> list[ModelEntry]:
    if not isinstance(node, Sequence):
        if not (isinstance(node, document.Scalar) and node.plain and node.text in {"", "~", "null"}):
            report.error(("model_list",), "must be a list", mark=node.mark, confidential=True)
        return []
    entries: list[ModelEntry] = []
    for index, item in enumerate(node.items):
        # One binder each, to know which entry asks for a variable that is not set.
        binder = Binder(report, environment)
        entry = binder.section(item, ModelEntry, ("model_list", index))
        if entry is not None:
            entries.append(msgspec.structs.replace(entry, unresolved=tuple(binder.missing), position=index))
    return entries


def _finish(config: Config, report: Report, environment: Environment, sources: Sources) -> Loaded:
    validate(config, environment, report)
    order = {name: index for index, name in enumerate(sources.texts)}
    problems = sorted(
        [*environment.problems(), *report.problems],
        key=lambda problem: (order.get(problem.file, len(order)), problem.line, problem.column),
    )
    return Loaded(config, list(dict.fromkeys(problems)), environment, sources.texts)
