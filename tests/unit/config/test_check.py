"""What `penstock check` prints: place, message, line, caret, count; and no secret."""

from __future__ import annotations

import pytest

from penstock.config import Environment, load_text
from penstock.config.check import render


def shown(text: str) -> str:
    loaded = load_text(text, "c.yaml", Environment({}))
    return render(loaded.problems, loaded.sources)


def test_a_problem_is_shown_with_its_line_and_a_caret() -> None:
    assert shown("penstock:\n  listener: {port: 99999}\n") == (
        "c.yaml:2:20: error: penstock.listener.port: must be a port number, 0 to 65535\n"
        "  2 |   listener: {port: 99999}\n"
        "    |                    ^\n"
        "1 error, 0 warnings\n"
    )


def test_a_single_text_may_be_given_as_source() -> None:
    text = "penstock: {x: 1}\n"
    loaded = load_text(text, "c.yaml", Environment({}))
    assert "  1 | penstock: {x: 1}" in render(loaded.problems, text)


def test_nothing_wrong_is_said_too() -> None:
    assert shown("") == "0 errors, 0 warnings\n"


def test_long_lines_are_cut_around_the_place() -> None:
    text = "penstock: {" + ", ".join(f"prices: {{m{n}: {{}}}}" for n in range(1)) + " " * 300 + ", zzz: 1}\n"
    lines = shown(text).splitlines()
    assert len(lines[1]) < 180
    assert lines[1][lines[2].index("^")] == "z"


@pytest.mark.parametrize(
    "text",
    [
        "general_settings: {master_key: [hunter2]}\n",
        "general_settings:\n  master_key:\n    - hunter2\n",
        "general_settings:\n  master_key: hunter2\n",
        "model_list:\n  - model_name: a\n    litellm_params: {model: openai/x, api_key: {hunter2: hunter2}}\n",
        "model_list:\n  - model_name: a\n    litellm_params: {model: zz/x, api_key: hunter2}\n",
        "environment_variables:\n  WHATEVER: {a: hunter2}\n",
        "environment_variables: {WHATEVER: [hunter2]}\n",
        'general_settings:\n  master_key: "hunter2\n',
        "general_settings:\n  master_key: hunter2: x\n",
        "general_settings:\n  master_key: *hunter2\n",
        "general_settings:\n  master_key: a\n  master_key: hunter2\n",
        "general_settings:\n  mastr_key: hunter2\n",
        "litellm_settings:\n  cache_params: {password: hunter2, zzz: 1}\n",
        "model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/x\n      aws_secret_access_key: hunter2\n",
        "model_list:\n  - model_name: a\n    litellm_params:\n      model: openai/x\n      rpm: sk-hunter2\n",
        "general_settings: {database_url: 'postgres://me:hunter2@host/db', zzz: 1}\n",
        "model_list:\n  - model_name: a\n    litellm_params: {model: openai/x, api_base: 'https://me:hunter2@host'}\n",
    ],
)
def test_secrets_are_masked_in_lines_and_absent_from_messages_and_structs(text: str) -> None:
    loaded = load_text(text, "c.yaml", Environment({}))
    assert loaded.problems
    assert "hunter2" not in render(loaded.problems, loaded.sources)
    assert "hunter2" not in repr(loaded.problems)
    assert "hunter2" not in repr(loaded.config)


@pytest.mark.parametrize(
    "grpc, said",
    [
        ("{keepalive: 1ms}", "error: penstock.grpc.keepalive: must be 0 (off) or at least 100ms"),
        ("{keepalive_timeout: 0}", "error: penstock.grpc.keepalive_timeout: must be at least 100ms"),
        ("{max_connection_age: 99ms}", "error: penstock.grpc.max_connection_age: must be 0 (off) or at least 100ms"),
        ("{max_connection_age_grace: 5s}", "warning: penstock.grpc.max_connection_age_grace: has no effect without"),
    ],
)
def test_times_that_would_end_connections_that_are_well(grpc: str, said: str) -> None:
    assert said in shown(f"penstock: {{grpc: {grpc}}}\n")


def test_grpc_may_be_told_to_do_without() -> None:
    grpc = "{keepalive: 0, max_connection_age: 0, max_connection_age_grace: 1s, web_origins: ['*']}"
    assert "0 errors" not in shown("penstock: {grpc: {keepalive: 1ms}}\n")
    assert "error:" not in shown(f"penstock: {{grpc: {grpc}}}\n")
