"""What is wrong with a configuration: the one form in which every part of the loader reports.

It stands apart so that reading, binding and checking can report without knowing each other, and so
that nothing is thrown at the first mistake: an operator gets the whole list at once.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of the configuration down to a value."""

ENVIRONMENT = "environment"
"""Stands in place of a file name when an environment variable is at fault."""


class Mark(msgspec.Struct, frozen=True):
    """A place in a file; line and column count from 1, 0 means that there is none."""

    file: str
    line: int = 0
    column: int = 0


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. Its text never holds a value from the file, since any value may be a secret."""

    severity: Literal["error", "warning"]
    message: str
    """What is wrong and what to do about it."""
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    """Key path, e.g. `model_list[0].litellm_params.rpm`."""
    confidential: bool = False
    """The source line may hold a secret or cannot be understood: it is shown with its values masked."""


class ConfigError(Exception):
    """A configuration that cannot be used. Carries every problem found, warnings included."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        errors = [problem for problem in problems if problem.severity == "error"]
        super().__init__("\n".join(describe(problem) for problem in errors) or "the configuration cannot be used")


def describe(problem: Problem) -> str:
    """`file:line:column: severity: path: message`, leaving out what is not known."""
    place = problem.file
    if problem.line:
        place += f":{problem.line}:{problem.column}"
    subject = f"{problem.path}: " if problem.path else ""
    return f"{place}: {problem.severity}: {subject}{problem.message}" if place else f"{subject}{problem.message}"


def dotted(path: Path) -> str:
    """`model_list[0].litellm_params.rpm`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class Report:
    """Collects problems while a configuration is read, and remembers where each key path was written."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._marks: dict[Path, Mark] = {}

    def place(self, path: Path, mark: Mark) -> None:
        """Remember that the value at ``path`` was written at ``mark``."""
        self._marks[path] = mark

    def locate(self, path: Path) -> Mark:
        """Where ``path``, or the nearest of its parents that was written, stands."""
        while path:
            mark = self._marks.get(path)
            if mark is not None:
                return mark
            path = path[:-1]
        return self._marks.get((), Mark(file=""))

    def error(self, path: Path, message: str, *, mark: Mark | None = None, confidential: bool = False) -> None:
        """Report what must be put right before the configuration can be used."""
        self._add("error", path, message, mark, confidential)

    def warning(self, path: Path, message: str, *, mark: Mark | None = None, confidential: bool = False) -> None:
        """Report what can be lived with."""
        self._add("warning", path, message, mark, confidential)

    def _add(
        self,
        severity: Literal["error", "warning"],
        path: Path,
        message: str,
        mark: Mark | None,
        confidential: bool,
    ) -> None:
        place = mark if mark is not None else self.locate(path)
        self.problems.append(
            Problem(
                severity=severity,
                message=message,
                file=place.file,
                line=place.line,
                column=place.column,
                path=dotted(path),
                confidential=confidential,
            )
        )
