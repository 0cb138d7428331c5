"""Unary answers that the upstream breaks: a typed error in the client's dialect, in bounded time, recorded once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.faults.accounts import never_charged, only_row, usage, verdict
from tests.faults.streams import PROMPT_TOKENS, SURFACES, body, stream
from tests.stalls import Stopwatch, again_after_a_stall

ALL = list(SURFACES)
_STOOD_S = 0.15
"""A machine that stands still for so long keeps an upstream silent that was not told to be."""


def call(
    gateway: Gateway, key: str, surface: str, sim: dict[str, str], **fields: Any
) -> tuple[httpx.Response, Stopwatch]:
    """One unary call, and a watch since it was sent."""
    path, model = SURFACES[surface]
    headers = {"authorization": f"Bearer {key}", **{f"x-sim-{name}": value for name, value in sim.items()}}
    watch = Stopwatch()
    with gateway.client() as client:
        answer = client.post(path, headers=headers, json=body(model, **fields))
    return answer, watch


def typed(answer: httpx.Response, surface: str) -> str:
    """The error's code (OpenAI) or type (Anthropic), after a check of its shape."""
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-penstock-call-id"]
    value = answer.json()
    error = value["error"]
    assert error["message"]
    if surface == "messages":
        assert value["type"] == "error"
        return str(error["type"])
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["code"])


CUT = [{"fault": "reset_after:0"}, {"fault": "close_after:0"}, {"fault": "reset_after:1"}, {"fault": "truncate"}]
SILENT = [
    {"fault": "hang_after:0"},
    {"fault": "hang_after:1"},
    {"ttft": "60000"},
    {"slow_headers": "40"},
    {"delay": "0", "ttft": "60000"},
]


@pytest.mark.parametrize("surface", ALL)
@pytest.mark.parametrize("sim", CUT, ids=str)
def test_an_answer_cut_short_is_a_502(single: Gateway, surface: str, sim: dict[str, str]) -> None:
    key = single.new_key()
    answer, watch = call(single, key, surface, sim)
    ran_s = watch.ran_s
    assert answer.status_code == 502
    assert typed(answer, surface) == ("api_error" if surface == "messages" else "upstream_protocol_error")
    assert ran_s < 2
    row = only_row(single, key)
    assert (verdict(row), usage(row), row["spend"]) == (("error", "none"), (0, 0), 0)
    assert row["metadata"]["http_status"] == 502
    assert row["metadata"]["error_code"] == "upstream_protocol_error"


@pytest.mark.parametrize("surface", ALL)
@pytest.mark.parametrize("sim", SILENT, ids=str)
@again_after_a_stall(_STOOD_S)
def test_an_upstream_that_hangs_is_a_504_after_its_timeout(hasty: Gateway, surface: str, sim: dict[str, str]) -> None:
    key = hasty.new_key()
    answer, watch = call(hasty, key, surface, sim)
    seconds, ran_s = watch.seconds, watch.ran_s
    row = only_row(hasty, key)
    never_charged(row)
    assert answer.status_code == 504
    assert typed(answer, surface) == ("timeout_error" if surface == "messages" else "upstream_timeout")
    assert seconds > 0.45
    assert ran_s < 2
    assert verdict(row) == ("error", "none")


@pytest.mark.parametrize("surface", ALL)
@again_after_a_stall(_STOOD_S)
def test_a_stream_that_never_begins_is_a_504(hasty: Gateway, surface: str) -> None:
    key = hasty.new_key()
    seen = stream(hasty, key, surface, {"ttft": "60000"})
    row = only_row(hasty, key)
    never_charged(row)
    assert (seen.status, seen.headers["content-type"]) == (504, "application/json")
    assert seen.seconds > 0.45
    assert seen.ran_s < 2
    assert verdict(row) == ("error", "none")


@pytest.mark.parametrize("surface", ALL)
@again_after_a_stall(_STOOD_S)
def test_a_stream_that_falls_silent_after_its_head_ends_in_an_error_event(hasty: Gateway, surface: str) -> None:
    key = hasty.new_key()
    seen = stream(hasty, key, surface, {"delay": "0", "ttft": "60000"})
    row = only_row(hasty, key)
    assert (seen.status, seen.whole, len(seen.events), len(seen.errors)) == (200, True, 1, 1), seen.text
    assert seen.seconds > 0.45
    assert seen.ran_s < 2
    assert verdict(row)[0] == "upstream_cut"


