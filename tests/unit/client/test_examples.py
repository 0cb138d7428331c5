"""The examples in Python run, and show what they are said to show."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from penstock.client import _calls as calls
from penstock.client import _messages as pb
from tests.unit.client.gateway import Gateway, answer, chunk, fail

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "python"


def _create(request: Any, context: Any) -> pb.ChatCreateResponse:
    if request.tools and request.messages[-1].role != "tool":
        made = answer("")
        call = {"id": "c", "type": "function", "function": {"name": "temperature", "arguments": '{"city": "Oslo"}'}}
        made.choices[0].message.tool_calls.add(**call)
        return made
    return answer(f"said {request.messages[-1].text}")


@pytest.fixture
def run(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    gateway.behaviours |= {
        calls.CHAT_CREATE.path: _create,
        calls.CHAT_STREAM.path: lambda request, context: iter(
            [chunk("a"), chunk("b"), pb.ChatStreamResponse(usage={"total_tokens": 3})]
        ),
    }
    monkeypatch.setenv("PENSTOCK_TARGET", gateway.target)
    monkeypatch.setenv("PENSTOCK_API_KEY", "sk-test")

    def of(name: str) -> str:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return of


@pytest.mark.parametrize(
    "name, shown",
    [
        ("chat", "said Say hello in five words.\n3 tokens\n"),
        ("stream", "ab\n3 tokens\ncost in USD: not told\n"),
        ("tools", "said 14\n"),
        ("session", "".join(f"{at}: {at + 1}:0{at + 1}:1{at + 1}:2\n" for at in range(8))),
        ("from_openai", "said Say hello.\nab\n"),
    ],
)
def test_what_it_prints(run: Any, name: str, shown: str) -> None:
    assert run(name) == shown


def test_asyncio(run: Any) -> None:
    assert sorted(run("async_chat").splitlines()) == [
        "one: said Say one.",
        "three: said Say three.",
        "two: said Say two.",
    ]


def test_node(gateway: Gateway) -> None:
    folder = EXAMPLES.parent / "node"
    node = shutil.which("node")
    if node is None or not (folder / "node_modules").is_dir():
        pytest.skip("needs Node and `npm install` in examples/node")
    gateway.behaviours |= {
        calls.CHAT_CREATE.path: _create,
        calls.CHAT_STREAM.path: lambda request, context: iter(
            [chunk("a"), chunk("b"), pb.ChatStreamResponse(usage={"total_tokens": 3})]
        ),
    }
    environment = {
        "PATH": os.environ["PATH"],
        "PENSTOCK_TARGET": f"127.0.0.1:{gateway.port}",
        "PENSTOCK_API_KEY": "sk-test",
    }
    done = subprocess.run([node, "chat.js"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "said Say hello in five words.\n3 tokens\nab\n3 tokens\n"
    assert gateway.metadata[0]["authorization"] == "Bearer sk-test"
    assert gateway.requests[1].stream_options.include_usage
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: fail(
        context, grpc.StatusCode.UNAUTHENTICATED, "no such key"
    )
    done = subprocess.run([node, "chat.js"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "UNAUTHENTICATED: no such key\n")


def test_each_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "async_chat", "chat", "from_openai", "session", "stream", "tools",
    }  # fmt: skip
