"""Sums of usage by hour and by day, for every dimension that reports ask by.

Apart from the store because it is arithmetic on a batch: the records are added up in memory, so that a batch costs a
statement per few dozen rows that it touches, and not one per record and dimension.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add

import msgspec

from penstock.engine.events import UsageRecord

BETWEEN = "\x1f"
"""Between the two names of a dimension that is made of two."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DIMENSIONS = ("key", "team", "user", "org", "customer", "model", "deployment", "provider")
"""With the records' columns of :data:`_COLUMNS`; besides `all` (of the one name `all`) and `tag`, of which a record may have several.

By day there is also `<dimension>_model` for those of :data:`_BY_MODEL`, whose name is `<name>\x1f<model group>`.
"""
_COLUMNS = ("token", "team_id", "user_id", "org_id", "end_user", "model_group", "deployment_id", "provider")
_BY_MODEL = {
    "key": "key_model",
    "team": "team_model",
    "user": "user_model",
    "org": "org_model",
    "customer": "customer_model",
}
_tags = msgspec.json.Decoder(list[str])

Sums = tuple[int, int, int, int, int, int, int]
"""Calls, failed calls, prompt, completion, cached and reasoning tokens, nano-dollars."""
Row = tuple[str, int, str, str, int, int, int, int, int, int, int]
"""Period (`hour`, `day`), its start in Unix milliseconds, dimension, name, and the sums."""
_Names = dict[str, dict[str, Sums]]
"""By dimension and name."""
_Group = tuple[int, str, str, str, str, str, str, str, str, str]
"""Hour, tags and the columns."""
_MODEL = _COLUMNS.index("model_group")


def rollups(records: Iterable[UsageRecord]) -> list[Row]:
    """The rows that records add to, in the order of their keys: two writers take the same rows in the same order."""
    hours: dict[int, _Names] = {}
    days: dict[int, _Names] = {}
    for (hour, tags, *names), sums in _groups(records).items():
        by_hour = hours.setdefault(hour, {})
        by_day = days.setdefault(hour - hour % DAY_MS, {})
        model = names[_MODEL]
        _add(by_hour, "all", "all", sums)
        for dimension, name in zip(DIMENSIONS, names, strict=True):
            if name:
                _add(by_hour, dimension, name, sums)
                if model and dimension in _BY_MODEL:
                    _add(by_day, _BY_MODEL[dimension], f"{name}{BETWEEN}{model}", sums)
        if tags != "[]":
            for tag in dict.fromkeys(_tags.decode(tags)):
                _add(by_hour, "tag", tag, sums)
                if model:
                    _add(by_day, "tag_model", f"{tag}{BETWEEN}{model}", sums)
    for hour, found in hours.items():
        by_day = days[hour - hour % DAY_MS]
        for dimension, sums_of in found.items():
            for name, sums in sums_of.items():
                _add(by_day, dimension, name, sums)
    return [
        (period, start, dimension, name, *sums)
        for period, by_start in (("day", days), ("hour", hours))
        for start in sorted(by_start)
        for dimension in sorted(by_start[start])
        for name, sums in sorted(by_start[start][dimension].items())
    ]


def totals(rows: Iterable[Row]) -> Sums:
    """What all records together are, of the rows that :func:`rollups` made of them."""
    found: Sums = (0, 0, 0, 0, 0, 0, 0)
    for period, _, dimension, _, *sums in rows:
        if period == "day" and dimension == "all":
            found = tuple(map(add, found, sums))
    return found


def _groups(records: Iterable[UsageRecord]) -> dict[_Group, Sums]:
    """Records that agree in everything that is reported by, added up: most batches have few such groups."""
    groups: dict[_Group, Sums] = {}
    for record in records:
        key = (
            record.started_at - record.started_at % HOUR_MS,
            record.tags,
            record.token,
            record.team_id,
            record.user_id,
            record.org_id,
            record.end_user,
            record.model_group,
            record.deployment_id,
            record.provider,
        )
        found = groups.get(key)
        calls, failed, prompt, completion, cached, reasoning, cost = found or (0, 0, 0, 0, 0, 0, 0)
        groups[key] = (
            calls + 1,
            failed + (record.outcome != "ok"),
            prompt + record.prompt_tokens,
            completion + record.completion_tokens,
            cached + record.cached_tokens,
            reasoning + record.reasoning_tokens,
            cost + record.cost,
        )
    return groups


def _add(to: _Names, dimension: str, name: str, sums: Sums) -> None:
    sums_of = to.get(dimension)
    if sums_of is None:
        sums_of = to[dimension] = {}
    found = sums_of.get(name)
    # Where a name comes once, which is what costs in traffic over many keys, its sums are shared and not copied.
    sums_of[name] = sums if found is None else tuple(map(add, found, sums))
