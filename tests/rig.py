"""The upstream's side of a test through the public port: what the simulator received, and what it is told to answer.

Apart from the fixtures, because tests need the types and the configuration by name.
"""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx

from tests.servers.child import pause

T = TypeVar("T")
_PAGE = 10_000
_LOOK_INTERVAL_S = 0.005

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. Clients of plain HTTP make a context too, and reading the CAs would take most of their time."""

OPENAI_KEY = "sk-provider-openai-5d1f"
AZURE_KEY = "azure-provider-key-77aa"
ANTHROPIC_KEY = "sk-ant-provider-90cc"

CONFIG = f"""
model_list:
  - model_name: openai/*
    litellm_params: {{model: openai/*, api_base: $SIMULATOR/v1, api_key: {OPENAI_KEY}}}
  - model_name: azure/*
    litellm_params: {{model: azure/*, api_base: $SIMULATOR, api_version: "2024-10-21", api_key: {AZURE_KEY}}}
  - model_name: anthropic/*
    litellm_params: {{model: anthropic/*, api_base: $SIMULATOR, api_key: {ANTHROPIC_KEY}}}
  - model_name: pinned
    litellm_params: {{model: openai/gpt-pinned, api_base: $SIMULATOR/v1, api_key: {OPENAI_KEY}}}
  - model_name: same
    litellm_params: {{model: openai/same, api_base: $SIMULATOR/v1, api_key: {OPENAI_KEY}}}
  - model_name: azure-pinned
    litellm_params: {{model: azure/dep-1, api_base: $SIMULATOR, api_version: "2024-10-21", api_key: {AZURE_KEY}}}
  - model_name: unreachable
    litellm_params: {{model: openai/x, api_base: "http://127.0.0.1:1/v1", api_key: {OPENAI_KEY}}}
  - model_name: hasty/*
    litellm_params: {{model: openai/*, api_base: $SIMULATOR/v1, api_key: {OPENAI_KEY}, timeout: 1.5, stream_timeout: 1.5}}
litellm_settings: {{num_retries: 0}}
router_settings: {{disable_cooldowns: true}}
penstock:
  routing: {{passthrough_group: pinned}}
  upstream: {{forward_headers: [x-sim-, x-trace-]}}
"""
"""A gateway whose every group leads to the simulator, without retries and cooldowns: one call, one attempt."""


def until(probe: Callable[[], T | None], what: str, seconds: float = 30) -> T:
    """Ask ``probe`` until it answers something true; what another process brings about takes a moment."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"did not come about: {what}"
        pause(_LOOK_INTERVAL_S)


class Answered(Protocol):
    """What any HTTP client calls an answer."""

    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Received:
    """One request as it arrived at the simulator."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """Without the path."""
        return self.target.partition("?")[2]

    def values(self, name: str) -> list[str]:
        """All values of a header field."""
        return [value for field, value in self.headers if field.lower() == name]


class Sim:
    """Looks inside a simulator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False, verify=NO_TLS)

    def last(self) -> Received:
        """The most recent request."""
        return self._received(self._client.get("/_sim/requests/last").json())

    def of(self, answer: Answered) -> Received:
        """The request whose answer this is."""
        return self._received(self._client.get(f"/_sim/requests/{answer.headers['x-sim-seq']}").json())

    def ledger(self, since: int = 0) -> list[dict[str, Any]]:
        """Entries after ``since``, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._client.get("/_sim/ledger", params={"since": since, "limit": _PAGE}).json()
            found += page["entries"]
            if len(page["entries"]) < _PAGE:
                return found
            since = int(page["next"])

    def mark(self) -> int:
        """The number of the most recent request, for :meth:`ledger`."""
        entries = self._client.get("/_sim/ledger", params={"limit": 1}).json()["entries"]
        return int(entries[-1]["seq"]) if entries else 0

    def ended(self, call_id: str) -> dict[str, Any]:
        """The entry of one call, once its answer has ended; the first attempt of several."""

        def probe() -> dict[str, Any] | None:
            recent = self.ledger(max(0, self.mark() - 5_000))
            found = [entry for entry in recent if entry["call_id"] == call_id]
            return found[0] if found and found[0]["outcome"] != "open" else None

        return until(probe, f"the end of call {call_id} in the simulator's ledger")

    def record(
        self,
        name: str,
        body: bytes,
        content_type: str,
        status: int = 200,
        headers: dict[str, str] | None = None,
        split: list[int] | None = None,
    ) -> None:
        """Answer requests for the model `replay/{name}` with these bytes."""
        recording = {
            "status": status,
            "content_type": content_type,
            "headers": headers or {},
            "body_base64": base64.b64encode(body).decode(),
            "split": split,
        }
        self._client.put(f"/_sim/replay/{name}", json=recording).raise_for_status()

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    @staticmethod
    def _received(value: dict[str, Any]) -> Received:
        headers = [(str(name), str(content)) for name, content in value["headers"]]
        return Received(value["method"], value["target"], headers, base64.b64decode(value["body_base64"]))
