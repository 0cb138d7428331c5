"""Both doors lead to one implementation: the same request gets the same answer through either."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway

CHAT: dict[str, Any] = {"model": "openai/m", "max_tokens": 3, "messages": [{"role": "user", "content": "a b c"}]}
FORM = {"files": {"file": ("a.wav", b"\x00\xff" * 600, "audio/wav")}, "data": {"model": "openai/w"}}
NOTHING: dict[str, Any] = {}

CALLS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("chat", "POST", "/v1/chat/completions", {"json": CHAT}),
    ("chat without v1", "POST", "/chat/completions", {"json": CHAT}),
    ("chat stream", "POST", "/v1/chat/completions", {"json": {**CHAT, "stream": True}}),
    ("chat on azure", "POST", "/v1/chat/completions", {"json": {**CHAT, "model": "azure/dep"}}),
    ("chat translated", "POST", "/v1/chat/completions", {"json": {**CHAT, "model": "anthropic/c"}}),
    ("stream translated", "POST", "/v1/chat/completions", {"json": {**CHAT, "model": "demo-claude", "stream": True}}),
    ("completions", "POST", "/v1/completions", {"json": {"model": "openai/m", "prompt": "a b", "max_tokens": 2}}),
    ("embeddings", "POST", "/v1/embeddings", {"json": {"model": "openai/e", "input": "a", "dimensions": 3}}),
    ("messages", "POST", "/v1/messages", {"json": {**CHAT, "model": "anthropic/c"}}),
    ("messages stream", "POST", "/v1/messages", {"json": {**CHAT, "model": "anthropic/c", "stream": True}}),
    ("count tokens", "POST", "/v1/messages/count_tokens", {"json": {**CHAT, "model": "anthropic/c"}}),
    ("responses", "POST", "/v1/responses", {"json": {"model": "openai/m", "input": "a b"}}),
    ("responses stream", "POST", "/responses", {"json": {"model": "openai/m", "input": "a", "stream": True}}),
    ("moderations", "POST", "/v1/moderations", {"json": {"model": "openai/m", "input": "a"}}),
    ("images", "POST", "/v1/images/generations", {"json": {"model": "openai/m", "prompt": "a"}}),
    ("speech", "POST", "/v1/audio/speech", {"json": {"model": "openai/m", "input": "a b", "voice": "x"}}),
    ("transcription", "POST", "/v1/audio/transcriptions", FORM),
    ("rerank", "POST", "/v1/rerank", {"json": {"model": "openai/m", "query": "a", "documents": ["b", "c"]}}),
    ("rerank v2", "POST", "/v2/rerank", {"json": {"model": "openai/m", "query": "a", "documents": ["b"]}}),
    ("ocr", "POST", "/v1/ocr", {"json": {"model": "openai/m"}}),
    ("score", "POST", "/v1/score", {"json": {"model": "openai/m"}}),
    ("files", "GET", "/v1/files", NOTHING),
    ("models", "GET", "/v1/models", NOTHING),
    ("models without v1", "GET", "/models", NOTHING),
    ("model", "GET", "/v1/models/pinned", NOTHING),
    ("model with a slash", "GET", "/v1/models/openai/gpt-4o", NOTHING),
    ("stored chat", "GET", "/v1/chat/completions/chatcmpl-1?model=pinned", NOTHING),
    ("batch", "POST", "/v1/batches/b-1/cancel", NOTHING),
    ("assistant", "DELETE", "/v1/assistants/a-1", NOTHING),
    ("put", "PUT", "/v1/vector_stores/v-1", {"json": {"model": "pinned"}}),
    ("patch", "PATCH", "/v1/vector_stores/v-1", {"json": {"model": "pinned"}}),
    ("live", "GET", "/_health/live", NOTHING),
    ("ready", "GET", "/_health/ready", NOTHING),
    ("provider's error", "POST", "/v1/chat/completions", {"json": {**CHAT, "model": "openai/sim/status=400"}}),
    ("provider's stream error", "POST", "/v1/chat/completions", {"json": {**CHAT, "model": "openai/sim/status=429"}}),
    ("unreachable", "POST", "/v1/chat/completions", {"json": {**CHAT, "model": "unreachable"}}),
    ("unknown model", "POST", "/v1/chat/completions", {"json": {**CHAT, "model": "nowhere"}}),
    ("unknown model for messages", "POST", "/v1/messages", {"json": {**CHAT, "model": "nowhere"}}),
    ("no model", "POST", "/v1/chat/completions", {"json": {}}),
    ("no JSON", "POST", "/v1/chat/completions", {"content": b"{"}),
    ("empty", "POST", "/v1/chat/completions", NOTHING),
    ("unknown model to see", "GET", "/v1/models/nowhere", NOTHING),
    ("no key", "POST", "/v1/chat/completions", {"json": CHAT, "headers": {"authorization": ""}}),
    ("bad key", "POST", "/v1/embeddings", {"json": CHAT, "headers": {"authorization": "Bearer sk-bad"}}),
    ("bad key for messages", "POST", "/v1/messages", {"json": CHAT, "headers": {"authorization": "Bearer x"}}),
    ("not a route", "GET", "/v1/nothing", NOTHING),
    ("not a method", "PUT", "/v1/embeddings", {"json": CHAT}),
    ("not a method of models", "POST", "/v1/models", NOTHING),
    ("head of models", "HEAD", "/v1/models", NOTHING),
    ("head of a call", "HEAD", "/v1/chat/completions", NOTHING),
    ("options", "OPTIONS", "/v1/chat/completions", {"headers": {"origin": "https://a.example"}}),
    ("options of files", "OPTIONS", "/v1/files", {"headers": {"origin": "https://a.example"}}),
    ("key info", "GET", "/key/info", NOTHING),
]

# Of the connection, of the moment, or of the server software; all others must agree.
_FREE = {
    "date",
    "server",
    "connection",
    "transfer-encoding",
}
_FREE |= {
    "x-penstock-call-id",
    "apim-request-id",
    "x-penstock-overhead-us",
    "x-request-id",
    "request-id",
    "x-sim-seq",
    "openai-processing-ms",
    "x-ratelimit-reset-requests",
}
_CHANGING = re.compile(
    r'sim\d{16}|"(created|created_at|completed_at|at|token|key_name|key_alias|last_used_at|info|spend)":("[^"]*"|[\d.]+)'
)


def _call(gateway: Gateway, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
    headers = {**gateway.admin, **options.get("headers", {})}
    headers = {name: value for name, value in headers.items() if value}
    with gateway.client() as client:
        return client.request(method, path, **{**options, "headers": headers})


def _fields(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _FREE}


def _body(answer: httpx.Response) -> str:
    return _CHANGING.sub("-", answer.content.decode("latin-1"))


@pytest.mark.parametrize("method, path, options", [pytest.param(*call, id=name) for name, *call in CALLS])
def test_the_answer_is_the_same(doors: dict[str, Gateway], method: str, path: str, options: dict[str, Any]) -> None:
    native, granian = (_call(doors[name], method, path, options) for name in ("native", "granian"))
    assert native.status_code == granian.status_code
    assert _fields(native) == _fields(granian)
    assert _body(native) == _body(granian)


def test_the_same_key_rules_hold_at_both(doors: dict[str, Gateway]) -> None:
    for gateway in doors.values():
        key = gateway.new_key(models=["pinned"], rpm_limit=1)
        headers = {"headers": {"authorization": f"Bearer {key}"}}
        denied = _call(gateway, "POST", "/v1/chat/completions", {**headers, "json": CHAT})
        assert (denied.status_code, denied.json()["error"]["code"]) == (403, "model_not_allowed")
        allowed = {**headers, "json": {**CHAT, "model": "pinned"}}
        assert _call(gateway, "POST", "/v1/chat/completions", allowed).status_code == 200
        limited = _call(gateway, "POST", "/v1/chat/completions", allowed)
        assert limited.status_code == 429
        assert limited.headers["retry-after"]
        shown = _call(gateway, "GET", "/v1/models", headers).json()["data"]
        assert [model["id"] for model in shown] == ["pinned"]


def test_every_credential_header_opens_both(doors: dict[str, Gateway]) -> None:
    for gateway in doors.values():
        key = gateway.new_key()
        for name in ("x-api-key", "api-key", "x-goog-api-key"):
            options = {"json": CHAT, "headers": {"authorization": "", name: key}}
            assert _call(gateway, "POST", "/v1/chat/completions", options).status_code == 200, name


def test_errors_are_json_of_openais_shape(doors: dict[str, Gateway]) -> None:
    for gateway in doors.values():
        answer = _call(gateway, "POST", "/v1/chat/completions", {"content": b"[]"})
        assert answer.status_code == 400
        assert set(json.loads(answer.content)["error"]) == {"message", "type", "param", "code"}
