"""Tags that a request has for the gateway's accounting do not travel on: providers refuse lists in `metadata`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.rig import Sim

_MESSAGES = [{"role": "user", "content": "a"}]


def _arrived(door: Gateway, sim: Sim, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with door.client() as client:
        answer = client.post(path, headers=door.admin, json=body)
    assert answer.status_code == 200, answer.text
    return dict(json.loads(sim.of(answer).body))


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/chat/completions", {"model": "openai/tags", "messages": _MESSAGES}),
        ("/v1/chat/completions", {"model": "azure/tags", "messages": _MESSAGES}),
        ("/v1/messages", {"model": "anthropic/tags", "messages": _MESSAGES, "max_tokens": 5}),
        ("/v1/responses", {"model": "openai/tags", "input": "a"}),
    ],
)
def test_tags_are_taken_out_and_the_rest_goes_along(door: Gateway, sim: Sim, path: str, body: dict[str, Any]) -> None:
    rest = {"user_id": "u 1", "a": "\u00e9"}
    assert _arrived(door, sim, path, {**body, "metadata": {"tags": ["x"], **rest}})["metadata"] == rest
    assert "metadata" not in _arrived(door, sim, path, {**body, "metadata": {"tags": ["x", "y"]}})
    for kept in ({"tags": "x"}, rest, {}):
        assert _arrived(door, sim, path, {**body, "metadata": kept})["metadata"] == kept
