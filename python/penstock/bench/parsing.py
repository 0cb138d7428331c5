"""What stands behind an option: lists, durations, pairs, headers. Whatever does not fit is named with its option."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from penstock.bench.wire import UsageError

_DURATION: Final = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?$")
_MILLIS: Final = {"ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})

T = TypeVar("T")


def numbers(text: str, option: str, kind: Callable[[str], T], fits: Callable[[T], bool], said: str) -> list[T]:
    """A list of numbers, each of which fits and is there once; ``said`` says what fits.

    Raises:
        UsageError: named by ``option``.
    """
    found: list[T] = []
    for piece in text.split(","):
        try:
            number = kind(piece.strip())
        except ValueError:
            raise UsageError(f"{option}: {piece.strip()!r} is not a number; write e.g. 8 or 1,8,32") from None
        if not fits(number):
            raise UsageError(f"{option}: {piece.strip()} must be {said}")
        if number in found:
            raise UsageError(f"{option}: {piece.strip()} is there twice")
        found.append(number)
    return found


def duration(text: str, option: str) -> int:
    """Milliseconds of `10s`, `500ms`, `2m`, `1h`; a number alone is seconds.

    Raises:
        UsageError: named by ``option``.
    """
    match = _DURATION.match(text.strip())
    millis = round(float(match[1]) * _MILLIS[match[2] or "s"]) if match is not None else 0
    if not 1 <= millis <= 86_400_000:
        raise UsageError(f"{option}: {text!r} is not a duration up to a day; write e.g. 10s, 500ms or 2m")
    return millis


def pair(text: str, option: str, shape: str) -> tuple[str, str]:
    """Both sides of the first `=`; ``shape`` is how the option is written.

    Raises:
        UsageError: named by ``option``.
    """
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise UsageError(f"{option} {text!r}: must be {shape}")
    return name.strip(), value.strip()


def header(text: str) -> tuple[str, str]:
    """Name, in small letters, and value of `Name: value`.

    Raises:
        UsageError: it is none, or is one that the tool sets.
    """
    name, sign, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not sign or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name) or "\n" in value or "\r" in value:
        raise UsageError(f"--header: {name!r}: must be 'Name: value'")
    if name in _OWN_HEADERS:
        raise UsageError(f"--header: {name!r} is set by the tool")
    return name, value


def known(given: Iterable[str], labels: Sequence[str], option: str) -> None:
    """All of them are labels of targets.

    Raises:
        UsageError: one is not; named by ``option``.
    """
    for label in given:
        if label not in labels:
            raise UsageError(f"{option}: no target is called {label!r}; there are {', '.join(labels)}")
