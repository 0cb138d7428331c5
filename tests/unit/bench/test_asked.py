"""The command line: every mistake is named with its option, and what is right arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.bench.asked import Asked
from penstock.bench.credentials import KEY_VARIABLE
from penstock.bench.settings import Point, Settings
from penstock.bench.wire import UsageError
from penstock.config.env import Environment

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

URL = "http://127.0.0.1:4000/v1"


def settings(variables: dict[str, str] | None = None, **given: Any) -> Settings:
    return Asked(**{"url": URL, "model": "m", **given}).settings(Environment(variables or {}))


@pytest.mark.parametrize(
    "given, names",
    [
        ({"url": "127.0.0.1:4000"}, "URL"),
        ({"model": None}, "--model"),
        ({"surface": "messages", "url": URL + "/chat/completions"}, "--surface"),
        ({"surface": "embeddings", "stream": True}, "--stream"),
        ({"connections": "0"}, "--connections"),
        ({"connections": "1,x"}, "--connections: 'x'"),
        ({"connections": "8,8"}, "--connections: 8 is there twice"),
        ({"connections": "70000"}, "--connections"),
        ({"connections": ""}, "--connections"),
        ({"rate": "0"}, "--rate"),
        ({"rate": "nan"}, "--rate"),
        ({"rate": "1e9"}, "--rate"),
        ({"rate": "5", "ramp": "1s"}, "--ramp"),
        ({"duration": "soon"}, "--duration"),
        ({"duration": "0s"}, "--duration"),
        ({"duration": "-1s"}, "--duration"),
        ({"duration": "2d"}, "--duration"),
        ({"timeout": "0"}, "--timeout"),
        ({"ramp": "x"}, "--ramp"),
        ({"body_bytes": "big"}, "--body-bytes"),
        ({"body_bytes": "300", "prompt_tokens": 5}, "--prompt-tokens"),
        ({"key": "a", "key_env": "B"}, "--key-env"),
        ({"key_env": "ABSENT"}, "--key-env: the variable ABSENT"),
        ({"key": "two words"}, "white space"),
        ({"header": ["novalue"]}, "--header"),
        ({"header": ["Host: x"]}, "--header: 'host'"),
        ({"header": ["bad name: x"]}, "--header"),
        ({"compare": ["nolabel"]}, "--compare"),
        ({"compare": [f"target={URL}"]}, "--compare: two targets are called 'target'"),
        ({"compare": ["a=nourl"]}, "URL"),
        ({"compare_model": ["x=m"]}, "--compare-model: no target is called 'x'"),
        ({"compare_key_env": ["target=ABSENT"]}, "--compare-key-env"),
        ({"baseline": "other"}, "--baseline"),
        ({"baseline": "target"}, "--baseline"),
        ({"process": ["no-such-process-anywhere"]}, "--process"),
        ({"process": ["x=1"]}, "--process: no target is called 'x'"),
        ({"insecure": True}, "--insecure"),
        ({"ca_file": Path("ca.pem")}, "--ca-file"),
        ({"url": "https://h/v1", "insecure": True, "ca_file": Path("ca.pem")}, "--insecure"),
        ({"client_cores": "9999"}, "--client-cores"),
    ],
)
def test_every_mistake_is_named(given: dict[str, Any], names: str) -> None:
    with pytest.raises(UsageError) as refused:
        settings(**given)
    assert names in str(refused.value)


@pytest.mark.parametrize(
    "text, names",
    [
        ("p99_ms", "write a metric"),
        ("p99_ms>", "write a metric"),
        ("p99_ms=5", "write a metric"),
        ("p99_ms>5ms", "'5ms' is not a number"),
        ("p98_ms>5", "is it p"),
        ("p99>5", "no metric 'p99'"),
        ("other:p99_ms>5", "no target is called 'other'"),
        ("added_p99_us>5", "--baseline"),
    ],
)
def test_every_wrong_condition_is_named(text: str, names: str) -> None:
    with pytest.raises(UsageError) as refused:
        Asked(url=URL, fail_on=[text]).conditions()
    assert names in str(refused.value)


@pytest.mark.parametrize(
    "given, option",
    [({"model": "m"}, "--model"), ({"max_tokens": 1}, "--max-tokens"), ({"prompt_tokens": 1}, "--prompt-tokens")],
)
def test_a_body_of_ones_own_says_everything_itself(tmp_path: Path, given: dict[str, Any], option: str) -> None:
    path = tmp_path / "body.json"
    path.write_text('{"model": "own", "stream": true, "x": "{pad}"}', encoding="utf-8")
    with pytest.raises(UsageError, match=option):
        settings(**{"model": None, "body": path, **given})
    with pytest.raises(UsageError, match="--unary"):
        settings(model=None, body=path, stream=False)
    taken = settings(model=None, body=path, body_bytes="500", compare=[f"b={URL}"])
    assert taken.stream is not None
    assert [target.body for target in taken.targets] == [path.read_text(encoding="utf-8")] * 2
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="--body-bytes"):
        settings(model=None, body=path, body_bytes="500")


def test_lists_become_every_combination() -> None:
    points = settings(connections="1,8", body_bytes="300,5000").points
    assert points == [Point(1, None, 300), Point(8, None, 300), Point(1, None, 5000), Point(8, None, 5000)]
    assert settings(rate="10,20.5").points == [Point(64, 10.0), Point(64, 20.5)]
    assert settings().points == [Point(1)]


def test_defaults_end_a_run() -> None:
    assert settings().duration_ms == 10_000
    assert settings(requests=5).duration_ms is None
    assert settings(requests=5, duration="1.5s").duration_ms == 1_500
    assert settings(duration="250ms").duration_ms == 250
    assert settings(duration="2").duration_ms == 2_000
    assert settings().rounds == 1
    assert settings(compare=[f"b={URL}"]).rounds == 3


def test_keys_come_from_one_place_and_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-file\n", encoding="utf-8")

    def sent(made: Settings) -> list[str | None]:
        return [dict(target.headers).get("authorization") for target in made.targets]

    variables = {"MINE": "sk-mine", KEY_VARIABLE: "sk-default"}
    assert sent(settings(key_file=path)) == ["Bearer sk-file"]
    assert sent(settings(key="sk-given")) == ["Bearer sk-given"]
    assert sent(settings(variables, key_env="MINE")) == ["Bearer sk-mine"]
    assert sent(settings(variables)) == ["Bearer sk-default"]
    assert sent(settings()) == [None]
    both = settings(variables, compare=[f"b={URL}"], compare_key_env=["b=MINE"])
    assert sent(both) == ["Bearer sk-default", "Bearer sk-mine"]
    assert both.hidden("sk-mine and sk-default") == "******** and ********"
    assert "sk-" not in repr(both)
    assert "sk-" not in repr(Asked(url=URL, key="sk-given"))


def test_own_headers_go_before_the_tools() -> None:
    made = settings(key="sk-1", header=["Authorization: Basic abc", "X-Team: a: b"])
    assert dict(made.targets[0].headers)["authorization"] == "Basic abc"
    assert ("x-team", "a: b") in made.targets[0].headers


def test_each_target_may_have_its_own_model_and_processes() -> None:
    import os

    me = str(os.getpid())
    made = settings(compare=[f"b={URL}"], compare_model=["b=other"], process=[me, f"b={me}"])
    assert '"model":"m"' in made.targets[0].body
    assert '"model":"other"' in made.targets[1].body
    assert [list(target.processes) for target in made.targets] == [[me], [me]]


def test_what_an_answer_may_quote_is_masked() -> None:
    made = settings(
        url="http://h/v1/chat/completions?api-version=2024-06-01&key=sk-in-the-url",
        header=["X-Auth: Token sk-in-a-header", "X-Team: ab"],
        key="sk-given-longer",
    )
    assert made.hidden("no key sk-in-a-header") == "no key ********"
    assert made.hidden("no key sk-in-the-url, use 2024-06-01, ab") == "no key ********, use 2024-06-01, ab"
    # The end of what is cut may be the beginning of a key.
    assert made.hidden("no such key: sk-given-lon") == "no such key: ********"
    assert made.hidden("sk-given-longer and sk-") == "******** and sk-"


def test_of_two_secrets_the_longer_goes_first() -> None:
    made = settings(key="sk-secret", header=["X-Other: sk-secret-and-more"])
    assert made.hidden("(sk-secret-and-more)") == "(********)"
