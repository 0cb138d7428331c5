"""Providers that LiteLLM knows and this version does not: left out with a warning, so that the rest is served."""

from __future__ import annotations

import pytest

from penstock.config import Environment, load_text
from penstock.engine.compile import compile_snapshot
from penstock.providers.registry import NOT_YET, PROVIDERS


@pytest.mark.parametrize(
    "params",
    [
        "model: bedrock/anthropic.claude",
        "model: x, custom_llm_provider: vertex_ai",
        "model: cohere/r, api_base: 'http://h'",
    ],
)
def test_their_deployments_are_left_out_with_a_warning(params: str) -> None:
    text = f"model_list:\n  - model_name: a\n    litellm_params: {{{params}}}\n"
    text += "  - model_name: b\n    litellm_params: {model: openai/x, api_key: k}\n"
    loaded = load_text(text, "c.yaml", Environment({}))
    assert [(problem.severity, problem.line) for problem in loaded.problems] == [("warning", 3)]
    assert "left out" in loaded.problems[0].message
    snapshot = compile_snapshot(loaded.config, loaded.environment, version=1, master_token="", demo_base_url=None)
    assert [group.name for group in snapshot.groups] == ["b"]


def test_none_of_them_is_one_that_works() -> None:
    assert not NOT_YET & PROVIDERS.keys()


def test_variables_without_effect_are_named() -> None:
    variables = {
        "NUM_WORKERS": "4",
        "CONFIG_HOT_RELOAD": "true",
        "OTEL_ENDPOINT": "http://c",
        "STORE_MODEL_IN_DB": "no",
    }
    problems = Environment(variables).problems()
    assert [(problem.severity, problem.path) for problem in problems] == [
        ("warning", "CONFIG_HOT_RELOAD"),
        ("warning", "OTEL_ENDPOINT"),
        ("warning", "NUM_WORKERS"),
    ]
