"""Commands that need no running gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock import __version__
from penstock.cli import main
from penstock.cores import available_cores

CONFIG = """
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o-mini, api_key: planted-key-1234567890, rpm: 10, order: 1}
  - model_name: fast
    litellm_params: {model: openai/gpt-4o, api_key: planted-key-1234567890, order: 2}
router_settings:
  model_group_alias: {quick: fast}
"""


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.strip().endswith(__version__)


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["check"], ["simulate"], ["migrate"], ["explain"], ["key"], ["key", "create"]]
)
def test_every_command_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom penstock.cli import main\n"
        "CliRunner().invoke(main, ['serve', '--help'])\n"
        "heavy = {'litestar', 'granian', 'msgspec', 'yaml', 'sqlite3', 'penstock._core'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(Path(__file__).parents[3] / "python")}
    )


def test_explain_shows_the_order_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG)
    result = CliRunner().invoke(main, ["explain", "quick", "--config", str(file)])
    assert result.exit_code == 0, result.output
    assert "group `fast` (by alias)" in result.output
    assert result.output.index("gpt-4o-mini") < result.output.index("`gpt-4o`")
    assert "rpm 10" in result.output
    assert "planted-key" not in result.output
    unknown = CliRunner().invoke(main, ["explain", "nope", "--config", str(file)])
    assert (unknown.exit_code, "fast" in unknown.output) == (1, True)


@pytest.mark.parametrize(
    "amount,words",
    [("abc", "Error: `max_budget`: Invalid decimal string"), ("-1", "Error: `max_budget` must not be negative")],
)
def test_an_amount_that_cannot_be_used_is_told_as_by_the_api(tmp_path: Path, amount: str, words: str) -> None:
    pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")
    result = CliRunner().invoke(main, ["key", "create", "--max-budget", amount, "--data-dir", str(tmp_path / "data")])
    assert (result.exit_code, result.output.strip()) == (1, words)


def test_serve_s_help_says_how_many_cores_there_are() -> None:
    text = " ".join(CliRunner().invoke(main, ["serve", "--help"]).output.split())
    assert f"{available_cores()} CPU cores are available" in text


def test_check_names_the_line_and_fails(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(CONFIG)
    bad.write_text(CONFIG + "penstock:\n  demoo: true\n")
    assert CliRunner().invoke(main, ["check", str(good)]).exit_code == 0
    result = CliRunner().invoke(main, ["check", str(bad)])
    assert result.exit_code == 1
    assert f"bad.yaml:{CONFIG.count(chr(10)) + 2}:" in result.output
    assert "planted-key" not in result.output
