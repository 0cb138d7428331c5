"""The configuration of this folder's gateways, and what is looked up on their two sides."""

from __future__ import annotations

from typing import Any

import httpx

from tests.conftest import Gateway
from tests.rig import Received, Sim, until

LISTENER = "{max_body_mb: 2, grace: 20s}"
GRPC = "{web_origins: [https://app.example]}"
_TEMPLATE = """
model_list:
  - model_name: sim
    litellm_params: {model: openai/gpt-sim, api_base: $SIMULATOR/v1, api_key: sk-upstream}
    model_info: {id: sim-1, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sim, api_base: $SIMULATOR, api_key: sk-ant-upstream}
    model_info: {id: claude-1, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: wild/*
    litellm_params: {model: openai/*, api_base: $SIMULATOR/v1, api_key: sk-upstream}
    model_info: {id: wild-1, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: unreachable
    litellm_params: {model: openai/x, api_base: "http://127.0.0.1:1/v1", api_key: sk-upstream}
  - model_name: hasty
    litellm_params: {model: openai/gpt-sim, api_base: $SIMULATOR/v1, api_key: sk-upstream, timeout: 1.5, stream_timeout: 1.5}
  - model_name: full
    litellm_params: {model: openai/gpt-sim, api_base: $SIMULATOR/v1, api_key: sk-upstream, rpm: 0}
penstock:
  routing: {retries: 0, cooldown: 0, passthrough_group: sim}
  upstream: {forward_headers: [x-sim-, x-trace-]}
  listener: LISTENER
  grpc: GRPC
"""


def configured(listener: str = LISTENER, grpc: str = GRPC) -> str:
    """The configuration with these settings of the listener and of gRPC."""
    return _TEMPLATE.replace("listener: LISTENER", f"listener: {listener}").replace("grpc: GRPC", f"grpc: {grpc}")


CONFIG = configured()


def entry_of(sim: Sim, call_id: str) -> dict[str, Any]:
    """A call in the simulator's ledger, whether it has ended or not."""

    def probe() -> dict[str, Any] | None:
        last = sim.mark()
        for back in (20, 500):
            recent = sim.ledger(max(0, last - back))
            found: dict[str, Any] | None = next(
                (entry for entry in reversed(recent) if entry["call_id"] == call_id), None
            )
            if found is not None:
                return found
        return None

    found = until(probe, f"call {call_id} in the simulator's ledger")
    assert found is not None
    return found


def upstream_of(sim: Sim, call_id: str) -> Received:
    """The request of a call as the provider got it."""
    return sim.of(httpx.Response(200, headers={"x-sim-seq": str(entry_of(sim, call_id)["seq"])}))


def record_of(gateway: Gateway, call_id: str) -> dict[str, Any]:
    """The one usage record of a call."""

    def probe() -> list[dict[str, Any]] | None:
        with gateway.client() as client:
            answer = client.get("/spend/logs", headers=gateway.admin, params={"request_id": call_id})
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    rows = until(probe, f"the usage record of {call_id}")
    assert rows is not None
    assert len(rows) == 1, rows
    return rows[0]


_OF_THE_MOMENT = {"request_id", "startTime", "endTime", "completionStartTime", "request_duration_ms"}
_MEASURED = {
    "event_id",
    "route",
    "ttft_us",
    "duration_us",
    "overhead_us",
    "request_bytes",
    "response_bytes",
    "snapshot_version",
}


def lasting(record: dict[str, Any]) -> dict[str, Any]:
    """A usage record without what differs between two equal calls: of the moment, measured, and which way they came."""
    kept = {name: value for name, value in record.items() if name not in _OF_THE_MOMENT}
    kept["metadata"] = {name: value for name, value in record["metadata"].items() if name not in _MEASURED}
    return kept
