"""`/spend/...` and `/global/spend` in LiteLLM's shapes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from penstock.access import Access
from penstock.durations import from_iso
from penstock.engine.current import CurrentRuntime
from penstock.errors import bad_request
from penstock.models.service import deployments_of
from penstock.money import dollars
from penstock.spend.models import Cursor, LogFilter, SpendCalculateRequest
from penstock.spend.service import price_of


@get("/spend/logs", access=Access.ADMIN)
async def logs(
    runtime: CurrentRuntime,
    api_key: FromQuery[str | None] = None,
    user_id: FromQuery[str | None] = None,
    request_id: FromQuery[str | None] = None,
    start_date: FromQuery[str | None] = None,
    end_date: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> Response[list[dict[str, Any]]]:
    """Calls, latest first. The header `x-next-cursor`, when present, is the `cursor` of the next page.

    `api_key` is a key or its token; `request_id` is the call id. A bare `end_date` takes in the whole day.
    """
    await runtime.usage.flush()
    try:
        where = LogFilter(
            tokens=await runtime.keys.tokens_ever(api_key) if api_key else None,
            user_id=user_id,
            call_id=request_id,
            start=from_iso(start_date, "start_date") if start_date else None,
            end=from_iso(end_date, "end_date", end_of_day=True) if end_date else None,
        )
    except ValueError as error:
        raise bad_request(str(error), str(error).split("`")[1]) from error
    rows, following = await runtime.spend.logs(where, Cursor.decode(cursor) if cursor else None, limit)
    return Response(rows, headers={"x-next-cursor": following} if following else {})


@get("/global/spend", access=Access.ADMIN)
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


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None


@post("/spend/calculate", access=Access.ADMIN, status_code=200)
async def calculate(runtime: CurrentRuntime, data: JSONBody[SpendCalculateRequest]) -> dict[str, Any]:
    """What a call costs: of the prompt alone (`model`, `messages`), or of an answer (`completion_response`)."""
    from penstock import _core

    answer = data.completion_response
    model = data.model or (answer or {}).get("model")
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


HANDLERS = [logs, totals, calculate]
