"""Where requests go and what they say."""

from __future__ import annotations

import json

import pytest

from penstock.bench import wire
from penstock.bench.wire import Surface, UsageError
from penstock.config.secret import Secret


@pytest.mark.parametrize(
    "url, surface, full, found",
    [
        ("http://h:4000", None, "http://h:4000/v1/chat/completions", "chat"),
        ("http://h:4000/", None, "http://h:4000/v1/chat/completions", "chat"),
        ("http://h:4000/v1", "messages", "http://h:4000/v1/messages", "messages"),
        ("http://h/v1/", "completions", "http://h/v1/completions", "completions"),
        ("https://h/openai/v1", "responses", "https://h/openai/v1/responses", "responses"),
        ("http://h/v1/completions", None, "http://h/v1/completions", "completions"),
        ("http://h/v1/chat/completions", "chat", "http://h/v1/chat/completions", "chat"),
        ("http://h/v1/embeddings", None, "http://h/v1/embeddings", "embeddings"),
        (
            "https://h/openai/deployments/d/chat/completions?api-version=1",
            None,
            "https://h/openai/deployments/d/chat/completions?api-version=1",
            "chat",
        ),
        ("http://[::1]:4000/v1", None, "http://[::1]:4000/v1/chat/completions", "chat"),
    ],
)
def test_a_base_address_and_a_whole_endpoint(url: str, surface: Surface | None, full: str, found: str) -> None:
    assert wire.endpoint(url, surface) == (full, found)


@pytest.mark.parametrize(
    "url, surface, names",
    [
        ("h:4000/v1", None, "URL"),
        ("ftp://h/v1", None, "URL"),
        ("http://", None, "URL"),
        ("http://h:port/v1", None, "URL"),
        ("http://user:sk-1@h/v1", None, "--key-file"),
        ("ftp://user:sk-1@h/v1?key=sk-1", None, "URL"),
        ("http://user:sk-1@h:port/v1", None, "URL"),
        ("h/v1?key=sk-1", None, "URL"),
        ("http://h/v1/messages", "chat", "--surface chat"),
    ],
)
def test_what_is_no_address_is_refused_by_name(url: str, surface: Surface | None, names: str) -> None:
    with pytest.raises(UsageError, match=names) as refused:
        wire.endpoint(url, surface)
    assert "sk-1" not in str(refused.value)


@pytest.mark.parametrize("surface", wire.SURFACES)
def test_bodies_ask_for_what_was_asked(surface: Surface) -> None:
    said = json.loads(wire.body(surface, model="m", text="hello", stream=False, max_tokens=7))
    assert said["model"] == "m"
    assert "stream" not in said
    assert "hello" in json.dumps(said)
    limits = {said.get("max_tokens"), said.get("max_output_tokens")} - {None}
    assert limits == (set() if surface == "embeddings" else {7})
    if surface != "embeddings":
        streamed = json.loads(wire.body(surface, model="m", text="hello", stream=True, max_tokens=7))
        assert streamed["stream"] is True
        assert ("stream_options" in streamed) == (surface in ("chat", "completions"))


def test_embeddings_do_not_stream() -> None:
    with pytest.raises(UsageError, match="--stream"):
        wire.body("embeddings", model="m", text="", stream=True, max_tokens=1)


def test_each_surface_has_its_own_header_for_the_key() -> None:
    key = Secret("sk-1")
    assert ("authorization", "Bearer sk-1") in wire.headers("chat", key)
    assert ("x-api-key", "sk-1") in wire.headers("messages", key)
    assert ("anthropic-version", wire.ANTHROPIC_VERSION) in wire.headers("messages", None)
    assert wire.headers("responses", None) == [("content-type", "application/json")]


@pytest.mark.parametrize("tokens", [1, 12, 13, 1_000])
def test_prose_has_the_tokens_that_were_asked_for(tokens: int) -> None:
    core = pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")
    assert core.count_tokens(wire.prose(tokens)) == tokens


@pytest.mark.parametrize("text, streamed", [('{"stream": true}', True), ('{"stream": false}', False), ("{}", False)])
def test_a_body_of_the_users_own_says_whether_it_streams(text: str, streamed: bool) -> None:
    assert wire.streams(text) is streamed


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"'])
def test_a_body_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--body"):
        wire.streams(text)


@pytest.mark.parametrize(
    "url, shown, secrets",
    [
        ("http://h/v1", "http://h/v1", []),
        ("http://h/v1?api-version=2024-06", "http://h/v1?api-version=2024-06", []),
        ("http://h/v1?API-Version=1&key=a%2Fb#x", "http://h/v1?API-Version=1&key=********", ["a%2Fb", "a/b"]),
        ("http://h/v1?sk-alone", "http://h/v1?=********", ["sk-alone"]),
        ("http://h/v1?a=1&b=", "http://h/v1?a=********&b=********", ["1"]),
    ],
)
def test_values_in_a_query_are_not_shown(url: str, shown: str, secrets: list[str]) -> None:
    assert wire.shown(url) == shown
    assert wire.query_secrets(url) == secrets
