"""The examples against a real gateway: each runs as its readme says, and prints what it is for."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.integration.grpc.calls import address
from tests.integration.grpc.toolchains import needs, run

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
WORDS = " time river that this with from have your will more they function their part else over"
"""What the demo model says."""


@pytest.fixture
def settings(port: Gateway) -> dict[str, str]:
    """The variables that the readme names."""
    return {"PENSTOCK_TARGET": address(port), "PENSTOCK_API_KEY": port.new_key(), "PENSTOCK_MODEL": "sim"}


def _python(name: str, directory: Path, settings: dict[str, str]) -> str:
    more = {**settings, "PYTHONPATH": str(ROOT / "python"), "PYTHONWARNINGS": "error"}
    return run([sys.executable, str(EXAMPLES / "python" / f"{name}.py")], directory, more=more)


def test_chat(settings: dict[str, str], tmp_path: Path) -> None:
    assert re.fullmatch(re.escape(WORDS) + r"\n\d+ tokens\n", _python("chat", tmp_path, settings))


def test_async_chat(settings: dict[str, str], tmp_path: Path) -> None:
    lines = _python("async_chat", tmp_path, settings).splitlines()
    assert sorted(lines) == [f"{word}: {WORDS}" for word in ("one", "three", "two")]


def test_stream(settings: dict[str, str], tmp_path: Path) -> None:
    shown = _python("stream", tmp_path, settings)
    assert re.fullmatch(re.escape(WORDS) + r"\n\d+ tokens\ncost in USD: 0\.\d{9}\n", shown), shown


def test_tools(settings: dict[str, str], tmp_path: Path) -> None:
    assert _python("tools", tmp_path, settings).strip()


def test_session(settings: dict[str, str], tmp_path: Path) -> None:
    lines = _python("session", tmp_path, settings).splitlines()
    assert lines == [f"{number}: {WORDS}" for number in range(8)]


def test_from_openai(settings: dict[str, str], tmp_path: Path) -> None:
    assert _python("from_openai", tmp_path, settings) == f"{WORDS}\n{WORDS}\n"


def test_targets_may_be_urls(settings: dict[str, str], tmp_path: Path) -> None:
    settings["PENSTOCK_TARGET"] = f"grpc://{settings['PENSTOCK_TARGET']}"
    assert WORDS in _python("chat", tmp_path, settings)


def test_a_wrong_key_is_told_in_one_line(settings: dict[str, str], tmp_path: Path) -> None:
    settings["PENSTOCK_API_KEY"] = "sk-wrong"
    with pytest.raises(AssertionError, match="code invalid_api_key"):
        _python("chat", tmp_path, settings)


def test_node(settings: dict[str, str]) -> None:
    node = needs("node")
    if not (EXAMPLES / "node" / "node_modules").is_dir():
        pytest.skip("the modules of examples/node are not installed: `npm ci` there")
    shown = run([node, "chat.js"], EXAMPLES / "node", more=settings)
    assert re.fullmatch(re.escape(WORDS) + r"\n\d+ tokens\n" + re.escape(WORDS) + r"\n\d+ tokens\n", shown), shown


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_go(settings: dict[str, str], tmp_path: Path) -> None:
    go = needs("go")
    # Beside the protocol, as it lies in the repository; what is generated stays out of that.
    shutil.copytree(EXAMPLES / "go", tmp_path / "examples" / "go", ignore=shutil.ignore_patterns("penstockv1"))
    shutil.copytree(ROOT / "proto" / "penstock", tmp_path / "proto" / "penstock")
    folder = tmp_path / "examples" / "go"
    run([go, "mod", "download"], folder, fetches=True)
    run(["sh", "generate.sh"], folder, fetches=True, more={"PYTHON": sys.executable})
    shown = run([go, "run", "."], folder, more=settings)
    assert re.fullmatch(re.escape(WORDS) + r"\n\d+ tokens\n" + re.escape(WORDS) + r"\n", shown), shown
    wrong: dict[str, Any] = {**settings, "PENSTOCK_MODEL": "nowhere"}
    with pytest.raises(AssertionError, match="code model_not_found"):
        run([go, "run", "."], folder, more=wrong)
