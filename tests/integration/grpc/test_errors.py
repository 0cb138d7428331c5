"""Every error that REST has, over gRPC: status, details and words follow from the same table."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import httpx
import pytest

from penstock import _core
from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.integration.grpc import golden
from tests.integration.grpc.calls import CHAT, Ended, Rpc, dialled, ended
from tests.integration.grpc.frames import Raw, frame
from tests.integration.grpc.golden import Json
from tests.integration.grpc.serving import configured, lasting, record_of
from tests.integration.regressions.rig import MASTER, Plane, answering, rigged
from tests.rig import until

_STATUSES = {
    400: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    504: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}
"""As the protocol documents it."""
_BY_CODE = {
    "budget_exceeded": "RESOURCE_EXHAUSTED",
    "no_deployment_available": "UNAVAILABLE",
    "unsupported_route": "UNIMPLEMENTED",
}
_BEFORE_THE_BOOKS = {"expired_api_key", "blocked_api_key", "address_not_allowed"}
_LIMITS = {"rate_limit_exceeded", "budget_exceeded"}
_BODY: Json = {"model": "sim", "messages": [CHAT], "max_tokens": 4}

SITUATIONS: dict[str, tuple[Json, Json, Json, str]] = {
    # What the key may, what the request says beside the usual, what the simulator is told, and whose fault it is.
    "expired": ({"duration": "1s"}, {}, {}, "client"),
    "blocked": ({"blocked": True}, {}, {}, "client"),
    "address": ({"allowed_cidrs": ["10.0.0.0/8"]}, {}, {}, "client"),
    "route": ({"allowed_routes": ["/v1/embeddings"]}, {}, {}, "client"),
    "model of another": ({"models": ["claude"]}, {}, {}, "client"),
    "no model": ({}, {"model": ""}, {}, "client"),
    "unknown model": ({}, {"model": "nowhere"}, {}, "client"),
    "unknown model with odd letters": ({}, {"model": "n\n%é世\x7f\"'/x"}, {}, "client"),
    "parameter": ({}, {"model": "claude", "logit_bias": {"1": 2}}, {}, "client"),
    "requests": ({"rpm_limit": 0}, {}, {}, "gateway"),
    "tokens": ({"tpm_limit": 1}, {}, {}, "gateway"),
    "parallel": ({"max_parallel_requests": 0}, {}, {}, "gateway"),
    "budget": ({"max_budget": 0}, {}, {}, "gateway"),
    "deployments": ({}, {"model": "full"}, {}, "gateway"),
    "unreachable": ({}, {"model": "unreachable"}, {}, "upstream"),
    "silent": ({}, {"model": "hasty"}, {"ttft": 5000}, "upstream"),
    "cut": ({}, {}, {"fault": "truncate"}, "upstream"),
    "reset": ({}, {}, {"fault": "reset_after:0"}, "upstream"),
}
PROVIDERS = [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529]


def _expected(status: int, code: str | None) -> str:
    return _BY_CODE.get(code or "", _STATUSES[status])


_REMEDIES = {
    "`GET /v1/models`": "`penstock.v1.Models/List`",
    "send `model` in the body, the `x-penstock-model` header, or set `penstock.routing.passthrough_group`": "set the "
    "field `model`",
}


def _worded(message: str) -> str:
    """A REST error's message as it is over gRPC: what it recommends can be done there."""
    for rest, here in _REMEDIES.items():
        message = message.replace(rest, here)
    return message


