"""`/spend/...` and `/global/...` that answer with sums, in LiteLLM's shapes.

Dates are whole days in UTC, both included; without them a report is about the last 30 days.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import FromQuery, QueryParameter

from penstock.access import Access, caller_of
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import bad_request
from penstock.keys.models import KeyFilter
from penstock.keys.routes import shown_to
from penstock.money import dollars
from penstock.spend.models import Days, Sums, days, names_in
from penstock.spend.reports import ALL, GroupBy, date_of

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Date = FromQuery[str | None]


async def _within(runtime: Runtime, start_date: str | None, end_date: str | None, *, usual: bool = True) -> Days:
    """The days asked for, with everything settled so far in their sums."""
    within = days(start_date, end_date, usual=usual)
    await runtime.usage.flush()
    return within


@get("/spend/keys", access=Access.VIEWER)
async def keys(request: Request[Any, Any, Any], runtime: CurrentRuntime, limit: Limit = 100) -> list[dict[str, Any]]:
    """Keys by what they spent in their budget windows, the most expensive first."""
    await runtime.usage.flush()
    found, _ = await runtime.keys.page(KeyFilter(), "spend", True, 1, limit)
    return [shown_to(request, runtime, key) for key in found]


@get("/spend/users", access=Access.VIEWER)
async def users(
    runtime: CurrentRuntime,
    user_id: FromQuery[str | None] = None,
    start_date: Date = None,
    end_date: Date = None,
    limit: Limit = 100,
) -> list[dict[str, Any]]:
    """Users by what their calls cost, the most expensive first; without dates ever."""
    within = await _within(runtime, start_date, end_date, usual=False)
    reports = runtime.spend.reports
    found = await reports.of("user", [user_id], within) if user_id else await reports.top("user", within, limit)
    return [{"user_id": name, **_sums(sums)} for name, sums in found]


@get("/spend/tags", access=Access.VIEWER)
async def tags(runtime: CurrentRuntime, start_date: Date = None, end_date: Date = None) -> list[dict[str, Any]]:
    """Request tags by what their calls cost, the most expensive first."""
    found = await runtime.spend.reports.top("tag", await _within(runtime, start_date, end_date))
    return [
        {"individual_request_tag": name, "log_count": sums.calls, "total_spend": dollars(sums.cost)}
        for name, sums in found
    ]


@get("/global/spend/tags", access=Access.VIEWER)
async def global_tags(
    runtime: CurrentRuntime,
    start_date: Date = None,
    end_date: Date = None,
    tags: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """The same for some tags (`tags=a,b`), or for all."""
    within = await _within(runtime, start_date, end_date)
    chosen = names_in(tags, "tags")
    reports = runtime.spend.reports
    found = await reports.of("tag", chosen, within) if chosen else await reports.top("tag", within)
    return {
        "spend_per_tag": [{"name": name, "spend": dollars(sums.cost), "log_count": sums.calls} for name, sums in found]
    }


@get("/global/spend/all_tag_names", access=Access.VIEWER)
async def tag_names(runtime: CurrentRuntime) -> dict[str, Any]:
    """Every tag that a call ever had."""
    return {"tag_names": await runtime.spend.reports.names("tag", await _within(runtime, None, None, usual=False))}


@get("/global/spend/logs", access=Access.VIEWER)
async def global_logs(
    runtime: CurrentRuntime, api_key: FromQuery[str | None] = None, start_date: Date = None, end_date: Date = None
) -> list[dict[str, Any]]:
    """What each day cost, of all calls or of a key's; days without a call are left out."""
    within = await _within(runtime, start_date, end_date)
    if api_key is None:
        series = await runtime.spend.reports.by_day("all", ALL, within)
        return [{"date": date_of(day), "spend": dollars(sums.cost)} for day, sums in series]
    tokens = await runtime.keys.tokens_ever(api_key)
    series = await runtime.spend.reports.by_day("key", tokens, within)
    return [{"date": date_of(day), "spend": dollars(sums.cost), "api_key": tokens[0]} for day, sums in series]


@get("/global/spend/keys", access=Access.VIEWER)
async def global_keys(
    runtime: CurrentRuntime, start_date: Date = None, end_date: Date = None, limit: Limit = 5
) -> list[dict[str, Any]]:
    """Keys by what their calls cost, the most expensive first."""
    found = await runtime.spend.reports.top("key", await _within(runtime, start_date, end_date), limit)
    answer = []
    for token, sums in found:
        key = await runtime.keys.find(token)
        named = {"key_alias": key.key_alias, "key_name": key.key_name} if key else {"key_alias": None, "key_name": None}
        answer.append({"api_key": token, **named, "total_spend": dollars(sums.cost)})
    return answer