def test_half_of_a_json_body_on_another_wire_is_a_502(single: Gateway) -> None:
    key = single.new_key()
    answer, _ = call(single, key, "translated", {"fault": "bad_json"})
    assert answer.status_code == 502
    assert typed(answer, "translated") == "upstream_protocol_error"
    assert verdict(only_row(single, key))[0] == "error"


@pytest.mark.parametrize("surface", ["chat", "messages"])
def test_a_json_body_that_is_none_on_the_same_wire_is_passed_on_and_not_free(single: Gateway, surface: str) -> None:
    key = single.new_key()
    answer, _ = call(single, key, surface, {"fault": "bad_json", "tokens": "64"})
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"JSON|Unterminated|Expecting|delimiter"):
        answer.json()
    row = only_row(single, key)
    assert verdict(row) == ("ok", "counted")
    assert usage(row)[0] == PROMPT_TOKENS
    assert row["spend"] > 0


@pytest.mark.parametrize("surface", ALL)
def test_an_answer_without_usage_is_counted_and_never_free(single: Gateway, surface: str) -> None:
    key = single.new_key()
    answer, _ = call(single, key, surface, {"fault": "no_usage", "tokens": "37"})
    assert answer.status_code == 200
    row = only_row(single, key)
    assert verdict(row) == ("ok", "counted")
    assert usage(row) == (PROMPT_TOKENS, 37)
    assert row["spend"] > 0


@pytest.mark.parametrize("surface", ALL)
def test_informational_answers_are_skipped(single: Gateway, surface: str) -> None:
    for early in ("100", "103"):
        key = single.new_key()
        answer, _ = call(single, key, surface, {"early": early, "tokens": "3"})
        assert answer.status_code == 200
        assert "x-sim-early" not in answer.headers
        assert (verdict(only_row(single, key)), usage(only_row(single, key))) == (
            ("ok", "upstream"),
            (PROMPT_TOKENS, 3),
        )


@pytest.mark.parametrize("surface", ALL)
def test_a_dripping_unary_answer_arrives_whole(single: Gateway, surface: str) -> None:
    key = single.new_key()
    answer, _ = call(single, key, surface, {"fault": "drip:0", "tokens": "5"})
    assert answer.status_code == 200
    assert usage(only_row(single, key)) == (PROMPT_TOKENS, 5)


@pytest.mark.parametrize("surface", ALL)
@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503, 529])
def test_an_error_status_keeps_status_words_and_retry_after(single: Gateway, surface: str, status: int) -> None:
    key = single.new_key()
    for stream_field in ({}, {"stream": True}):
        answer, _ = call(single, key, surface, {"status": str(status), "retry_after": "7"}, **stream_field)
        assert answer.status_code == status
        assert answer.headers["retry-after"] == "7"
        value = answer.json()
        assert value["error"]["message"]
        assert ("type" in value) == (surface == "messages")
    from tests.faults.accounts import rows_of

    rows = rows_of(single, key)
    assert [(verdict(row), usage(row), row["metadata"]["http_status"]) for row in rows] == [
        (("error", "none"), (0, 0), status)
    ] * 2


@again_after_a_stall(_STOOD_S)
def test_a_connection_outlives_the_upstream_s_failures(hasty: Gateway) -> None:
    key = hasty.new_key()
    headers = {"authorization": f"Bearer {key}"}
    with hasty.client(limits=httpx.Limits(max_connections=1)) as client:
        sockets = set()
        for fault in ("reset_after:0", "truncate", "close_after:0", "hang_after:0"):
            answer = client.post("/v1/chat/completions", headers={**headers, "x-sim-fault": fault}, json=body("sim"))
            assert answer.status_code in (502, 504)
            sound = client.post("/v1/chat/completions", headers=headers, json=body("sim"))
            assert sound.status_code == 200
            for one in (answer, sound):
                sockets.add(one.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(sockets) == 1, "every answer came over the same connection"
