"""Sums of spending in LiteLLM's shapes, read from the rollups alone.

Apart from the list of calls because these never look at one: a report over a year costs what the number of days and
names costs, whatever the traffic was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from penstock.money import dollars
from penstock.spend.models import Days, Dimension, Point, Sums
from penstock.spend.store import SpendStore

ALL = ["all"]
GroupBy = Literal["team", "customer", "api_key"]
_NAMED: dict[str, tuple[str, str]] = {"team": ("teams", "team_name"), "customer": ("customers", "customer")}


def date_of(day: int) -> str:
    """`2026-01-31`."""
    return datetime.fromtimestamp(day / 1000, UTC).strftime("%Y-%m-%d")


class Reports:
    """Questions about sums."""

    def __init__(self, store: SpendStore) -> None:
        self._store = store

    async def top(self, dimension: Dimension, within: Days, limit: int | None = None) -> list[tuple[str, Sums]]:
        """Names by what they spent, the most expensive first."""
        return await self._store.by_name(dimension, within, limit)

    async def names(self, dimension: Dimension, within: Days) -> list[str]:
        """Every name, in order."""
        return await self._store.names(dimension, within)

    async def of(self, dimension: Dimension, names: Sequence[str], within: Days) -> list[tuple[str, Sums]]:
        """Names in the order given, with what each spent."""
        sums = {name: Sums() for name in names}
        for point in await self._store.points_of(dimension, list(sums), within):
            sums[point.name].add(point.sums)
        return list(sums.items())

    async def by_day(self, dimension: Dimension, names: Sequence[str], within: Days) -> list[tuple[int, Sums]]:
        """What these names spent together each day, the first day first; days without a call are left out."""
        found: dict[int, Sums] = {}
        for point in await self._store.points_of(dimension, list(dict.fromkeys(names)), within):
            found.setdefault(point.day, Sums()).add(point.sums)
        return sorted(found.items())

    async def teams(self, within: Days) -> dict[str, Any]:
        """`/global/spend/teams`."""
        points = await self._store.points("team", within)
        by_day: dict[int, dict[str, Any]] = {}
        for point in reversed(points):
            row = by_day.setdefault(point.day, {"date": date_of(point.day)})
            row[point.name] = dollars(point.sums.cost)
        total = await self._store.by_name("team", within)
        return {
            "daily_spend": list(by_day.values()),
            "teams": [name for name, _ in total],
            "total_spend_per_team": [{"team_id": name, "total_spend": dollars(sums.cost)} for name, sums in total],
        }

    async def activity(self, within: Days) -> dict[str, Any]:
        """`/global/activity`."""
        return _activity(await self.by_day("all", ALL, within))

    async def activity_by_model(self, within: Days) -> list[dict[str, Any]]:
        """`/global/activity/model`, the busiest model first."""
        found: dict[str, list[tuple[int, Sums]]] = {}
        for point in reversed(await self._store.points("model", within)):
            found.setdefault(point.name, []).append((point.day, point.sums))
        shown = [{"model": name, **_activity(series)} for name, series in found.items()]
        return sorted(shown, key=lambda one: (-one["sum_api_requests"], one["model"]))

    async def summary(self, dimension: Dimension, names: Sequence[str], within: Days) -> list[dict[str, Any]]:
        """`/spend/logs` summed up: a row for each day, the first day first. A key's row names no users."""
        rows: dict[int, dict[str, Any]] = {
            day: {"startTime": date_of(day), "spend": dollars(sums.cost), "users": {}, "models": {}}
            for day, sums in await self.by_day(dimension, names, within)
        }
        if dimension == "all":
            models: Iterable[Point] = await self._store.points("model", within)
        else:
            models = [point for _, point in await self._store.models_of(dimension, names, within)]
        users: list[Point] = []
        if dimension == "all":
            users = await self._store.points("user", within)
        elif dimension == "user":
            users = await self._store.points_of("user", names, within)
        for column, points in (("models", models), ("users", users)):
            for point in points:
                if point.day in rows:
                    _add(rows[point.day][column], point)
        return list(rows.values())

    async def report(self, group_by: GroupBy, name: str | None, within: Days) -> list[dict[str, Any]]:
        """`/global/spend/report`: by day and team or customer, or by key; of one of them, or of all."""
        dimension = "key" if group_by == "api_key" else group_by
        if name is None:
            pairs = await self._store.models_by_day(dimension, within)
        else:
            pairs = await self._store.models_of(dimension, [name], within)
        if group_by == "api_key":
            return _by_key(pairs)
        key, label = _NAMED[group_by]
        by_day: dict[int, dict[str, dict[str, Any]]] = {}
        for owner, point in reversed(pairs):
            found = by_day.setdefault(point.day, {}).setdefault(owner, {label: owner, "nanos": 0, "metadata": []})
            found["nanos"] += point.sums.cost
            found["metadata"].append(
                {"model": point.name, "spend": dollars(point.sums.cost), "total_tokens": point.sums.tokens}
            )
        return [
            {
                "group_by_day": f"{date_of(day)}T00:00:00+00:00",
                key: [
                    {label: owner, "total_spend": dollars(found["nanos"]), "metadata": found["metadata"]}
                    for owner, found in sorted(owners.items())
                ],
            }
            for day, owners in by_day.items()
        ]

    async def models_of(self, dimension: Dimension, name: str, within: Days) -> list[tuple[str, Sums]]:
        """What one name spent on each model, the most expensive first."""
        found: dict[str, Sums] = {}
        for _, point in await self._store.models_of(dimension, [name], within):
            found.setdefault(point.name, Sums()).add(point.sums)
        return sorted(found.items(), key=lambda pair: (-pair[1].cost, pair[0]))


def _add(to: dict[str, float], point: Point) -> None:
    to[point.name] = to.get(point.name, 0.0) + dollars(point.sums.cost)


def _activity(series: Sequence[tuple[int, Sums]]) -> dict[str, Any]:
    return {
        "daily_data": [
            {
                "date": datetime.fromtimestamp(day / 1000, UTC).strftime("%b %d"),
                "api_requests": sums.calls,
                "total_tokens": sums.tokens,
            }
            for day, sums in series
        ],
        "sum_api_requests": sum(sums.calls for _, sums in series),
        "sum_total_tokens": sum(sums.tokens for _, sums in series),
    }


def _by_key(pairs: Iterable[tuple[str, Point]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Sums]] = {}
    for token, point in pairs:
        found.setdefault(token, {}).setdefault(point.name, Sums()).add(point.sums)
    shown = []
    for token, models in found.items():
        whole = Sums()
        for sums in models.values():
            whole.add(sums)
        details = [{"model": model, **_costs(sums)} for model, sums in sorted(models.items())]
        shown.append({"api_key": token, **_costs(whole), "model_details": details})
    return sorted(shown, key=lambda one: (-one["total_cost"], one["api_key"]))


def _costs(sums: Sums) -> dict[str, Any]:
    return {
        "total_cost": dollars(sums.cost),
        "total_input_tokens": sums.prompt_tokens,
        "total_output_tokens": sums.completion_tokens,
    }
