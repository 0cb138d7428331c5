"""What this process holds of budgets and slots: absolute amounts that Redis is told whenever they change.

Apart from the service because the amounts outlive every connection: they are true here, and Redis has a copy.
"""

from __future__ import annotations

from typing import NamedTuple

Held = tuple[str, str]
"""Scope and kind, `parallel` or `budget`."""


class _Entry:
    __slots__ = ("amount", "asserted_at", "drawn", "tag")

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.amount = 0
        self.drawn = 0
        self.asserted_at = 0


class Assertion(NamedTuple):
    """One amount that Redis is about to be told."""

    held: Held
    tag: str
    amount: int


class Holds:
    """Times are monotonic milliseconds."""

    def __init__(self) -> None:
        self._entries: dict[Held, _Entry] = {}
        self._dirty: dict[Held, None] = {}

    def amount(self, held: Held) -> int:
        """What is held."""
        entry = self._entries.get(held)
        return entry.amount if entry is not None else 0

    def add(self, held: Held, tag: str, units: int, now: int, *, is_known: bool) -> None:
        """Units were granted, by Redis (``is_known``) or without it."""
        entry = self._entries.setdefault(held, _Entry(tag))
        entry.tag = tag
        entry.amount += units
        entry.drawn += units
        if is_known:
            entry.asserted_at = now
        else:
            self._dirty[held] = None

    def tag(self, held: Held) -> str | None:
        """Where it is at home; None: nothing of it is known here."""
        entry = self._entries.get(held)
        return entry.tag if entry is not None else None

    def of_kind(self, kind: str) -> list[str]:
        """Scopes of which something is held."""
        return [scope for (scope, its), entry in self._entries.items() if its == kind and entry.amount]

    def change(self, held: Held, by: int, now: int) -> int:
        """The amount changes with a word to Redis that its caller sends; returns what it is then."""
        entry = self._entries[held]
        entry.amount = max(0, entry.amount + by)
        entry.asserted_at = now
        return entry.amount

    def give_back(self, held: Held, units: int) -> None:
        """Units are no longer needed."""
        if (entry := self._entries.get(held)) is not None:
            entry.amount = max(0, entry.amount - units)
            self._dirty[held] = None

    def restate(self, held: Held, amount: int, drawn: int) -> None:
        """The amount as of a count that had seen ``drawn`` units of grants; later grants come on top."""
        if (entry := self._entries.get(held)) is not None:
            entry.amount = amount + max(0, entry.drawn - drawn)
            self._dirty[held] = None

    def doubt(self, held: Held, tag: str) -> None:
        """A draw came to an unknown end: Redis may count more than is held, so it is told the amount."""
        self._entries.setdefault(held, _Entry(tag))
        self._dirty[held] = None

    def forgotten(self, tag: str | None) -> None:
        """Redis lost everything (None) or everything of one tag."""
        for held, entry in self._entries.items():
            if tag is None or entry.tag == tag:
                self._dirty[held] = None

    def ageing(self, before: int) -> None:
        """Amounts that Redis was told before a time are told again, so that they do not expire."""
        for held, entry in self._entries.items():
            if entry.amount and entry.asserted_at <= before:
                self._dirty[held] = None

    def take_dirty(self, now: int, limit: int) -> list[Assertion]:
        """Amounts that Redis must be told; they count as told unless :meth:`doubt` is called."""
        taken = []
        for held in list(self._dirty)[:limit]:
            del self._dirty[held]
            entry = self._entries[held]
            entry.asserted_at = now
            taken.append(Assertion(held, entry.tag, entry.amount))
        return taken

    def changed(self) -> int:
        """How many amounts Redis must be told."""
        return len(self._dirty)

    def release_all(self, *, but: str | None = None) -> None:
        """Nothing is needed any more, except for what is of the kind ``but``."""
        for held, entry in self._entries.items():
            if held[1] != but:
                entry.amount = 0
                self._dirty[held] = None

    def tags(self) -> set[str]:
        """Of everything that is held."""
        return {entry.tag for entry in self._entries.values() if entry.amount}

    def prune(self) -> None:
        """Let go of what is held no more and told so."""
        for held in [held for held, entry in self._entries.items() if not entry.amount and held not in self._dirty]:
            del self._entries[held]
