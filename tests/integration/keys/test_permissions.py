"""What a key may not do: each refusal has its own words, status and code, in the shape of the client's API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.managed import Managed, question, until

ANTHROPIC_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def refused(managed: Managed, headers: dict[str, str], model: str = "priced") -> tuple[int, str, str]:
    """Status, code and type of a refusal, which must be the same through every surface."""
    answer = managed.client.post("/v1/chat/completions", headers=headers, json=question(model=model))
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert (answer.headers.get("www-authenticate") is not None) == (answer.status_code == 401)
    assert answer.headers["content-type"] == "application/json"
    streamed = managed.client.post("/v1/chat/completions", headers=headers, json=question(model=model, stream=True))
    assert (streamed.status_code, streamed.json()["error"]["code"]) == (answer.status_code, error["code"])
    for path in ("/v1/completions", "/v1/embeddings", "/v1/responses"):
        other = managed.client.post(path, headers=headers, json={"model": model, "prompt": "x", "input": "x"})
        assert (other.status_code, other.json()["error"]["code"]) == (answer.status_code, error["code"]), path
    messages = managed.client.post("/v1/messages", headers=headers, json=question(model=model))
    assert messages.status_code == answer.status_code
    shape = messages.json()
    assert (set(shape), shape["type"]) == ({"type", "error"}, "error")
    assert shape["error"]["type"] == ANTHROPIC_TYPES[answer.status_code]
    return answer.status_code, error["code"], error["type"]


def with_key(key: str) -> dict[str, str]:
    """The usual header."""
    return {"authorization": f"Bearer {key}"}


def mistyped(key: str) -> str:
    """The key with one character exchanged in its middle, so that the checksum does not hold."""
    return key[:30] + ("A" if key[30] != "A" else "B") + key[31:]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}, {"x-api-key": ""}]
)
def test_no_key(managed: Managed, headers: dict[str, str]) -> None:
    assert refused(managed, headers) == (401, "missing_api_key", "auth_error")


@pytest.mark.parametrize("key", ["hello", "pk-0123456789", "sk-", "sk-a b c d e f", "sk-" + "x" * 2_000, "sk-abc;--'"])
def test_malformed_keys(managed: Managed, key: str) -> None:
    assert refused(managed, {"x-api-key": key}) == (401, "malformed_api_key", "auth_error")


def test_a_mistyped_key_is_told_from_an_unknown_one(managed: Managed) -> None:
    key = managed.key()
    assert refused(managed, with_key(mistyped(key))) == (401, "malformed_api_key", "auth_error")
    assert refused(managed, with_key("sk-nobody-was-given-this")) == (401, "invalid_api_key", "auth_error")


def test_deleted_keys_are_unknown(managed: Managed) -> None:
    key = managed.key()
    assert managed.chat(key).status_code == 200
    managed.post("/key/delete", keys=[key])
    assert refused(managed, with_key(key)) == (401, "invalid_api_key", "auth_error")


def test_expired_keys(managed: Managed) -> None:
    never_used, key = managed.key(duration="3s"), managed.key(duration="3s")
    assert managed.chat(key).status_code == 200
    until(lambda: managed.chat(key).status_code == 401, what="the end of the key's life")
    for one in (key, never_used):
        assert refused(managed, with_key(one)) == (401, "expired_api_key", "expired_key")
    managed.post("/key/update", key=key, duration="1h")
    assert managed.chat(key).status_code == 200


def test_blocked_keys(managed: Managed) -> None:
    assert refused(managed, with_key(managed.key(blocked=True))) == (403, "blocked_api_key", "auth_error")


@pytest.mark.parametrize("cidrs", [["10.0.0.0/8"], ["192.0.2.1", "2001:db8::/32"], ["127.0.0.2/32"], ["::1/128"]])
def test_addresses_outside_the_list(managed: Managed, cidrs: list[str]) -> None:
    key = managed.key(allowed_cidrs=cidrs)
    expected = (403, "address_not_allowed", "auth_error")
    assert refused(managed, with_key(key)) == expected
    # No proxy is trusted here, so nobody's word is taken for another address.
    for name in ("x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip", "true-client-ip"):
        spoofed = with_key(key) | {name: "for=10.0.0.1" if name == "forwarded" else "10.0.0.1"}
        assert refused(managed, spoofed) == expected


@pytest.mark.parametrize("cidrs", [["127.0.0.1"], ["127.0.0.0/8"], ["0.0.0.0/0"], ["10.0.0.0/8", "127.0.0.1/32"]])
def test_addresses_inside_the_list(managed: Managed, cidrs: list[str]) -> None:
    assert managed.chat(managed.key(allowed_cidrs=cidrs)).status_code == 200


@pytest.mark.parametrize(
    "models,allowed,denied",
    [
        (["priced"], ["priced", "nick"], ["other", "claude", "wild/a"]),
        (["tier-a"], ["priced", "nick"], ["other", "claude"]),
        (["tier-a", "tier-b"], ["priced", "other"], ["claude", "wild/a"]),
        (["wild/*"], ["wild/a", "wild/b/c"], ["priced", "other"]),
        (["wild/a"], ["wild/a"], ["wild/b", "priced"]),
        (["*"], ["priced", "wild/a", "claude"], []),
        (["pri*"], ["priced"], ["other"]),
        (["nick"], ["nick"], ["priced"]),
        (["all-proxy-models"], ["priced", "other", "wild/a"], []),
        (["no-default-models"], [], ["priced", "other", "wild/a"]),
        (["no-such-group"], [], ["priced", "other"]),
        ([], ["priced", "other", "wild/a", "nick"], []),
    ],
)
def test_models_outside_the_list(managed: Managed, models: list[str], allowed: list[str], denied: list[str]) -> None:
    key = managed.key(models=models)
    for model in allowed:
        assert managed.chat(key, model=model).status_code == 200, model
    for model in denied:
        assert refused(managed, with_key(key), model) == (403, "model_not_allowed", "key_model_access_denied"), model
    listed = {model["id"] for model in managed.client.get("/v1/models", headers=with_key(key)).json()["data"]}
    for model in ("priced", "other", "claude"):
        assert (model in listed) == (managed.chat(key, model=model, max_tokens=1).status_code == 200), model
        one = managed.client.get(f"/v1/models/{model}", headers=with_key(key))
        assert one.status_code == (200 if model in listed else 404), model


def test_a_keys_own_aliases_lead_to_what_it_may_use_and_no_further(managed: Managed) -> None:
    key = managed.key(models=["priced"], aliases={"mine": "priced", "sneaky": "other", "priced": "other"})
    assert managed.chat(key, model="mine").headers["x-penstock-model"] == "priced"
    assert refused(managed, with_key(key), "sneaky")[0] == 403
    assert refused(managed, with_key(key), "priced")[0] == 403
    # Nobody else knows these names.
    assert refused(managed, with_key(managed.key()), "mine") == (404, "model_not_found", "invalid_request_error")


def test_an_unknown_model_is_named_in_the_answer_and_told_apart(managed: Managed) -> None:
    answer = managed.chat(managed.key(), model="no-such-model")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "no-such-model" in error["message"]
    # A key that is held to some models does not learn which others exist.
    held = with_key(managed.key(models=["priced"]))
    assert refused(managed, held, "no-such-model") == refused(managed, held, "other")


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", question()),
    "bare chat": ("/chat/completions", question()),
    "embeddings": ("/v1/embeddings", {"model": "priced", "input": "x"}),
    "messages": ("/v1/messages", question(model="claude")),
    "moderations": ("/v1/moderations", {"model": "priced", "input": "x"}),
}


@pytest.mark.parametrize(
    "routes,allowed",
    [
        (["/v1/chat/completions"], {"chat", "bare chat"}),
        (["/chat/completions", "/v1/embeddings"], {"chat", "bare chat", "embeddings"}),
        (["/v1/*"], {"chat", "bare chat", "embeddings", "messages", "moderations"}),
        (["llm_api_routes"], set(CALLS)),
        (["openai_routes"], set(CALLS) - {"messages"}),
        (["anthropic_routes"], {"messages"}),
        (["management_routes"], set()),
        (["info_routes"], set()),
        (["/v1/chat"], {"chat", "bare chat"}),
        (["/v1/chatter"], set()),
    ],
)
def test_routes_outside_the_list(managed: Managed, routes: list[str], allowed: set[str]) -> None:
    headers = with_key(managed.key(allowed_routes=routes))
    for name, (path, body) in CALLS.items():
        answer = managed.client.post(path, headers=headers, json=body)
        assert answer.status_code == (200 if name in allowed else 403), (name, answer.text)
        if name not in allowed and name != "messages":
            error = answer.json()["error"]
            assert (error["code"], error["type"]) == ("route_not_allowed", "auth_error")


@pytest.mark.parametrize(
    "key_type,chat,info",
    [("default", 200, 200), ("llm_api", 200, 403), ("read_only", 403, 200), ("management", 403, 403)],
)
def test_key_types_are_shorthand_for_routes(managed: Managed, key_type: str, chat: int, info: int) -> None:
    headers = with_key(managed.key(key_type=key_type))
    asked = managed.client.post("/v1/chat/completions", headers=headers, json=question())
    assert asked.status_code == chat
    shown = managed.client.get("/key/info", headers=headers)
    assert shown.status_code == info
    assert managed.client.get("/key/list", headers=headers).status_code == 403
    body = {"model": "priced", "prompt": "hello"}
    assert managed.client.post("/utils/token_counter", headers=headers, json=body).status_code == chat


def test_the_list_of_models_is_a_route_too(managed: Managed) -> None:
    for routes, status in ((["/v1/embeddings"], 403), (["/v1/models"], 200), (["llm_api_routes"], 200)):
        headers = with_key(managed.key(allowed_routes=routes))
        for path in ("/v1/models", "/models", "/v1/models/priced"):
            answer: httpx.Response = managed.client.get(path, headers=headers)
            assert answer.status_code == status, (routes, path)
            if status == 403:
                assert answer.json()["error"]["code"] == "route_not_allowed"
