"""Further attempts: before the first byte, for what may pass, as often as configured and never otherwise."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from penstock import _core
from tests.conftest import Gateway, free_port
from tests.faults.accounts import only_row, rows_of, usage, verdict
from tests.faults.streams import PROMPT_TOKENS, SURFACES, body, stream
from tests.rig import Sim, until

ALL = list(SURFACES)


def call(gateway: Gateway, token: str, surface: str = "chat", model: str | None = None, **sim: str) -> httpx.Response:
    """One unary call."""
    path, default = SURFACES[surface]
    headers = {"authorization": f"Bearer {token}", **{f"x-sim-{name}": value for name, value in sim.items()}}
    with gateway.client() as client:
        return client.post(path, headers=headers, json=body(model or default, max_tokens=5))


def attempts(sim: Sim, since: int, answer: httpx.Response) -> list[dict[str, Any]]:
    """What the simulator received for this call."""
    return [entry for entry in sim.ledger(since) if entry["call_id"] == answer.headers["x-penstock-call-id"]]


@pytest.mark.parametrize("surface", ALL)
@pytest.mark.parametrize("failures, status", [(1, 503), (2, 500), (2, 429), (1, 408), (2, 529)])
def test_a_failure_that_passes_is_not_seen(
    patient: Gateway, sim: Sim, surface: str, failures: int, status: int
) -> None:
    key, since = patient.new_key(), sim.mark()
    answer = call(patient, key, surface, key=secrets.token_hex(8), fail_first=f"{failures}:{status}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-penstock-attempts"] == str(failures + 1)
    assert [entry["status"] for entry in attempts(sim, since, answer)] == [status] * failures + [200]
    row = only_row(patient, key)
    assert (verdict(row), usage(row)) == (("ok", "upstream"), (PROMPT_TOKENS, 5)), "one answer is billed, once"
    assert row["metadata"]["attempts"] == failures + 1


def test_a_stream_is_retried_before_its_first_byte(patient: Gateway, sim: Sim) -> None:
    key, since = patient.new_key(), sim.mark()
    seen = stream(patient, key, "chat", {"key": secrets.token_hex(8), "fail_first": "2:503", "tokens": "4"})
    assert (seen.status, seen.words, seen.done, seen.errors) == (200, " time river that this", True, [])
    assert seen.headers["x-penstock-attempts"] == "3"
    assert len(sim.ledger(since)) == 3
    assert usage(only_row(patient, key)) == (PROMPT_TOKENS, 4)


@pytest.mark.parametrize("surface", ALL)
@pytest.mark.parametrize("fault", ["reset_after", "close_after", "bad_chunk", "error_event"])
def test_nothing_is_retried_after_the_first_byte(patient: Gateway, sim: Sim, surface: str, fault: str) -> None:
    key, since = patient.new_key(), sim.mark()
    at = 2 if surface == "chat" else 4
    seen = stream(patient, key, surface, {"fault": f"{fault}:{at}", "flush": "1"})
    assert (seen.status, seen.words, seen.done) == (200, " time", False), seen.text
    assert len(sim.ledger(since)) == 1
    row = only_row(patient, key)
    assert (row["metadata"]["attempts"], usage(row)) == (1, (PROMPT_TOKENS, 1))


@pytest.mark.parametrize("surface", ALL)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_wrong_with_the_request_is_never_retried(patient: Gateway, sim: Sim, surface: str, status: int) -> None:
    key, since = patient.new_key(), sim.mark()
    answer = call(patient, key, surface, status=str(status))
    assert (answer.status_code, answer.headers["x-penstock-attempts"]) == (status, "1")
    assert len(attempts(sim, since, answer)) == 1
    assert only_row(patient, key)["metadata"]["attempts"] == 1


@pytest.mark.parametrize(
    "control", [{"status": "500"}, {"status": "429"}, {"fault": "reset_after:0"}, {"fault": "truncate"}]
)
def test_attempts_are_bounded_and_the_last_error_is_told(patient: Gateway, sim: Sim, control: dict[str, str]) -> None:
    key, since = patient.new_key(), sim.mark()
    answer = call(patient, key, **control)
    assert answer.status_code == int(control.get("status", "502"))
    assert answer.json()["error"]["message"]
    # Half an answer has begun to arrive: whether that is asked again is decided by its first byte, which came.
    expected = 1 if control.get("fault") == "truncate" else 3
    sent = len(sim.ledger(since))
    # A kept connection that breaks at once may have been closed by its idle timeout, so it is replaced by a new one.
    assert expected <= sent <= (2 * expected if control.get("fault") == "reset_after:0" else expected)
    row = only_row(patient, key)
    assert (verdict(row), row["metadata"]["attempts"]) == (("error", "none"), expected)


def test_without_retries_a_request_that_was_received_is_not_sent_again(single: Gateway, sim: Sim) -> None:
    key = single.new_key()
    assert call(single, key).status_code == 200, "a connection to the upstream is kept"
    since = sim.mark()
    # Not a connection that was closed while idle: the upstream worked on the request for a while.
    answer = call(single, key, ttft="200", fault="reset_after:0")
    assert answer.status_code == 502
    assert len(sim.ledger(since)) == 1


COOLDOWN_S = 3
CONFIG = """
model_list:
  - model_name: pair
    litellm_params: {model: openai/one, api_base: "http://127.0.0.1:$PORT/v1", api_key: sk-one}
    model_info: {id: one}
  - model_name: pair
    litellm_params: {model: openai/two, api_base: $SIMULATOR/v1, api_key: sk-two}
    model_info: {id: two}
  - model_name: down
    litellm_params: {model: openai/one, api_base: "http://127.0.0.1:$PORT/v1", api_key: sk-one}
    model_info: {id: down-1}
  - model_name: down
    litellm_params: {model: openai/three, api_base: "http://127.0.0.1:$PORT/v1", api_key: sk-three}
    model_info: {id: down-2}
