"""`/{user,team,organization,customer,tag}/daily/activity` in LiteLLM's shape: a page of days with their breakdowns.

Apart from the other reports because of its shape alone: everything that can be said of a day stands in one object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.ledger.rollups import DAY_MS
from penstock.money import dollars
from penstock.spend.models import Days, Dimension, Sums
from penstock.spend.reports import date_of
from penstock.spend.store import SpendStore

_LISTED = 100
"""Entities and keys that a day's breakdown names, the most expensive first."""


class Page(msgspec.Struct, frozen=True):
    """Which of the days that had a call are shown, from 1; None: all of them."""

    number: int = 1
    size: int | None = None


class Activity:
    """Days and what happened on them."""

    def __init__(self, store: SpendStore) -> None:
        self._store = store

    async def of(self, dimension: Dimension, names: Sequence[str] | None, within: Days, page: Page) -> dict[str, Any]:
        """Days of these entities together, the latest first; None: of all that there are.

        For users that is the whole gateway, with or without a user.
        """
        series = await self._series(dimension, names, within)
        size = page.size or max(1, len(series))
        chosen = series[(page.number - 1) * size : page.number * size]
        results = []
        for day, sums in chosen:
            breakdown = await self._breakdown(dimension, names, Days(day, day + DAY_MS))
            results.append({"date": date_of(day), "metrics": _metrics(sums), "breakdown": breakdown})
        whole = Sums()
        for _, sums in series:
            whole.add(sums)
        pages = math.ceil(len(series) / size)
        return {
            "results": results,
            "metadata": {
                **{f"total_{name.removeprefix('total_')}": value for name, value in _metrics(whole).items()},
                "page": page.number,
                "total_pages": pages,
                "has_more": page.number < pages,
            },
        }

    async def _series(self, dimension: Dimension, names: Sequence[str] | None, within: Days) -> list[tuple[int, Sums]]:
        if names is None:
            return await self._store.by_day("all" if dimension == "user" else dimension, within)
        found: dict[int, Sums] = {}
        for point in await self._store.points_of(dimension, names, within):
            found.setdefault(point.day, Sums()).add(point.sums)
        return sorted(found.items(), reverse=True)

    async def _breakdown(self, dimension: Dimension, names: Sequence[str] | None, day: Days) -> dict[str, Any]:
        if names is None:
            entities = await self._store.by_name(dimension, day, _LISTED)
        else:
            entities = [(point.name, point.sums) for point in await self._store.points_of(dimension, names, day)]
        shown = {"entities": _each(entities)}
        if names is None and dimension == "user":
            for name, by in (("models", "model"), ("providers", "provider"), ("api_keys", "key")):
                shown[name] = _each(await self._store.by_name(by, day, _LISTED))
            return shown
        if names is None:
            pairs = await self._store.models_by_day(dimension, day)
        else:
            pairs = await self._store.models_of(dimension, names, day)
        models: dict[str, Sums] = {}
        for _, point in pairs:
            models.setdefault(point.name, Sums()).add(point.sums)
        shown["models"] = _each(models.items())
        return shown


def _each(found: Any) -> dict[str, Any]:
    return {name: {"metrics": _metrics(sums), "metadata": {}} for name, sums in found}


def _metrics(sums: Sums) -> dict[str, Any]:
    return {
        "spend": dollars(sums.cost),
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "cache_read_input_tokens": sums.cached_tokens,
        "total_tokens": sums.tokens,
        "successful_requests": sums.calls - sums.failed_calls,
        "failed_requests": sums.failed_calls,
        "api_requests": sums.calls,
    }