def _agrees(rest: httpx.Response, call: Ended[Any], source: str) -> None:
    """What an error over gRPC is, given the same over REST."""
    error = rest.json()["error"]
    code = error.get("code") or "upstream_error"
    assert call.answers == []
    assert call.code.name == _expected(rest.status_code, code)
    assert call.message == _worded(error["message"])
    details = call.details
    assert (details.code, details.message) == (call.code.value[0], call.message)
    assert (details.domain, details.reason) == ("penstock", code.upper())
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+[A-Z0-9]", details.reason)
    expected = {"code": code, "type": error["type"], "source": source, "status": str(rest.status_code)}
    if error.get("param") is not None:
        expected["param"] = error["param"]
    assert details.info == expected
    assert details.kinds[0] == "ErrorInfo"
    assert len(set(details.kinds)) == len(details.kinds)
    assert [name for name, _ in details.fields] == ([error["param"]] if error.get("param") else [])
    assert all(text for _, text in details.fields)
    if source == "gateway" or rest.status_code != 429:
        assert bool(details.quota) == (code in _LIMITS)
    assert all(subject and text for subject, text in details.quota)
    after = rest.headers.get("retry-after-ms")
    pushback = call.metadata.get("grpc-retry-pushback-ms")
    assert (after is None) == (details.retry_s is None)
    # -1 asks clients not to try again by themselves.
    assert (pushback in (None, "-1")) == (after is None)
    if after is not None and pushback is not None and details.retry_s is not None:
        # The one was asked for a moment after the other.
        assert abs(int(after) - int(pushback)) < 10_000
        assert abs(details.retry_s * 1000 - int(pushback)) <= 1


def _same_books(gateway: Gateway, rest: httpx.Response, call: Ended[Any]) -> None:
    records = [lasting(record_of(gateway, id)) for id in (rest.headers["x-penstock-call-id"], call.call_id)]
    assert records[1] == records[0]


@pytest.mark.parametrize("kind", ["chat", "chat stream"])
@pytest.mark.parametrize("name", list(SITUATIONS))
def test_an_error_is_the_same_error_over_grpc(port: Gateway, name: str, kind: str) -> None:
    fields, members, tell, source = SITUATIONS[name]
    key = port.new_key(**fields)
    body = {**_BODY, **members}

    def refused() -> httpx.Response | None:
        answer = golden.rest(port, key, kind, body, tell)
        return None if answer.status_code == 200 and "duration" in fields else answer

    rest = until(refused, "the key's end") if "duration" in fields else refused()
    assert rest is not None
    with dialled(port, key) as rpc:
        call: Ended[Any] = rpc.call(golden.ROUTES[kind][1], golden.request_of(kind, body), sim=tell)
    if rest.status_code == 200:
        # The fault is one of whole answers, or the stream had begun; what it ended with is another test's.
        assert kind == "chat stream"
        return
    _agrees(rest, call, source)
    if call.details.info["code"] not in _BEFORE_THE_BOOKS:
        _same_books(port, rest, call)


@pytest.mark.parametrize("kind", ["chat", "chat stream", "embeddings", "completions", "responses"])
@pytest.mark.parametrize("key", ["", "sk-unknown", "pk-another", "sk-", "x" * 3_000])
def test_a_key_that_is_none_is_refused_before_anything_else(port: Gateway, kind: str, key: str) -> None:
    path, method = golden.ROUTES[kind]
    with dialled(port) as rpc:
        call: Ended[Any] = rpc.call(method, golden.request_of(kind, {"model": "nowhere"}), key=key)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with port.client() as client:
        rest = client.post(path, headers=headers, json={"model": "nowhere"})
    assert rest.status_code == 401
    _agrees(rest, call, "client")


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key"])
def test_a_key_may_stand_where_rest_has_it(port: Gateway, name: str) -> None:
    key = port.new_key()
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    value = f"bearer {key}" if name == "authorization" else key
    with dialled(port, "") as rpc:
        assert rpc.call(methods.CHAT_CREATE, request, metadata=[(name, value)]).ok


@pytest.mark.parametrize("kind", ["chat", "chat stream"])
@pytest.mark.parametrize("status", PROVIDERS)
def test_a_provider_s_refusal_is_told_in_its_words(port: Gateway, rpc: Rpc, status: int, kind: str) -> None:
    for tell in ({"status": status}, {"status": status, "retry-after": 3}):
        rest = golden.rest(port, rpc.key, kind, _BODY, tell)
        call: Ended[Any] = rpc.call(golden.ROUTES[kind][1], golden.request_of(kind, _BODY), sim=tell)
        assert rest.status_code == status
        _agrees(rest, call, "upstream")
        _same_books(port, rest, call)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_a_refusal_on_another_wire_is_translated(port: Gateway, rpc: Rpc, status: int) -> None:
    body = {**_BODY, "model": "claude"}
    rest = golden.rest(port, rpc.key, "chat", body, {"status": status})
    call = rpc.call(methods.CHAT_CREATE, golden.request_of("chat", body), sim={"status": status})
    _agrees(rest, call, "upstream")


