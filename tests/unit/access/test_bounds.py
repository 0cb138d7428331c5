"""Which list of models, or of routes, lets through more than another."""

from __future__ import annotations

import pytest

from penstock.access.bounds import are_within, is_as_strict, wider
from penstock.engine.snapshot import WhenGone
from penstock.keys.models import VirtualKey


@pytest.mark.parametrize(
    "one, bound, is_within",
    [
        (["a"], [], True),
        ([], [], True),
        ([], ["a"], False),
        (["a"], ["a", "b"], True),
        (["a", "c"], ["a", "b"], False),
        (["*"], ["a"], False),
        ([], ["all-proxy-models"], True),
        (["a"], ["*"], True),
        (["no-default-models"], ["a"], True),
        (["a"], ["no-default-models"], False),
        (["all-proxy-models"], ["no-default-models", "all-proxy-models", "a"], False),
        (["a"], ["no-default-models", "all-proxy-models", "a"], True),
        (["a", "no-default-models", "*"], ["a"], True),
    ],
)
def test_models(one: list[str], bound: list[str], is_within: bool) -> None:
    def key(models: list[str]) -> VirtualKey:
        return VirtualKey(token="", key_name="", models=models)

    assert ("models" not in wider(key(one), key(bound))) == is_within


def test_a_team_bounds_its_models_itself() -> None:
    bound = VirtualKey(token="", key_name="", team_id="t", models=["all-team-models"])
    within = VirtualKey(token="", key_name="", team_id="t")
    elsewhere = VirtualKey(token="", key_name="", team_id="u")
    assert wider(within, bound) == []
    assert wider(elsewhere, bound) == ["models"]


@pytest.mark.parametrize(
    "routes, bound, is_within",
    [
        ([], ["/key/generate"], False),
        (["/key/generate/x"], ["/key/generate"], True),
        (["/key"], ["/key/generate"], False),
        (["/key/*"], ["/key/*"], True),
        (["/key/g*"], ["/key/*"], False),
        (["/key/update"], ["/key/*"], True),
        (["*"], ["/key/*"], False),
        (["openai_routes"], ["llm_api_routes"], True),
        (["llm_api_routes"], ["openai_routes"], False),
        (["management_routes"], ["*"], True),
        (["management_routes"], ["info_routes"], False),
    ],
)
def test_routes(routes: list[str], bound: list[str], is_within: bool) -> None:
    assert are_within(routes, bound) == is_within


@pytest.mark.parametrize(
    "choice, before, is_within",
    [
        (None, None, True),
        ("fail_closed", None, True),
        ("local_share", None, False),
        ("fail_open", None, False),
        (None, "fail_open", False),
        ("fail_open", "fail_open", True),
        ("local_share", "fail_open", True),
        ("fail_open", "local_share", False),
        ("fail_closed", "local_share", True),
        ("local_share", "fail_closed", False),
    ],
)
def test_choices_without_redis(choice: WhenGone | None, before: WhenGone | None, is_within: bool) -> None:
    assert is_as_strict(choice, before) == is_within

    def key(when_gone: WhenGone | None) -> VirtualKey:
        return VirtualKey(token="", key_name="", when_gone=when_gone)

    assert ("when_gone" not in wider(key(choice), key(before))) == is_within
