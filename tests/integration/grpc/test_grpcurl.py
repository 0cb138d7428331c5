"""grpcurl, built here where Go can fetch it: what people type works, with reflection and without."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.integration.grpc.calls import address
from tests.integration.grpc.toolchains import go_installed

MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"
PROTOS = Path(__file__).resolve().parents[3] / "proto"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def grpcurl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program."""
    return str(go_installed(MODULE, tmp_path_factory.mktemp("gobin")) / "grpcurl")


class Terminal:
    """Runs it as people do."""

    def __init__(self, program: str, gateway: Gateway) -> None:
        self._program = program
        self._gateway = gateway

    def run(self, *arguments: str, status: int = 0, key: bool = True) -> str:
        """Arguments before the address come first; `@` stands for it. What it printed."""
        filled = [address(self._gateway) if argument == "@" else argument for argument in arguments]
        headers = ["-H", f"authorization: Bearer {self._gateway.admin_key}"] if key else []
        command = [self._program, "-plaintext", "-max-time", "20", *headers, *filled]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        """What it printed, read; several messages as a list."""
        text, found, at = self.run(*arguments), [], 0
        decoder = json.JSONDecoder()
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            found.append(value)
            while at < len(text) and text[at].isspace():
                at += 1
        return found


@pytest.fixture
def terminal(grpcurl: str, port: Gateway) -> Terminal:
    """On the shared gateway."""
    return Terminal(grpcurl, port)


_ASK = json.dumps({"model": "sim", "max_tokens": 3, "messages": [{"role": "user", "text": "hi"}]})


def test_the_command_of_the_readme(terminal: Terminal) -> None:
    [answer] = terminal.json("-d", _ASK, "@", "penstock.v1.Chat/Create")
    assert answer["choices"][0]["message"]["content"] == " time river that"
    assert answer["usage"]["completionTokens"] == "3"


def test_a_stream(terminal: Terminal) -> None:
    chunks = terminal.json("-d", _ASK, "@", "penstock.v1.Chat/Stream")
    words = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk.get("choices", [])]
    assert "".join(words) == " time river that"


def test_lists_and_descriptions(terminal: Terminal) -> None:
    services = terminal.run("@", "list", key=False).split()
    assert {"penstock.v1.Chat", "penstock.v1.Tokens", "grpc.health.v1.Health"} <= set(services)
    for service in services:
        assert terminal.run("@", "list", service, key=False).split()
        assert service in terminal.run("@", "describe", service, key=False)
    assert "repeated .penstock.v1.ChatMessage messages = 2" in terminal.run(
        "@", "describe", "penstock.v1.ChatCreateRequest", key=False
    )


def test_protocol_files_instead_of_reflection(terminal: Terminal) -> None:
    files = ["-import-path", str(PROTOS), "-proto", "penstock/v1/gateway.proto"]
    [info] = terminal.json(*files, "-d", "{}", "@", "penstock.v1.Gateway/Info")
    assert info["state"] == "GATEWAY_STATE_READY"


def test_health(terminal: Terminal) -> None:
    assert '"status": "SERVING"' in terminal.run(
        "-d", '{"service": "penstock.v1.Chat"}', "@", "grpc.health.v1.Health/Check", key=False
    )


def test_a_session(terminal: Terminal) -> None:
    start = {"start": {"id": 1, "request": json.loads(_ASK)}}
    frames = terminal.json("-d", json.dumps(start), "@", "penstock.v1.Chat/Session")
    assert [next(iter(frame)) for frame in frames] == ["opened", *["delta"] * (len(frames) - 2), "done"]


def test_an_error_is_shown_with_its_details(terminal: Terminal) -> None:
    shown = terminal.run("-d", '{"model": "nowhere"}', "@", "penstock.v1.Chat/Create", status=64 + 5)
    assert "Code: NotFound" in shown
    assert "model_not_found" in shown
    assert "google.rpc.ErrorInfo" in shown
    refused = terminal.run("-d", _ASK, "@", "penstock.v1.Chat/Create", status=64 + 16, key=False)
    assert "Code: Unauthenticated" in refused


def test_compression(terminal: Terminal) -> None:
    [answer] = terminal.json("-d", _ASK, "-H", "grpc-accept-encoding: gzip", "@", "penstock.v1.Chat/Create")
    assert answer["choices"]


def test_go_s_keepalive_is_put_up_with(terminal: Terminal) -> None:
    """Pings of Go's client while a stream is slow."""
    ask = json.dumps(
        {"model": "wild/sim/tokens=3,ttft=2500", "max_tokens": 3, "messages": [{"role": "user", "text": "a"}]}
    )
    assert terminal.json("-keepalive-time", "1", "-d", ask, "@", "penstock.v1.Chat/Stream")
