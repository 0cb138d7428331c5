"""Over gRPC, through a real gateway: what the tool reports is what the simulator behind it was told to inject."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the gRPC client's libraries are not installed")

from tests.conftest import Gateway
from tests.integration.bench.conftest import SLACK_MS, Bench
from tests.integration.listener.certificates import Authority, needs_openssl
from tests.stalls import again_after_a_stall

TTFT_MS, GAP_MS, DELTAS = 80, 20, 10
CONFIG = f"""
model_list:
  - model_name: paced
    litellm_params: {{model: "openai/sim/ttft={TTFT_MS},tps={1000 // GAP_MS},tokens={DELTAS}", api_base: $SIMULATOR/v1, api_key: x}}
  - model_name: late
    litellm_params: {{model: openai/sim/ttft=40, api_base: $SIMULATOR/v1, api_key: x}}
  - model_name: quick
    litellm_params: {{model: openai/sim/tokens=4, api_base: $SIMULATOR/v1, api_key: x}}
  - model_name: refused
    litellm_params: {{model: openai/sim/status=429, api_base: $SIMULATOR/v1, api_key: x}}
  - model_name: broken
    litellm_params: {{model: "openai/sim/tokens=8,fault=close_after:3", api_base: $SIMULATOR/v1, api_key: x}}
  - model_name: hanging
    litellm_params: {{model: "openai/sim/fault=hang_after:0", api_base: $SIMULATOR/v1, api_key: x}}
litellm_settings: {{num_retries: 0}}
router_settings: {{disable_cooldowns: true}}
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Gateway]:
    """A gateway in front of the simulator."""
    running = Gateway(tmp_path_factory.mktemp("bench-rpc"), simulator_url, config=CONFIG)
    try:
        yield running
    finally:
        running.close()


def target(port: Gateway) -> str:
    """Its address for gRPC."""
    return port.url.replace("http", "grpc", 1)


def between(value_us: float, injected_ms: float) -> bool:
    return injected_ms * 1e3 <= value_us <= (injected_ms + SLACK_MS) * 1e3


@again_after_a_stall(0.03)
def test_a_unary_delay(bench: Bench, port: Gateway) -> None:
    arguments = ["--model", "late", "--key", port.admin_key, "--connections", "2", "--calls-per-connection", "3"]
    ended = bench(target(port), *arguments, "--requests", "60", "--process", str(port.pid))
    assert (ended.metric("requests"), ended.row()["errors_by_kind"]) == (60, {})
    assert between(ended.metric("min_us"), 40)
    assert between(ended.metric("p50_us"), 40)
    # Six at a time, each with an answer every 40 ms.
    assert 150 * 0.35 <= ended.metric("rps") <= 150
    assert ended.metric("reconnects") == 0
    assert ended.metric("cpu_us_per_request") > 0
    assert ended.document["points"][0]["label"] == "2 connections, 3 calls on each"
    assert ended.document["settings"]["protocols"] == ["gRPC"]


@again_after_a_stall(0.03)
def test_time_to_first_token_gaps_and_the_whole(bench: Bench, port: Gateway) -> None:
    arguments = ["--stream", "--model", "paced", "--key", port.admin_key, "--calls-per-connection", "3"]
    checks = ["--deltas", str(DELTAS), "--check-order", "numbered", "--check-usage"]
    ended = bench(target(port), *arguments, *checks, "--requests", "12")
    assert ended.row()["errors_by_kind"] == {}
    assert (ended.metric("requests"), ended.metric("deltas")) == (12, 12 * DELTAS)
    assert between(ended.metric("ttft_p50_us"), TTFT_MS)
    # Neither nothing, nor two of them, nor the time to the first token.
    assert abs(ended.metric("gap_mean_us") - GAP_MS * 1e3) <= 8_000
    assert abs(ended.metric("gap_p50_us") - GAP_MS * 1e3) <= 8_000
    assert between(ended.metric("p50_us"), TTFT_MS + (DELTAS - 1) * GAP_MS)
    miscounted = bench(target(port), *arguments, "--deltas", "9", "--requests", "3", status=1)
    assert miscounted.row()["errors_by_kind"] == {"grpc_delta_count": 3}


@again_after_a_stall(0.03)
def test_rest_and_grpc_in_one_run_see_the_same(bench: Bench, port: Gateway) -> None:
    address = port.url.partition("://")[2]
    arguments = ["--grpc", "--label", "rpc", "--compare", f"rest={port.url}/v1", "--baseline", "rest", "--rounds", "1"]
    checks = ["--stream", "--model", "paced", "--key", port.admin_key, "--check-order", "numbered", "--requests", "8"]
    ended = bench(address, *arguments, *checks, "--connections", "2", "--calls-per-connection", "2")
    assert ended.document["targets"]["rpc"] == f"grpc://{address}"
    assert ended.document["settings"]["protocols"] == ["gRPC", "HTTP/1.1"]
    for label in ("rpc", "rest"):
        assert (ended.metric("requests", label), ended.row(label)["errors_by_kind"]) == (8, {})
        assert ended.metric("deltas", label) == 8 * DELTAS
        assert between(ended.metric("ttft_p50_us", label), TTFT_MS)
    assert abs(ended.metric("added_ttft_p50_us", "rpc")) <= SLACK_MS * 1e3