@get("/global/spend/teams", access=Access.VIEWER)
async def global_teams(runtime: CurrentRuntime, start_date: Date = None, end_date: Date = None) -> dict[str, Any]:
    """What each team's calls cost, by day and in all."""
    return await runtime.spend.reports.teams(await _within(runtime, start_date, end_date))


@get("/global/spend/models", access=Access.VIEWER)
async def global_models(
    runtime: CurrentRuntime, start_date: Date = None, end_date: Date = None, limit: Limit = 10
) -> list[dict[str, Any]]:
    """Model groups by what their calls cost, the most expensive first."""
    found = await runtime.spend.reports.top("model", await _within(runtime, start_date, end_date), limit)
    return [{"model": name, "total_spend": dollars(sums.cost)} for name, sums in found]


@get("/global/spend/provider", access=Access.VIEWER)
async def global_providers(
    runtime: CurrentRuntime, start_date: Date = None, end_date: Date = None
) -> list[dict[str, Any]]:
    """Providers by what their calls cost, the most expensive first."""
    found = await runtime.spend.reports.top("provider", await _within(runtime, start_date, end_date))
    return [{"provider": name, "spend": dollars(sums.cost)} for name, sums in found]


@get("/global/spend/report", access=Access.VIEWER)
async def report(
    runtime: CurrentRuntime,
    start_date: Date = None,
    end_date: Date = None,
    group_by: FromQuery[GroupBy] = "team",
    api_key: FromQuery[str | None] = None,
    internal_user_id: FromQuery[str | None] = None,
    team_id: FromQuery[str | None] = None,
    customer_id: FromQuery[str | None] = None,
) -> list[dict[str, Any]]:
    """What calls cost by team, customer or key, and within that by model; of one of them, when it is named."""
    for text, field in ((start_date, "start_date"), (end_date, "end_date")):
        if not text:
            raise bad_request(f"`{field}` is missing: write e.g. `2026-01-31`", field)
    named = {"api_key": api_key, "internal_user_id": internal_user_id, "team_id": team_id, "customer_id": customer_id}
    given = [name for name, value in named.items() if value]
    if len(given) > 1:
        raise bad_request(f"`{given[1]}` cannot be combined with `{given[0]}`: give one of them", given[1])
    within = await _within(runtime, start_date, end_date)
    reports = runtime.spend.reports
    if internal_user_id:
        return [
            {"user_id": internal_user_id, "model": model, **_sums(sums)}
            for model, sums in await reports.models_of("user", internal_user_id, within)
        ]
    if api_key:
        found = [await reports.report("api_key", token, within) for token in await runtime.keys.tokens_ever(api_key)]
        return [row for rows in found for row in rows]
    if team_id:
        return await reports.report("team", team_id, within)
    if customer_id:
        return await reports.report("customer", customer_id, within)
    return await reports.report(group_by, None, within)


@post("/global/spend/reset", access=Access.ADMIN, status_code=200)
async def reset(request: Request[Any, Any, Any], runtime: CurrentRuntime) -> dict[str, Any]:
    """Count what everybody spends in the current budget windows from nothing. The calls stay in the ledger."""
    await runtime.spend_reset.reset(caller_of(request).actor)
    return {"message": "Spend for all API Keys and Teams reset successfully", "status": "success"}


@get("/global/activity", access=Access.VIEWER)
async def activity(runtime: CurrentRuntime, start_date: Date = None, end_date: Date = None) -> dict[str, Any]:
    """Calls and tokens by day."""
    return await runtime.spend.reports.activity(await _within(runtime, start_date, end_date))


@get("/global/activity/model", access=Access.VIEWER)
async def activity_by_model(
    runtime: CurrentRuntime, start_date: Date = None, end_date: Date = None
) -> list[dict[str, Any]]:
    """Calls and tokens by model group and day."""
    return await runtime.spend.reports.activity_by_model(await _within(runtime, start_date, end_date))


def _sums(sums: Sums) -> dict[str, Any]:
    return {
        "spend": dollars(sums.cost),
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "total_tokens": sums.tokens,
        "api_requests": sums.calls,
    }


HANDLERS = [
    keys,
    users,
    tags,
    global_tags,
    tag_names,
    global_logs,
    global_keys,
    global_teams,
    global_models,
    global_providers,
    report,
    reset,
    activity,
    activity_by_model,
]
