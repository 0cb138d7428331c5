"""The same call over REST and gRPC, side by side, and JSON compared without regard to white space alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
from google.protobuf.message import Message

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from penstock.client._calls import Method
from penstock.client._json import fill
from tests.conftest import Gateway
from tests.integration.grpc.calls import Ended, Rpc, told
from tests.integration.grpc.serving import lasting, record_of, upstream_of
from tests.rig import Received, Sim

Json = dict[str, Any]

ROUTES: dict[str, tuple[str, Method[Any, Any]]] = {
    "chat": ("/v1/chat/completions", methods.CHAT_CREATE),
    "chat stream": ("/v1/chat/completions", methods.CHAT_STREAM),
    "completions": ("/v1/completions", methods.COMPLETIONS_CREATE),
    "completions stream": ("/v1/completions", methods.COMPLETIONS_STREAM),
    "embeddings": ("/v1/embeddings", methods.EMBEDDINGS_CREATE),
    "responses": ("/v1/responses", methods.RESPONSES_CREATE),
    "responses stream": ("/v1/responses", methods.RESPONSES_STREAM),
}
_MESSAGES: dict[str, type[Message]] = {
    "chat": pb.ChatCreateRequest,
    "completions": pb.CompletionsCreateRequest,
    "embeddings": pb.EmbeddingsCreateRequest,
}


class Number(str):
    """A number as it is written."""

    __slots__ = ()


def _pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in found]
    assert len(names) == len(set(names)), f"a member is there twice: {names}"
    return dict(found)


def parsed(text: bytes | str) -> Any:
    """JSON with numbers as they are written; fails on members that are there twice."""
    return json.loads(text, object_pairs_hook=_pairs, parse_float=Number, parse_int=Number, parse_constant=_never)


def _never(text: str) -> Any:
    raise AssertionError(f"{text} is not JSON")


def compact(text: bytes) -> str:
    """The same JSON without white space: order, numbers and strings as they are, escapes as Python writes them."""
    return json.dumps(_marked(parsed(text)), ensure_ascii=False, separators=(",", ":"))


def _marked(value: Any) -> Any:
    if isinstance(value, Number):
        return f"number {str.__str__(value)}"
    if isinstance(value, dict):
        return {name: _marked(item) for name, item in value.items()}
    return [_marked(item) for item in value] if isinstance(value, list) else value


def spaced(value: Any) -> str:
    """What was parsed, written with much white space."""
    if isinstance(value, Number):
        return str.__str__(value)
    if isinstance(value, dict):
        members = (f"{json.dumps(name, ensure_ascii=False)} :\n {spaced(item)}" for name, item in value.items())
        return "{ " + " ,\t".join(members) + " }"
    if isinstance(value, list):
        return "[\r\n" + " , ".join(map(spaced, value)) + " ]"
    return json.dumps(value, ensure_ascii=False)


def values(text: bytes | str) -> Any:
    """JSON as values: `1`, `1.0` and `1e0` are one, and no other two numbers are."""
    return _valued(parsed(text))


def _valued(value: Any) -> Any:
    if isinstance(value, Number):
        text = str.__str__(value)
        if text.lstrip("-").isdecimal():
            return int(text)
        return int(float(text)) if float(text).is_integer() else float(text)
    if isinstance(value, dict):
        return {name: _valued(item) for name, item in value.items()}
    return [_valued(item) for item in value] if isinstance(value, list) else value


def request_of(kind: str, body: dict[str, Any]) -> Any:
    """The request message for a REST body."""
    first = kind.split(" ")[0]
    if first == "responses":
        return methods.response_request(body)
    return fill(_MESSAGES[first](), body)


@dataclass
class Pair:
    """What both sides of both calls saw."""

    rest: httpx.Response
    rest_upstream: Received
    grpc: Ended[Any]
    grpc_upstream: Received
    records: tuple[dict[str, Any], dict[str, Any]]


def rest(
    gateway: Gateway, key: str, kind: str, body: dict[str, Any] | bytes, sim: dict[str, Any] | None = None
) -> httpx.Response:
    """The call over REST."""
    path, _ = ROUTES[kind]
    if isinstance(body, dict):
        # Without white space, which counts as a part of schemas where prompts are counted here.
        text = json.dumps(
            {**body, "stream": True} if kind.endswith("stream") else body, ensure_ascii=False, separators=(",", ":")
        )
        body = text.encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **dict(told(sim))}
    with gateway.client() as client:
        return client.post(path, headers=headers, content=body)


def both(rpc: Rpc, sim: Sim, kind: str, body: dict[str, Any], tell: dict[str, Any] | None = None) -> Pair:
    """Makes the call over REST and over gRPC; both must have gone well."""
    answer = rest(rpc.gateway, rpc.key, kind, body, tell)
    assert answer.status_code == 200, answer.text
    # At once: of requests before the last, the simulator keeps a part.
    first = upstream_of(sim, answer.headers["x-penstock-call-id"])
    call = rpc.call(ROUTES[kind][1], request_of(kind, body), sim=tell)
    assert call.ok
    second = upstream_of(sim, call.call_id)
    path, method = ROUTES[kind]
    records = (record_of(rpc.gateway, answer.headers["x-penstock-call-id"]), record_of(rpc.gateway, call.call_id))
    assert [record["metadata"]["route"] for record in records] == [path, method.path]
    return Pair(answer, first, call, second, (lasting(records[0]), lasting(records[1])))


def events(answer: httpx.Response) -> list[tuple[str, str]]:
    """Name and data of each event of a REST stream, `[DONE]` left out."""
    found = []
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.partition(":")[::2] for line in block.split("\n")]
        data = "\n".join(value.removeprefix(" ") for name, value in lines if name == "data")
        event = "".join(value.removeprefix(" ") for name, value in lines if name == "event")
        if data and data != "[DONE]":
            found.append((event, data))
    return found