penstock:
  demo: false
  routing: {retries: 2, retry_backoff: 10ms, allowed_fails: 2, cooldown: $COOLDOWN}
  upstream: {forward_headers: [x-sim-]}
"""


@pytest.fixture
def dead() -> Iterator[socket.socket]:
    """Has a port at which nobody listens, and which nobody gets before it is closed."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", free_port()))
        yield place


@pytest.fixture
def router(start_gateway: Callable[..., Gateway], dead: socket.socket) -> Gateway:
    """Two deployments of which one is down, and two that both are."""
    return start_gateway(
        config=CONFIG.replace("$PORT", str(dead.getsockname()[1])).replace("$COOLDOWN", f"{COOLDOWN_S}s")
    )


def test_a_deployment_that_fails_is_left_alone_and_comes_back(router: Gateway, dead: socket.socket) -> None:
    key, begun = router.new_key(), time.monotonic()
    answers = [call(router, key, model="pair") for _ in range(40)]
    run_out = int((time.monotonic() - begun) / COOLDOWN_S)
    assert {answer.status_code for answer in answers} == {200}, "no client sees that one of two is down"
    assert {answer.headers["x-penstock-deployment"] for answer in answers} == {"two"}
    tried = [int(answer.headers["x-penstock-attempts"]) for answer in answers]
    # Two failures are let pass, the third starts the cooldown; one more probe for each cooldown that ran out meanwhile.
    assert 3 <= sum(n - 1 for n in tried) <= 6 + 3 * run_out, tried
    assert tried[-1] == 1
    port = dead.getsockname()[1]
    dead.close()
    revived = _core.Simulator(json.dumps({"port": port}).encode())
    revived.start()
    try:
        until(lambda: call(router, key, model="pair").headers["x-penstock-deployment"] == "one", "it is used again")
        after = [call(router, key, model="pair") for _ in range(20)]
        assert {answer.headers["x-penstock-deployment"] for answer in after} == {"one", "two"}
        assert {answer.headers["x-penstock-attempts"] for answer in after} == {"1"}
    finally:
        revived.stop()
    assert {verdict(row) for row in rows_of(router, key)} == {("ok", "upstream")}


def test_when_all_are_down_the_last_error_is_told(router: Gateway) -> None:
    key = router.new_key()
    answer = call(router, key, model="down")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"
    assert answer.headers["x-penstock-attempts"] == "3"
    # From then on they cool down: refused at once, and told when to come again.
    codes = {
        (answer.status_code, answer.json()["error"]["code"])
        for answer in (call(router, key, model="down") for _ in range(6))
    }
    assert codes <= {(502, "upstream_unreachable"), (429, "no_deployment_available")}
    last = call(router, key, model="down")
    assert last.json()["error"]["code"] == "no_deployment_available"
    assert 1 <= int(last.headers["retry-after"]) <= COOLDOWN_S
    rows = rows_of(router, key)
    assert len(rows) == 8
    assert {(verdict(row), usage(row)) for row in rows} == {(("error", "none"), (0, 0))}
