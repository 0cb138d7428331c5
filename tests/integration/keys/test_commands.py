"""`penstock check`, `explain`, `migrate` and the words of every command, as processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BAD = """\
model_list:
  - model_name: a
    litellm_params: {model: nosuchprovider/x}
  - model_name: b
    litellm_params:
      model: openai/gpt-4o
      api_key: planted-provider-key-123
      api_base: planted-not-a-url
      rpm: many
  - litellm_params: {model: openai/gpt-4o, api_key: planted-provider-key-123}
router_settings:
  num_retries: -3
  unknown_router_key: 1
general_settings:
  master_key: sk-1234
litellm_settings:
  callbacks: [langfuse]
penstock:
  demoo: true
  listener: {port: 99999}
"""
ERRORS = {
    (3, 29): ["`nosuchprovider`", "not a known provider"],
    (8, 17): ["api_base", "http://"],
    (9, 12): ["rpm", "whole number"],
    (10, 5): ["`model_name` is missing"],
    (12, 16): ["num_retries", "0 to 1000"],
    (15, 15): ["master key", "everybody knows"],
    (19, 3): ["did you mean `demo`"],
    (20, 20): ["port", "65535"],
}
WARNINGS = {(13, 3): ["unknown_router_key", "no effect"], (17, 3): ["callbacks", "no effect"]}

GOOD = """\
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o-mini, api_key: planted-provider-key-123, rpm: 10, order: 1}
  - model_name: fast
    litellm_params: {model: openai/gpt-4o, api_key: planted-provider-key-123, order: 2, input_cost_per_token: 0.000004}
  - model_name: claude-*
    litellm_params: {model: anthropic/claude-*, api_key: planted-provider-key-123}
router_settings:
  model_group_alias: {quick: fast}
"""


def penstock(*arguments: str, status: int = 0, cwd: Path | None = None) -> tuple[str, str]:
    """Run the command; its standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "python"), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_check_names_every_problem_at_once_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    _, report = penstock("check", str(file), status=1)
    for places, severity in ((ERRORS, "error"), (WARNINGS, "warning")):
        for (line, column), words in places.items():
            prefix = f"{file}:{line}:{column}: {severity}: "
            found = next((row for row in report.splitlines() if row.startswith(prefix)), None)
            assert found is not None, prefix + "\n" + report
            for word in words:
                assert word in found
    assert report.rstrip().endswith(f"{len(ERRORS)} errors, {len(WARNINGS)} warnings")
    assert "planted" not in report
    assert "sk-1234" not in report


def test_serve_refuses_the_same_file_with_the_same_problems(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    _, report = penstock("serve", "--port", "0", "--config", str(file), "--data-dir", str(tmp_path / "d"), status=1)
    for line, column in ERRORS:
        assert f"{file}:{line}:{column}: error: " in report
    assert "planted" not in report
    assert not (tmp_path / "d").exists(), "nothing is made before the configuration is right"


@pytest.mark.parametrize(
    "text,line,word",
    [
        ("model_list: [\n  - a: b\n", 2, "YAML"),
        ("a: 1\nmodel_list:\n\t- x\n", 3, "YAML"),
        ("penstock: {demo: true}\npenstock: {demo: false}\n", 2, "penstock"),
        ("- a\n- b\n", 1, ""),
    ],
)
def test_check_places_what_is_no_configuration_at_all(tmp_path: Path, text: str, line: int, word: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    _, report = penstock("check", str(file), status=1)
    assert f"{file}:{line}:" in report
    assert word in report


def test_check_passes_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    shown, _ = penstock("check", str(file))
    assert f"{file}: valid; " in shown
    assert "planted" not in shown
    _, missing = penstock("check", str(tmp_path / "none.yaml"), status=2)
    assert "does not exist" in missing


def test_explain_tells_how_a_name_resolves(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    shown, _ = penstock("explain", "quick", "--config", str(file))
    assert "group `fast` (by alias)" in shown
    assert shown.index("`gpt-4o-mini`") < shown.index("`gpt-4o`")
    assert "rpm 10" in shown
    assert "$4 in" in shown
    wild, _ = penstock("explain", "claude-sonnet-4-5", "--config", str(file))
    assert "(by wildcard)" in wild
    assert "`claude-sonnet-4-5`" in wild
    _, unknown = penstock("explain", "nothing", "--config", str(file), status=1)
    assert "no model group has this name" in unknown
    assert "fast" in unknown
    assert "planted" not in shown + wild + unknown


def test_migrate_applies_what_is_pending_once(tmp_path: Path) -> None:
    first, _ = penstock("migrate", "--data-dir", str(tmp_path / "d"))
    again, _ = penstock("migrate", "--data-dir", str(tmp_path / "d"))
    assert "applied 0001" in first
    assert "applied" not in again
    assert "up to date" in first
    assert "up to date" in again


@pytest.mark.parametrize(
    "command",
    [
        *([], ["serve"], ["check"], ["simulate"], ["migrate"], ["explain"]),
        *(["key"], ["key", "create"], ["key", "list"], ["key", "revoke"]),
    ],
)
def test_every_command_has_help_and_refuses_unknown_options(command: list[str]) -> None:
    shown, _ = penstock(*command, "--help")
    assert shown.startswith("Usage: ")
    assert "-h, --help" in shown
    _, refused = penstock(*command, "--no-such-option", status=2)
    assert "No such option" in refused
    assert "--no-such-option" in refused


def test_values_out_of_range_are_refused_by_name(tmp_path: Path) -> None:
    for arguments in (
        ("serve", "--port", "70000"),
        ("serve", "--threads", "0"),
        ("serve", "--listener", "apache"),
        ("serve", "--config", str(tmp_path / "none.yaml")),
        ("simulate", "--tokens", "0"),
        ("simulate", "--ttft-ms", "-1"),
    ):
        _, refused = penstock(*arguments, status=2)
        assert arguments[1] in refused, arguments
    _, unknown = penstock("bogus", status=2)
    assert "No such command 'bogus'" in unknown