@pytest.mark.parametrize("status", [300, 402, 405, 418, 451, 501, 520, 599])
def test_no_status_of_a_provider_is_taken_for_success(port: Gateway, rpc: Rpc, status: int) -> None:
    call = rpc.call(methods.CHAT_CREATE, golden.request_of("chat", _BODY), sim={"status": status})
    assert call.code not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)
    assert call.details.info["status"].isdecimal()
    assert call.details.domain == "penstock"


@pytest.mark.parametrize(
    "body,content_type,words",
    [
        (b"<html>502 Bad Gateway</html>", "text/html", None),
        (b"", "application/json", None),
        (b'{"error":"only text"}', "application/json", "only text"),
        (b'{"message":"at the top"}', "application/json", None),
        (b'{"error":{"message":"line\\nbreak \\u00e9 %41 \\u0000","code":42,"type":null}}', "application/json", "%41"),
        (b'{"error":{"message":"' + b"x" * 200_000 + b'"}}', "application/json", None),
        (b"\xff\xfe\x00", "application/octet-stream", None),
    ],
)
def test_refusals_of_any_shape_are_told(
    port: Gateway, rpc: Rpc, sim: Any, body: bytes, content_type: str, words: str | None
) -> None:
    sim.record("odd-refusal", body, content_type, status=503)
    call = rpc.call(methods.CHAT_CREATE, golden.request_of("chat", _BODY), sim={"replay": "odd-refusal"})
    assert call.code is grpc.StatusCode.UNAVAILABLE
    assert call.message
    assert words is None or words in call.message
    assert call.details.info["status"] == "503"
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*[A-Z0-9]", call.details.reason)
    # Peers bound what metadata may hold, at 8 KiB by default.
    assert len(call.message) < 8_000


@pytest.mark.parametrize(
    "more", [{}, {"code": "x" * 5_000, "type": "y" * 5_000, "param": "数" * 3_000}], ids=["message", "all"]
)
def test_all_that_a_refusal_says_is_within_what_clients_take(raw: Raw, sim: Any, more: Json) -> None:
    """8 KiB by default, as HTTP/2 counts: each field has 32 bytes more."""
    body = json.dumps({"error": {"message": "流" * 3_000, **more}})
    fields = {f"x-theirs-{number}": "z" * 1_000 for number in range(12)}
    sim.record("large-refusal", body.encode(), "application/json", status=429, headers=fields)
    request = golden.request_of("chat", _BODY)
    reply = raw.ask(methods.CHAT_CREATE.path, frame(request), more=[("x-sim-replay", "large-refusal")])
    assert reply.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert reply.details.info["source"] == "upstream"
    assert reply.headers["x-penstock-call-id"]
    # What the gateway says itself comes first.
    assert any(name.startswith("x-theirs-") for name in reply.headers) is (not more)
    assert sum(len(name) + len(value.encode()) + 32 for name, value in reply.headers.items()) <= 8_192


def test_a_route_that_a_provider_does_not_have_is_unimplemented(port: Gateway, rpc: Rpc) -> None:
    body: Json = {"model": "claude", "input": "a"}
    rest = golden.rest(port, rpc.key, "embeddings", body)
    call = rpc.call(methods.EMBEDDINGS_CREATE, golden.request_of("embeddings", body))
    assert call.code is grpc.StatusCode.UNIMPLEMENTED
    _agrees(rest, call, "client")


def test_a_message_over_the_bound_is_refused(port: Gateway, rpc: Rpc) -> None:
    body = {**_BODY, "messages": [{"role": "user", "content": "river " * 500_000}]}
    rest = golden.rest(port, rpc.key, "chat", body)
    call = rpc.call(methods.CHAT_CREATE, golden.request_of("chat", body))
    assert rest.status_code == 413
    assert call.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call.details.info["code"] == "request_too_large"
    assert call.details.info["status"] == "413"


