"""The environment: names, precedence, types; and secrets that do not show."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from penstock.config import Environment, Secret, load
from penstock.config.master_key import master_key, weakness
from penstock.config.secret import Json


def test_penstock_s_names_go_before_litellm_s() -> None:
    both = Environment({"PENSTOCK_MASTER_KEY": "one", "LITELLM_MASTER_KEY": "two", "LITELLM_SALT_KEY": "salt"})
    assert both.master_key == Secret("one")
    assert both.secret_key == Secret("salt")
    assert Environment({"PENSTOCK_MASTER_KEY": "", "LITELLM_MASTER_KEY": "two"}).master_key == Secret("two")


def test_nothing_is_set_in_an_empty_environment() -> None:
    empty = Environment({})
    getters = [name for name, value in vars(Environment).items() if isinstance(value, property)]
    assert {getattr(empty, name) for name in getters} <= {None, False, "penstock"}
    assert empty.problems() == []


def test_values_are_typed() -> None:
    environment = Environment(
        {
            "PORT": "8080",
            "PENSTOCK_THREADS": "4",
            "PENSTOCK_LOG_LEVEL": "WARNING",
            "CONFIG_HOT_RELOAD": "True",
            "CONFIG_SYNC_INTERVAL": "2.5",
            "CONFIG_S3_BUCKET": "b",
            "CONFIG_S3_KEY": "k",
        }
    )
    assert (environment.port, environment.threads, environment.log_level) == (8080, 4, "warning")
    assert (environment.config_hot_reload, environment.config_sync_interval) == (True, 2.5)
    assert environment.config_s3 == ("b", "k")


@pytest.mark.parametrize(
    "variables,url",
    [
        ({"REDIS_URL": "redis://a", "REDIS_HOST": "b"}, "redis://a"),
        ({"REDIS_HOST": "b"}, "redis://b:6379"),
        ({"REDIS_HOST": "b", "REDIS_PORT": "1", "REDIS_PASSWORD": "p@:/"}, "redis://:p%40%3A%2F@b:1"),
    ],
)
def test_redis_addresses(variables: dict[str, str], url: str) -> None:
    assert Environment(variables).redis_url == Secret(url)


def test_values_that_do_not_fit_are_named_but_not_shown() -> None:
    problems = Environment({"PENSTOCK_PORT": "hunter2", "REDIS_PORT": "99999", "NUM_WORKERS": "0"}).problems()
    assert [problem.path for problem in problems] == ["PENSTOCK_PORT", "REDIS_PORT", "NUM_WORKERS"]
    assert "hunter2" not in repr(problems)


def test_an_overlay_goes_before_and_leaves_the_first_alone() -> None:
    first = Environment({"A": "1", "B": "1"})
    second = first.overlay({"B": "2"})
    assert (second.get("A"), second.get("B"), first.get("B")) == ("1", "2", "1")


def test_secrets_do_not_show_encode_or_pickle() -> None:
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r} {secret!s} {[secret]} {secret:>40} {Json({'a': 'hunter2'})}"
    assert "hunter2" not in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert (secret == Secret("hunter2"), secret == Secret("hunter3"), secret == "hunter2") == (True, False, False)
    assert secret.reveal() == "hunter2"


def test_the_environment_does_not_show_its_values() -> None:
    assert "hunter2" not in repr(Environment({"A": "hunter2"}))


def test_the_master_key_of_the_file_goes_before_the_environment_s() -> None:
    environment = Environment({"LITELLM_MASTER_KEY": "sk-outside-0123456789"})
    config = load(None, environment).config
    assert master_key(config, environment) == Secret("sk-outside-0123456789")
    general = msgspec.structs.replace(config.general_settings, master_key=Secret("sk-inside"))
    assert master_key(msgspec.structs.replace(config, general_settings=general), environment) == Secret("sk-inside")


@pytest.mark.parametrize(
    "key",
    [
        *("", " ", "sk-1234", "SK-1234", "sk-", "changeme", "sk-11111111111", "sk-abc"),
        "sk-Zr8kQ2mV5xLt",  # too short
        "sk-abababababababababab",
        "sk-your-master-key-here-please",
        "sk-TODO-7Hq2mZp9Xw4Lc8Vt3Nb6",
        "sk-xxxxxxxx-7Hq2mZp9",
        "sk-with blanks in 0123456789abcdef",
        "sk-7Hq2mZp9Xw4Lc8Vt3Nb6\u00e4",
    ],
)
def test_weak_master_keys(key: str) -> None:
    assert weakness(Secret(key)) is not None


def test_a_long_random_master_key_will_do() -> None:
    assert weakness(Secret("sk-Zr8kQ2mV5xLtW")) is None


def test_a_random_key_may_hold_a_short_word_by_chance() -> None:
    for word in ("tOdO", "XxXx"):
        assert weakness(Secret(f"sk-7Hq2mZp9{word}4Lc8Vt3Nb6")) is None
