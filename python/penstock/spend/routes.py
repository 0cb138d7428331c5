"""Calls one by one, what they come to, and what one would cost, in LiteLLM's shapes. Sums are in `report_routes`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from penstock.access import Access, authority_of
from penstock.access.sight import refused
from penstock.engine.current import CurrentRuntime
from penstock.errors import bad_request
from penstock.models.service import deployments_of
from penstock.money import dollars, nanos_from_dollars
from penstock.spend.models import Cursor, Dimension, LogFilter, SpendCalculateRequest, days, moment
from penstock.spend.service import price_of

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]


@get("/spend/logs", access=Access.KEY, group="info_routes")
async def logs(
    request: Request[Any, Any, Any],
    runtime: CurrentRuntime,
    api_key: FromQuery[str | None] = None,
    user_id: FromQuery[str | None] = None,
    request_id: FromQuery[str | None] = None,
    start_date: FromQuery[str | None] = None,
    end_date: FromQuery[str | None] = None,
    summarize: FromQuery[bool] = True,
    cursor: FromQuery[str | None] = None,
    limit: Limit = 100,
) -> Response[list[dict[str, Any]]]:
    """Calls, latest first; with both dates a row of sums for each day, unless `summarize=false`. A virtual key sees the calls
    of its user, and those of keys that it may look at.

    The header `x-next-cursor`, when present, is the `cursor` of the next page of calls. `api_key` is a key or its token;
    `request_id` is the call id. A bare `end_date` takes in the whole day.
    """
    api_key, user_id, team_id = await authority_of(request, runtime).calls(api_key, user_id)
    await runtime.usage.flush()
    tokens = await runtime.keys.tokens_ever(api_key) if api_key else None
    if start_date and end_date and summarize and not request_id:
        within = days(start_date, end_date)
        if cursor is not None:
            raise bad_request("`cursor` is of a list of calls: add `summarize=false`", "cursor")
        if tokens and team_id is not None and not await runtime.spend.are_all_of(tokens, team_id, within):
            raise bad_request("`summarize` takes in what this key did for others: use `summarize=false`", "summarize")
        dimension: Dimension = "key" if tokens else "user" if user_id else "all"
        if tokens and user_id:
            raise bad_request("`user_id` cannot be summed up within one key: add `summarize=false`", "user_id")
        return Response(await runtime.spend.reports.summary(dimension, tokens or [user_id or "all"], within))
    start, end = _between(start_date, end_date)
    where = LogFilter(
        tokens=tokens,
        user_id=user_id,
        call_id=request_id,
        start=start,
        end=end,
        team_id=team_id,
    )
    rows, following = await runtime.spend.logs(where, Cursor.decode(cursor) if cursor else None, limit)
    return Response(rows, headers={"x-next-cursor": following} if following else {})


@get("/spend/logs/v2", access=Access.KEY, group="info_routes")
async def logs_paged(
    request: Request[Any, Any, Any],
    runtime: CurrentRuntime,
    api_key: FromQuery[str | None] = None,
    user_id: FromQuery[str | None] = None,
    request_id: FromQuery[str | None] = None,
    team_id: FromQuery[str | None] = None,
    end_user: FromQuery[str | None] = None,
    model: FromQuery[str | None] = None,
    status_filter: FromQuery[Literal["success", "failure"] | None] = None,
    min_spend: FromQuery[Decimal | None] = None,
    max_spend: FromQuery[Decimal | None] = None,
    start_date: FromQuery[str | None] = None,
    end_date: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    page_size: Limit = 50,
) -> dict[str, Any]:
    """Calls a page at a time, latest first; `next_cursor` is the `cursor` of the next page, null after the last. A virtual
    key sees the calls of its user, and those of keys that it may look at.

    A page begins after the last row of the one before, whatever was added meanwhile. There are no page numbers, because
    counting pages would read every call. Filters without an index (`team_id`, `end_user`, `model`, `status_filter`,
    `min_spend`, `max_spend`) need both dates, or one of `api_key`, `user_id`, `request_id`.
    """
    api_key, user_id, seen_for = await authority_of(request, runtime).calls(api_key, user_id)
    if seen_for is not None and team_id not in (None, seen_for):
        raise refused("`team_id`: this key's calls for others are not shown.", "team_id")
    team_id = team_id or seen_for
    unindexed = {
        "team_id": team_id,
        "end_user": end_user,
        "model": model,
        "status_filter": status_filter,
        "min_spend": min_spend,
        "max_spend": max_spend,
    }
    if not (api_key or user_id or request_id or (start_date and end_date)):
        for name, value in unindexed.items():
            if value is not None:
                raise bad_request(f"`{name}` would read every call: add `start_date` and `end_date`", name)
    start, end = _between(start_date, end_date)
    await runtime.usage.flush()
    where = LogFilter(
        tokens=await runtime.keys.tokens_ever(api_key) if api_key else None,
        user_id=user_id,
        call_id=request_id,
        start=start,
        end=end,
        team_id=team_id,
        end_user=end_user,
        model_group=model,
        is_ok=None if status_filter is None else status_filter == "success",
        min_cost=_nanos(min_spend, "min_spend"),
        max_cost=_nanos(max_spend, "max_spend"),
    )
    rows, following = await runtime.spend.logs(where, Cursor.decode(cursor) if cursor else None, page_size)
    return {"data": rows, "page_size": page_size, "next_cursor": following, "has_more": following is not None}


def _between(start_date: str | None, end_date: str | None) -> tuple[int | None, int | None]:
    start, end = moment(start_date, "start_date"), moment(end_date, "end_date", end_of_day=True)
    if start is not None and end is not None and start >= end:
        raise bad_request("`start_date` must not be after `end_date`", "start_date")
    return start, end


def _nanos(amount: Decimal | None, field: str) -> int | None:
    try:
        return None if amount is None else nanos_from_dollars(amount, field)
    except ValueError as error:
        raise bad_request(str(error), field) from error


@get("/global/spend", access=Access.VIEWER)
async def totals(runtime: CurrentRuntime) -> dict[str, Any]:
    """Sums over everything ever settled."""
    await runtime.usage.flush()
    sums = await runtime.spend.totals()
    return {
        "spend": dollars(sums.cost),
        "max_budget": None,
        "calls": sums.calls,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
    }


_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Usage(msgspec.Struct):
    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None


@post("/spend/calculate", access=Access.ADMIN, status_code=200)
async def calculate(runtime: CurrentRuntime, data: JSONBody[SpendCalculateRequest]) -> dict[str, Any]:
    """What a call costs: of the prompt alone (`model`, `messages`), or of an answer (`completion_response`)."""
    from penstock import _core

    answer = data.completion_response
    model = data.model or (answer or {}).get("model")
    if answer is not None and data.messages is not None:
        raise bad_request("`messages` cannot be combined with `completion_response`: give one of them", "messages")
    if not isinstance(model, str) or (answer is None and data.messages is None):
        raise bad_request("Give `model` and `messages`, or `completion_response` with `model` and `usage`", "model")
    price = next((found.price for found in deployments_of(runtime.snapshot, model) if found.price is not None), None)
    if price is None:
        raise bad_request(f"No price is known for model `{model}`", "model")
    if answer is None:
        body = msgspec.json.encode({"model": model, "messages": data.messages})
        return {"cost": dollars(price_of(price, _core.count_request_tokens(body, model), 0))}
    try:
        usage = msgspec.convert(answer.get("usage") or {}, _Usage)
    except msgspec.ValidationError as error:
        raise bad_request(f"`completion_response.usage`: {error}", "completion_response") from error
    cached = (usage.prompt_tokens_details or {}).get("cached_tokens")
    reasoning = (usage.completion_tokens_details or {}).get("reasoning_tokens")
    cost = price_of(
        price,
        usage.prompt_tokens,
        usage.completion_tokens,
        cached=cached if isinstance(cached, int) else 0,
        reasoning=reasoning if isinstance(reasoning, int) else 0,
    )
    return {"cost": dollars(cost)}


HANDLERS = [logs, logs_paged, totals, calculate]