def test_a_message_that_never_ends_times_out(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{body_timeout: 300ms}"))
    with Raw(gateway) as raw:
        number = raw.begin("/penstock.v1.Chat/Create", b"\0\0\0\1\0half", end=False)
        reply = raw.end(number)
    assert reply.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert reply.details.info["code"] == "request_timeout"


def test_calls_beyond_the_grace_end_with_what_happened(start: Callable[..., Gateway]) -> None:
    gateway = start(config=configured("{grace: 300ms}"))
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}], max_tokens=1_000)
    with dialled(gateway) as rpc:
        begun: Any = rpc.begin(methods.CHAT_STREAM, request, sim={"tps": 20, "tokens": 1_000, "flush": 1})
        next(begun)
        waiting: Any = rpc.begin(methods.CHAT_CREATE, request, sim={"ttft": 60_000})
        until(lambda: "2" in _in_flight(gateway), "two calls in flight")
        gateway.process.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError):
            for _ in begun:
                pass
        for call in (begun, waiting):
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            over: Ended[Any] = ended(call)
            assert over.details.info["code"] == "shutting_down"
            assert over.details.retry_s == 1
            assert over.trailing["grpc-retry-pushback-ms"] == "1000"
    assert gateway.process.wait() == 0


def _in_flight(gateway: Gateway) -> str:
    with gateway.client() as client:
        lines = client.get("/metrics", headers=gateway.admin).text.splitlines()
    return next(line for line in lines if line.startswith("penstock_in_flight_requests "))


class _Behind:
    """A data plane without a control plane, as a gateway to call."""

    def __init__(self, plane: Plane) -> None:
        self.url = plane.url
        self.admin_key = MASTER


def _on(plane: Plane) -> Any:
    return _Behind(plane)


def test_a_key_that_cannot_be_checked_is_unavailable() -> None:
    for rig in rigged():
        provider = rig.provider(answering({}))
        plane = rig.plane([provider.deployment()], hook_timeout_ms=50)
        with dialled(_on(plane), _core.generate_key()) as rpc:
            call = rpc.call(methods.CHAT_CREATE, pb.ChatCreateRequest(model="m"))
        assert call.failed == "UNAVAILABLE control_plane_unavailable"
        assert call.details.retry_s == 1


def test_a_call_that_could_not_be_recorded_is_refused() -> None:
    for rig in rigged():
        answer = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}
        provider = rig.provider(answering(answer))
        plane = rig.plane([provider.deployment()], usage_queue_capacity=1)
        request = pb.ChatCreateRequest(model="m", messages=[{"role": "user", "text": "a"}])
        with dialled(_on(plane)) as rpc:
            calls = [rpc.call(methods.CHAT_CREATE, request) for _ in range(3)]
        refused = [call for call in calls if call.code is not grpc.StatusCode.OK]
        assert refused
        assert {call.failed for call in refused} == {"UNAVAILABLE overloaded"}
        assert {call.details.retry_s for call in refused} == {2}


ODD_ANSWERS = [
    b"[]", b"1", b'"text"', b"null", b"", b"not JSON", b'{"id":', b'{"id":"a"}{"id":"b"}', b'{"choices":[{"index":0}',
    b'{"id":"\xff"}', b"\xef\xbb\xbf{}",
]  # fmt: skip


@pytest.mark.parametrize("body", ODD_ANSWERS)
def test_an_answer_that_is_no_answer_is_never_ok(rpc: Rpc, sim: Any, body: bytes) -> None:
    sim.record("odd-answer", body, "application/json")
    call = rpc.call(methods.CHAT_CREATE, golden.request_of("chat", _BODY), sim={"replay": "odd-answer"})
    assert call.failed == "UNAVAILABLE upstream_protocol_error"
    assert call.details.info["source"] == "upstream"


