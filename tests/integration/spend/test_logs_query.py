"""`GET /spend/logs`: filters, order, pages and refusals; `/global/spend` and `/spend/calculate`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.managed import ASKED, QUESTION, Managed, cost_of_priced, nanos, until


def test_filters_narrow_and_combine(managed: Managed) -> None:
    mine, other = managed.key(user_id="filter-a"), managed.key(user_id="filter-b")
    begin = datetime.now(UTC)
    first = [managed.chat(mine).headers["x-penstock-call-id"] for _ in range(3)]
    second = [managed.chat(other).headers["x-penstock-call-id"] for _ in range(2)]

    def ids(**query: Any) -> list[str]:
        return [row["request_id"] for row in managed.get("/spend/logs", limit=1000, **query).json()]

    assert ids(api_key=mine) == first[::-1], "latest first"
    assert ids(api_key=managed.info(mine)["token"]) == first[::-1]
    assert ids(user_id="filter-b") == second[::-1]
    assert ids(user_id="filter-b", api_key=mine) == []
    assert ids(request_id=first[1]) == [first[1]]
    assert ids(request_id="nothing") == []
    hour = timedelta(hours=1)
    for start, end, expected in (
        (begin - hour, begin + hour, 3),
        (begin + hour, begin + 2 * hour, 0),
        (begin - 2 * hour, begin - hour, 0),
    ):
        assert (
            len(ids(api_key=mine, start_date=start.isoformat(), end_date=end.isoformat(), summarize=False)) == expected
        )
    today = begin.date()
    assert len(ids(api_key=mine, start_date=str(today), end_date=str(datetime.now(UTC).date()), summarize=False)) == 3
    assert ids(api_key=mine, end_date=str(today - timedelta(days=1))) == []


def test_pages_hold_every_record_once(managed: Managed) -> None:
    key = managed.key()
    calls = [answer.headers["x-penstock-call-id"] for answer in managed.many(key, 25)]
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        query = {"api_key": key, "limit": 10} | ({"cursor": cursor} if cursor else {})
        answer = managed.get("/spend/logs", **query)
        seen += [row["request_id"] for row in answer.json()]
        pages += 1
        # What comes meanwhile moves nothing on.
        managed.chat(key)
        cursor = answer.headers.get("x-next-cursor")
        if cursor is None:
            break
    assert pages == 3
    assert sorted(seen) == sorted(calls)


@pytest.mark.parametrize(
    "field,value",
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "x"),
        ("start_date", "yesterday"),
        ("end_date", "2026-13-01"),
        ("cursor", "not-ours"),
        ("cursor", "WyJ4IiwxXQ"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(managed: Managed, field: str, value: str) -> None:
    answer = managed.get("/spend/logs", **{field: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_quotes_and_wildcards_in_filters_are_only_text(managed: Managed) -> None:
    managed.chat(managed.key(user_id="filter-c"))
    for text in ("' OR '1'='1", "%", "filter_c", "filter-c'--"):
        for field in ("user_id", "api_key", "request_id"):
            answer = managed.get("/spend/logs", **{field: text})
            assert (answer.status_code, answer.json()) == (200, []), (field, text)
    for field in ("user_id", "api_key", "request_id"):
        refused = managed.get("/spend/logs", **{field: "\x00"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field), refused.text


def test_the_sum_over_everything_grows_by_what_was_spent(managed: Managed) -> None:
    # Of a call whose client left a test before this knows nothing.
    until(lambda: "penstock_in_flight_requests 0" in managed.get("/metrics").text.splitlines(), 20, "no call in flight")
    before = managed.get("/global/spend").json()
    key = managed.key()
    for _ in range(3):
        assert managed.chat(key).status_code == 200
    after = managed.get("/global/spend").json()
    assert after["calls"] - before["calls"] == 3
    assert nanos(after["spend"]) - nanos(before["spend"]) == 3 * cost_of_priced(ASKED, 4)
    assert after["prompt_tokens"] - before["prompt_tokens"] == 3 * ASKED
    assert after["completion_tokens"] - before["completion_tokens"] == 12


def test_what_a_call_would_cost_is_what_it_costs(managed: Managed) -> None:
    key = managed.key()
    sim = {"cached": 1, "reasoning": 3, "tokens": 5}
    answer = managed.chat(key, max_tokens=100, sim=sim).json()
    asked = managed.post("/spend/calculate", completion_response={**answer, "model": "priced"})
    assert asked.status_code == 200, asked.text
    assert nanos(asked.json()["cost"]) == nanos(managed.info(key)["spend"])
    prompt = managed.post("/spend/calculate", model="priced", messages=QUESTION).json()["cost"]
    assert nanos(prompt) == cost_of_priced(ASKED, 0)
    unusable: list[dict[str, Any]] = [
        *({}, {"model": "priced"}),
        *({"model": "nothing", "messages": QUESTION}, {"completion_response": {}}),
    ]
    for body in unusable:
        assert managed.post("/spend/calculate", **body).status_code == 400
