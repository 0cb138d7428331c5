"""Every call leaves one usage record, whichever route it took; its figures are the provider's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import Sim, until

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "a b c"}], "max_tokens": 4}

CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("chat", "/v1/chat/completions", {"json": {**CHAT, "model": "openai/m"}}),
    ("chat stream", "/v1/chat/completions", {"json": {**CHAT, "model": "openai/m", "stream": True}}),
    ("chat on azure", "/v1/chat/completions", {"json": {**CHAT, "model": "azure/dep", "stream": True}}),
    ("chat translated", "/v1/chat/completions", {"json": {**CHAT, "model": "anthropic/c"}}),
    ("chat translated stream", "/v1/chat/completions", {"json": {**CHAT, "model": "anthropic/c", "stream": True}}),
    ("completions", "/v1/completions", {"json": {"model": "openai/m", "prompt": "a b", "max_tokens": 3}}),
    ("embeddings", "/v1/embeddings", {"json": {"model": "openai/e", "input": ["a b", "c"], "dimensions": 2}}),
    ("messages", "/v1/messages", {"json": {**CHAT, "model": "anthropic/c"}}),
    ("messages stream", "/v1/messages", {"json": {**CHAT, "model": "anthropic/c", "stream": True}}),
    ("responses", "/v1/responses", {"json": {"model": "openai/m", "input": "a b", "max_output_tokens": 3}}),
    ("responses stream", "/v1/responses", {"json": {"model": "openai/m", "input": "a b", "stream": True}}),
    ("images", "/v1/images/generations", {"json": {"model": "openai/m", "prompt": "a b"}}),
    (
        "transcription",
        "/v1/audio/transcriptions",
        {"files": {"file": ("a.wav", b"\0" * 3000, "audio/wav")}, "data": {"model": "openai/w"}},
    ),
]


def _rows(gateway: Gateway, key: str, count: int) -> list[dict[str, Any]]:
    def probe() -> list[dict[str, Any]] | None:
        with gateway.client(headers=gateway.admin) as client:
            rows = client.get("/spend/logs", params={"api_key": key}).json()
        return list(rows) if len(rows) >= count else None

    return until(probe, f"{count} usage records")


def _post(gateway: Gateway, key: str, path: str, options: dict[str, Any]) -> httpx.Response:
    with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        answer = client.post(path, **options)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("path, options", [pytest.param(*call, id=name) for name, *call in CALLS])
def test_the_record_equals_the_providers_ledger(door: Gateway, sim: Sim, path: str, options: dict[str, Any]) -> None:
    key = door.new_key(tags=["t-1"], user_id="u-1")
    answer = _post(door, key, path, options)
    (row,) = _rows(door, key, 1)
    entry = sim.ended(answer.headers["x-penstock-call-id"])
    assert row["request_id"] == answer.headers["x-penstock-call-id"]
    assert (row["prompt_tokens"], row["completion_tokens"]) == (entry["prompt_tokens"], entry["completion_tokens"])
    assert row["prompt_tokens"] > 0
    assert row["user"] == "u-1"


@pytest.mark.parametrize("listener", ["native", "granian"])
def test_routes_without_tokens_are_recorded_too(doors: dict[str, Gateway], listener: str) -> None:
    gateway = doors[listener]
    key = gateway.new_key()
    _post(gateway, key, "/v1/audio/speech", {"json": {"model": "openai/tts", "input": "a b", "voice": "x"}})
    with gateway.client(headers={"authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/files").status_code == 200
    rows = _rows(gateway, key, 2)
    assert {row["completion_tokens"] for row in rows} == {0}
    assert len({row["request_id"] for row in rows}) == 2


def test_cost_is_the_same_in_header_record_and_key(door: Gateway) -> None:
    key = door.new_key()
    answer = _post(door, key, "/v1/chat/completions", {"json": {**CHAT, "model": "openai/gpt-4o"}})
    (row,) = _rows(door, key, 1)
    cost = float(answer.headers["x-penstock-cost-usd"])
    assert cost > 0
    assert row["spend"] == pytest.approx(cost)
    with door.client(headers={"authorization": f"Bearer {key}"}) as client:
        assert client.get("/key/info").json()["info"]["spend"] == pytest.approx(cost)


def test_a_failed_call_costs_nothing_and_is_recorded(door: Gateway) -> None:
    key = door.new_key()
    with door.client(headers={"authorization": f"Bearer {key}"}) as client:
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": "openai/sim/status=500"})
    assert answer.status_code == 500
    (row,) = _rows(door, key, 1)
    assert row["spend"] == 0
    assert (row["prompt_tokens"], row["completion_tokens"]) == (0, 0)