def test_parallel_calls_over_the_limit_are_refused_until_one_ends(port: Gateway) -> None:
    key = port.new_key(max_parallel_requests=1)
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    with dialled(port, key) as rpc:
        slow = rpc.begin(methods.CHAT_CREATE, request, sim={"ttft": 4_500})
        until(lambda: "1" in _in_flight(port), "the slow call")
        refused = rpc.call(methods.CHAT_CREATE, request)
        assert refused.failed == "RESOURCE_EXHAUSTED rate_limit_exceeded"
        assert refused.details.info["type"] == "max_parallel_requests"
        assert len(refused.details.quota) == 1
        assert slow.result().choices
        until(lambda: rpc.call(methods.CHAT_CREATE, request).code is grpc.StatusCode.OK, "the slot is free")


def test_whose_limit_it_is_stands_in_the_details(port: Gateway) -> None:
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    with port.client() as client:
        team = client.post("/team/new", headers=port.admin, json={"rpm_limit": 1}).json()["team_id"]
        poor = client.post("/user/new", headers=port.admin, json={"max_budget": 0, "auto_create_key": False}).json()
    whose = {
        port.new_key(rpm_limit=1): "key",
        port.new_key(team_id=team): f"team:{team}",
        port.new_key(user_id=poor["user_id"]): f"user:{poor['user_id']}",
    }
    for key, subject in whose.items():
        with dialled(port, key) as rpc:
            # The first may be within the limit.
            answers = [rpc.call(methods.CHAT_CREATE, request) for _ in range(2)]
        assert [said for said, _ in answers[1].details.quota] == [subject]


def test_metrics_tell_the_protocols_apart(port: Gateway) -> None:
    key = port.new_key()
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    with dialled(port, key) as rpc:
        assert rpc.call(methods.CHAT_CREATE, request).code is grpc.StatusCode.OK
    with port.client() as client:
        client.post("/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=_BODY)

        def is_counted(protocol: str) -> bool:
            lines = client.get("/metrics", headers=port.admin).text.splitlines()
            counted = [line for line in lines if line.startswith("penstock_requests_total{")]
            return any(f'surface="chat",protocol="{protocol}",status="200"' in line for line in counted)

        for protocol in ("grpc", "rest"):
            # An answer is out a moment before its call is settled.
            until(partial(is_counted, protocol), protocol)


def test_no_secret_and_no_prompt_is_in_an_error(port: Gateway) -> None:
    key = port.new_key(max_budget=0)
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a secret prompt"}])
    with dialled(port, key) as rpc:
        call = rpc.call(methods.CHAT_CREATE, request)
    shown = f"{call}"
    assert key not in shown
    assert "secret prompt" not in shown


def test_a_stopped_client_s_call_does_not_hold_the_channel(rpc: Rpc) -> None:
    """An error leaves the connection as it was: the next calls are served on it."""
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    for _ in range(20):
        assert rpc.call(methods.CHAT_CREATE, pb.ChatCreateRequest(model="nowhere")).code is grpc.StatusCode.NOT_FOUND
        assert rpc.call(methods.CHAT_CREATE, request, sim={"tokens": 1}).ok


def test_errors_and_answers_at_the_same_time_are_not_mixed_up(port: Gateway, rpc: Rpc) -> None:
    found: list[str] = []

    def work(number: int) -> None:
        for turn in range(10):
            model = ("sim", "nowhere", "unreachable")[(number + turn) % 3]
            request = pb.ChatCreateRequest(model=model, messages=[{"role": "user", "text": "a"}])
            call = rpc.call(methods.CHAT_CREATE, request, sim={"tokens": 1})
            found.append(f"{model} {call.code.name}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {"sim OK", "nowhere NOT_FOUND", "unreachable UNAVAILABLE"}
    assert len(found) == 120


def test_frames_after_an_early_refusal_harm_nobody(raw: Raw) -> None:
    """A client that goes on sending a message which was refused already."""
    number = raw.begin("/penstock.v1.Chat/Create", b"\0\0\1\0\0", end=False, key="sk-unknown")
    reply = raw.end(number)
    assert reply.status == grpc.StatusCode.UNAUTHENTICATED.value[0]
    request = pb.ChatCreateRequest(model="sim", messages=[{"role": "user", "text": "a"}])
    assert raw.ask("/penstock.v1.Chat/Create", frame(request)).status == 0
