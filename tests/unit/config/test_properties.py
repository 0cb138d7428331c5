"""For any text: problems or a configuration, never an exception; and secrets are never shown."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import Environment, Loaded, load_text
from penstock.config.check import render
from penstock.config.known import GENERAL_SETTINGS, LITELLM_PARAMS, LITELLM_SETTINGS
from penstock.engine.compile import compile_snapshot

ENVIRONMENT = Environment({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "AZURE_API_KEY": "k"})

_TOKENS = """model_list model_name litellm_params model api_key api_base openai/gpt-4o azure/x anthropic/* * rpm tpm weight
    model_info id access_groups router_settings fallbacks model_group_alias litellm_settings general_settings master_key
    environment_variables credential_list credential_name credential_values penstock listener port tls certificate
    prices timeouts include extra_body extra_headers organization os.environ/OPENAI_API_KEY os.environ/NOPE demo 1 1e-6 -5
    true null ~ [] {} 99999999999999999999 0.1 inf nan .inf 2024-10-21 0x10 1_000 https://host/v1 https://[ ://"""
_WORDS = st.sampled_from(_TOKENS.split())
_SCALARS = st.one_of(_WORDS, st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none())
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_WORDS, inner, max_size=5)),
    max_leaves=30,
)
_LINES = st.lists(
    st.builds(
        lambda indent, dash, key, colon, value: " " * indent + dash + key + colon + value,
        st.integers(0, 8),
        st.sampled_from(["", "- ", "- - ", "\t", "? ", "&a ", "*a", "<<: *a", "!x ", "---", "%", "#"]),
        _WORDS,
        st.sampled_from([": ", ":", "", ": |\n", ": >", ": &b ", ": *b", ": [", ": {", ': "']),
        _WORDS,
    ),
    max_size=15,
).map("\n".join)


def check(text: str) -> Loaded:
    loaded = load_text(text, "any.yaml", ENVIRONMENT)
    assert render(loaded.problems, loaded.sources).endswith("\n")
    for problem in loaded.problems:
        assert problem.message
        assert problem.line >= 0
    if loaded.ok:
        compile_snapshot(loaded.config, loaded.environment, version=1, master_token="", demo_base_url="http://h")
    return loaded


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    check(text)


@settings(max_examples=400, deadline=None)
@given(_LINES)
def test_text_that_nearly_is_a_configuration(text: str) -> None:
    check(text)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(_WORDS, _TREES, max_size=6))
def test_any_tree_of_the_configuration_s_words(tree: dict[str, object]) -> None:
    check(yaml.safe_dump(tree))


_SECRET = "Zq7wXplantedY3secret9Kd"
_SHORT = "qjzx"
_PLACES = (
    "general_settings: {{master_key: {0}}}",
    "general_settings: {{database_url: {0}}}",
    "general_settings:\n  master_key: {0}\n  zzz: {0}",
    "environment_variables: {{ANY: {0}}}",
    "environment_variables:\n  ANY:\n    {0}",
    "credential_list: [{{credential_name: c, credential_values: {{api_key: {0}, azure_ad_token: {0}}}}}]",
    "model_list: [{{model_name: a, litellm_params: {{model: zz/x, api_key: {0}}}}}]",
    "model_list: [{{model_name: a, litellm_params: {{model: openai/x, extra_headers: {{X-A: {0}}}, rpm: x}}}}]",
    "model_list: [{{model_name: a, litellm_params: {{model: openai/x, headers: {{Authorization: {0}}}, rpm: x}}}}]",
    "model_list: [{{model_name: a, litellm_params: {{model: openai/x, extra_body: {{token: {0}}}, rpm: x}}}}]",
)
_SHAPES = (
    "{0}",
    '"{0}"',
    "'{0}",
    '"{0}',
    "[{0}]",
    "{{{0}: {0}}}",
    "*{0}",
    "!{0} x",
    "&{0} x",
    "{0}: {0}",
    "|\n  {0}",
    "> {0}",
)


@pytest.mark.parametrize("secret", [_SECRET, _SHORT])
@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("place", _PLACES)
def test_planted_secrets_are_never_shown(place: str, shape: str, secret: str) -> None:
    text = place.format(shape.format(secret))
    loaded = load_text(text, "any.yaml", ENVIRONMENT)
    for output in (repr(loaded.problems), repr(loaded.config), str(loaded.config), repr(loaded.environment)):
        assert secret not in output
    assert secret not in render(loaded.problems, loaded.sources)


_UNUSED = [
    *(("litellm_settings: {{{0}: {1}}}", key) for key in sorted(LITELLM_SETTINGS)),
    *(("general_settings: {{{0}: {1}}}", key) for key in sorted(GENERAL_SETTINGS)),
    *(
        ("model_list: [{{model_name: a, litellm_params: {{model: openai/x, {0}: {1}}}}}]", key)
        for key in sorted(LITELLM_PARAMS)
    ),
]


@pytest.mark.parametrize("text,key", _UNUSED)
def test_keys_without_effect_do_not_keep_what_they_hold(text: str, key: str) -> None:
    loaded = load_text(text.format(key, _SECRET), "any.yaml", ENVIRONMENT)
    assert [problem.severity for problem in loaded.problems] == ["warning"]
    for output in (repr(loaded.config), repr(loaded.problems), render(loaded.problems, loaded.sources)):
        assert _SECRET not in output
