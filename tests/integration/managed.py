"""What the tests of keys, limits and spend share: a gateway with priced models on the simulator, and ways to ask it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import NO_TLS

CONFIG = """
model_list:
  - model_name: priced
    litellm_params:
      model: openai/sim
      api_base: $SIMULATOR/v1
      api_key: unused-by-the-simulator
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.00001
      cache_read_input_token_cost: 0.0000001
      output_cost_per_reasoning_token: 0.00002
      input_cost_per_request: 0.0000005
    model_info: {access_groups: [tier-a]}
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sim
      api_base: $SIMULATOR
      api_key: unused-by-the-simulator
      input_cost_per_token: 0.000003
      output_cost_per_token: 0.000015
      cache_read_input_token_cost: 0.0000003
  - model_name: other
    litellm_params: {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator}
    model_info: {access_groups: [tier-b]}
  - model_name: wild/*
    litellm_params: {model: openai/*, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator}
  - model_name: unreachable
    litellm_params: {model: openai/sim, api_base: "http://127.0.0.1:9/v1", api_key: unused-by-the-simulator}
  - model_name: bounded
    litellm_params: {model: openai/sim, api_base: $SIMULATOR/v1, api_key: unused-by-the-simulator}
    model_info: {max_output_tokens: 64}
router_settings:
  num_retries: 0
  model_group_alias: {nick: priced}
penstock:
  upstream: {forward_headers: [x-sim-]}
"""
"""`$SIMULATOR` is replaced by :class:`tests.conftest.Gateway`."""

QUESTION = [{"role": "user", "content": "hello world"}]
ASKED = 9
"""Prompt tokens of :data:`QUESTION`: two words in one message, by the simulator's count and by that of admission."""


def cost_of_priced(prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> int:
    """Nano-dollars of a call to `priced`, from the prices in the configuration."""
    return 500 + (prompt - cached) * 1_000 + cached * 100 + (completion - reasoning) * 10_000 + reasoning * 20_000


def until(condition: Callable[[], Any], seconds: float = 20, what: str = "it") -> Any:
    """Ask again until the answer is true; returns it. The condition does the waiting: it talks to another process."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
    return found


class Managed:
    """A gateway, a client of it and the few calls that these tests make all the time."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.client = gateway.client(limits=httpx.Limits(max_connections=300))
        self.admin = gateway.admin

    def close(self) -> None:
        """End the gateway. Idempotent."""
        self.client.close()
        self.gateway.close()

    def key(self, **fields: Any) -> str:
        """A new virtual key."""
        return self.gateway.new_key(**fields)

    def post(self, path: str, **body: Any) -> httpx.Response:
        """A management call of the administrator."""
        return self.client.post(path, headers=self.admin, json=body)

    def get(self, path: str, **query: Any) -> httpx.Response:
        """A management question of the administrator."""
        return self.client.get(path, headers=self.admin, params=query)

    def info(self, key: str) -> dict[str, Any]:
        """`info` of `/key/info`."""
        answer = self.get("/key/info", key=key)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["info"])

    def logs(self, key: str, **query: Any) -> list[dict[str, Any]]:
        """The key's usage records, latest first."""
        answer = self.get("/spend/logs", api_key=key, limit=1000, **query)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def chat(self, key: str, sim: dict[str, Any] | None = None, **body: Any) -> httpx.Response:
        """A chat call; `sim` is what the simulator is told in `x-sim-*` headers."""
        return self.client.post("/v1/chat/completions", headers=_headers(key, sim), json=question(**body))

    def stream(self, key: str, sim: dict[str, Any] | None = None, **body: Any) -> Any:
        """A streamed chat call, as a context manager."""
        headers = _headers(key, sim)
        return self.client.stream("POST", "/v1/chat/completions", headers=headers, json=question(stream=True, **body))

    def many(self, key: str, count: int, sim: dict[str, Any] | None = None, **body: Any) -> list[httpx.Response]:
        """So many chat calls at the same time."""

        async def work() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=count)
            async with httpx.AsyncClient(
                base_url=self.gateway.url, timeout=30, trust_env=False, verify=NO_TLS, limits=limits
            ) as client:
                calls = (
                    client.post("/v1/chat/completions", headers=_headers(key, sim), json=question(**body))
                    for _ in range(count)
                )
                return await asyncio.gather(*calls)

        return asyncio.run(work())

    def simulator_totals(self) -> dict[str, int]:
        """Sums of the simulator's ledger."""
        url = f"{self.gateway.simulator_url}/_sim/ledger"
        return dict(httpx.get(url, params={"limit": 1}, trust_env=False, timeout=30).json()["totals"])

    def simulated(self, answer: httpx.Response) -> dict[str, Any]:
        """What the simulator's own ledger says of the call behind an answer."""
        call = answer.headers["x-penstock-call-id"]

        def entry() -> dict[str, Any] | None:
            query = {"since": max(0, self.simulator_totals()["requests"] - 300), "limit": 300}
            url = f"{self.gateway.simulator_url}/_sim/ledger"
            page = httpx.get(url, params=query, trust_env=False, timeout=30).json()
            calls = [dict(one) for one in page["entries"] if one["call_id"] == call]
            return calls[-1] if calls and calls[-1]["outcome"] != "open" else None

        return dict(until(entry, what="the simulator's entry"))


def question(**body: Any) -> dict[str, Any]:
    """A small chat request, or with the changes given."""
    return {"model": "priced", "max_tokens": 4, "messages": QUESTION, **body}


def nanos(dollars: float | str) -> int:
    """An amount as an endpoint shows it, in nano-dollars, exactly."""
    return int(Decimal(str(dollars)) * 1_000_000_000)


def _headers(key: str, sim: dict[str, Any] | None) -> dict[str, str]:
    told = {f"x-sim-{name}": str(value) for name, value in (sim or {}).items()}
    return {"authorization": f"Bearer {key}", **told}


@pytest.fixture(scope="session")
def managed(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Managed]:
    """The gateway of :data:`CONFIG`, for the whole session; every test brings its own keys."""
    running = Managed(Gateway(tmp_path_factory.mktemp("managed"), simulator_url, config=CONFIG))
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def start_managed(start_gateway: Callable[..., Gateway]) -> Iterator[Callable[..., Managed]]:
    """Starts gateways for one test, by default with :data:`CONFIG`."""
    started: list[Managed] = []

    def start(**options: Any) -> Managed:
        started.append(Managed(start_gateway(**{"config": CONFIG, **options})))
        return started[-1]

    yield start
    for one in started:
        one.client.close()