@pytest.mark.parametrize(
    "model, options, kind",
    [
        ("refused", [], "grpc_resource_exhausted"),
        ("refused", ["--stream"], "grpc_resource_exhausted"),
        ("broken", ["--stream"], "grpc_unavailable"),
        ("hanging", ["--timeout", "300ms"], "timeout"),
    ],
)
def test_failures_are_told_apart(bench: Bench, port: Gateway, model: str, options: list[str], kind: str) -> None:
    arguments = ["--model", model, "--key", port.admin_key, "--requests", "4", "--warmup", "0"]
    ended = bench(target(port), *arguments, *options, status=1)
    assert ended.row()["errors_by_kind"] == {kind: 4}
    assert ended.metric("requests") == 0


def test_mistakes_are_named(bench: Bench, port: Gateway, simulator_url: str) -> None:
    address = target(port)
    known = ["--key", port.admin_key]
    for url, arguments, names in (
        (address, ["--model", "late", "--key", "sk-wrong-1a2b3c4d"], "UNAUTHENTICATED"),
        (address, ["--model", "nothing-like-it", *known], "NOT_FOUND"),
        ("grpc://127.0.0.1:1", ["--model", "late"], "is the gateway running"),
        (address.replace("grpc", "grpcs"), ["--model", "late", *known], "TLS handshake"),
        (simulator_url.replace("http", "grpc"), ["--model", "sim"], "not HTTP/2"),
    ):
        ended = bench(url, *arguments, status=1)
        assert names in ended.err, ended.err
        assert "sk-wrong" not in ended.err
        assert not ended.out


def test_a_body_of_ones_own_and_its_size(bench: Bench, port: Gateway, tmp_path: Path) -> None:
    body = {"model": "quick", "messages": [{"role": "user", "content": "{pad}"}], "stream": True}
    (tmp_path / "body.json").write_text(json.dumps(body), encoding="utf-8")
    sizes = (2_000, 500_000)
    arguments = ["--body", "body.json", "--key", port.admin_key, "--body-bytes", ",".join(map(str, sizes))]
    ended = bench(target(port), *arguments, "--requests", "4", "--deltas", "4")
    for place, size in enumerate(sizes):
        assert ended.row(point=place)["errors_by_kind"] == {}
        sent = ended.document["runs"][place]["report"]["bytes_sent"]
        assert 4 * (size + 5 - 2) <= sent <= 4 * (size + 5)


def test_every_call_is_in_the_ledger(bench: Bench, start_gateway: Callable[..., Gateway]) -> None:
    from benchmarks.ledger import FileLedger

    gateway = start_gateway(config=CONFIG)
    arguments = ["--model", "quick", "--key", gateway.new_key(), "--connections", "2", "--calls-per-connection", "16"]
    ended = bench(target(gateway), *arguments, "--requests", "500", "--warmup", "20")
    assert (ended.metric("requests"), ended.metric("errors")) == (500, 0)
    ledger = FileLedger(gateway.data_dir)
    # With the tool's first look.
    assert ledger.wait_for(521)
    assert ledger.rows() == 521


def test_tls_with_a_ca_of_ones_own(bench: Bench, start_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    needs_openssl()
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    gateway = start_gateway(config=f"penstock: {{listener: {{tls: {{certificate: {certificate}, key: {key}}}}}}}")
    arguments = [target(gateway), "--model", "demo", "--key", gateway.admin_key, "--requests", "20"]
    assert target(gateway).startswith("grpcs://")
    trusted = bench(*arguments, "--ca-file", str(authority.certificate), "--calls-per-connection", "4", "--stream")
    assert (trusted.metric("requests"), trusted.metric("errors"), trusted.metric("reconnects")) == (20, 0, 0)
    assert bench(*arguments, "--insecure").metric("requests") == 20
    assert "TLS handshake failed" in bench(*arguments, status=1).err


@again_after_a_stall(0.1)
def test_connections_that_age_cost_no_call(bench: Bench, start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(config=f"{CONFIG}penstock: {{grpc: {{max_connection_age: 200ms}}}}")
    arguments = ["--model", "late", "--key", gateway.admin_key, "--connections", "2", "--calls-per-connection", "4"]
    ended = bench(target(gateway), *arguments, "--duration", "2s")
    assert ended.row()["errors_by_kind"] == {}
    assert ended.metric("requests") > 100
    assert ended.metric("reconnects") >= 4


def test_the_tool_needs_no_key_in_its_arguments(bench: Bench, port: Gateway, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(port.new_key(), encoding="utf-8")
    ended = bench(target(port), "--model", "quick", "--key-file", "key", "--requests", "5", "--format", "text")
    assert "chat, unary, 5 requests per run, 1 round; gRPC; " in ended.out
    assert (tmp_path / "key").read_text() not in ended.out + ended.err
