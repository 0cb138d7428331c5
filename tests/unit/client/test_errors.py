"""Errors as types, and when a call is tried again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from penstock.client import (
    AsyncClient,
    AuthenticationError,
    BudgetExceeded,
    CallError,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    Unavailable,
    _retry,
)
from penstock.client import _calls as calls
from penstock.client.errors import from_status
from tests.stalls import Stopwatch
from tests.unit.client.gateway import Gateway, answer, error_info, fail, retry_info, status

MESSAGES = [{"role": "user", "content": "hi"}]
CREATE = calls.CHAT_CREATE.path
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "code, kind",
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.UNIMPLEMENTED, InvalidRequest),
        (grpc.StatusCode.UNAUTHENTICATED, AuthenticationError),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (EXHAUSTED, RateLimited),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.CANCELLED, Cancelled),
        (UNAVAILABLE, Unavailable),
        (grpc.StatusCode.INTERNAL, ServerError),
        (grpc.StatusCode.DATA_LOSS, ServerError),
    ],
)
def test_each_status_has_its_type(
    gateway: Gateway, client: Client, code: grpc.StatusCode, kind: type[CallError]
) -> None:
    gateway.behaviours[CREATE] = lambda request, context: fail(context, code, "said")
    with pytest.raises(kind) as caught:
        client.chat.create(model="m", messages=MESSAGES, max_retries=0)
    assert type(caught.value) is kind
    assert caught.value.message == "said"
    assert caught.value.status is code


def _told(request: Any, context: Any) -> Any:
    context.send_initial_metadata((("x-penstock-call-id", "c-7"),))
    info = error_info(
        "UNSUPPORTED_PARAMETER",
        code="unsupported_parameter",
        type="invalid_request_error",
        source="client",
        status="400",
    )
    bad = details.BadRequest(field_violations=[{"field": "top_k", "description": "no"}])
    return fail(context, grpc.StatusCode.INVALID_ARGUMENT, "`top_k` cannot be expressed", info, bad)


def test_details_are_read(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = _told
    with pytest.raises(InvalidRequest) as caught:
        client.chat.create(model="m", messages=MESSAGES)
    _check_told(caught.value)


async def test_details_are_read_by_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours[CREATE] = _told
    with pytest.raises(InvalidRequest) as caught:
        await aclient.chat.create(model="m", messages=MESSAGES)
    _check_told(caught.value)


def _check_told(error: CallError) -> None:
    assert error.code == "unsupported_parameter"
    assert error.type == "invalid_request_error"
    assert error.param == "top_k"
    assert error.source == "client"
    assert error.status_code == 400
    assert error.request_id == "c-7"
    assert error.may_retry is None


def test_a_budget_is_told_from_a_rate() -> None:
    quota = details.QuotaFailure(violations=[{"subject": "key", "description": "budget of key x"}])
    trailing = [
        ("grpc-status-details-bin", status(EXHAUSTED, "m", error_info("BUDGET_EXCEEDED"), quota).SerializeToString())
    ]
    error = from_status(EXHAUSTED, "m", trailing, {})
    assert isinstance(error, BudgetExceeded)
    assert error.quota == ("budget of key x",)


@pytest.mark.parametrize(
    "message, info",
    [
        ("The request message is larger than 33554432 bytes.", {"code": "request_too_large", "status": "413"}),
        ("said by a provider", {"code": "upstream_rejected", "source": "upstream", "status": "413"}),
        ("grpc: received message larger than max (9 vs. 4)", {}),
    ],
)
def test_size_is_told_from_a_rate(gateway: Gateway, client: Client, message: str, info: dict[str, str]) -> None:
    told = [error_info("X", **info), retry_info(1)] if info else []
    gateway.behaviours[CREATE] = lambda request, context: fail(context, EXHAUSTED, message, *told)
    with pytest.raises(InvalidRequest) as caught:
        client.chat.create(model="m", messages=MESSAGES)
    assert (caught.value.status, caught.value.message) == (EXHAUSTED, message)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("option", ["grpc.max_send_message_length", "grpc.max_receive_message_length"])
async def test_size_that_this_side_refuses(gateway: Gateway, option: str) -> None:
    gateway.behaviours[CREATE] = lambda request, context: answer("y" * 5000)
    messages = [{"role": "user", "content": "x" * 5000}]
    options = {option: 1000}
    with Client(gateway.target, api_key="k", channel_options=options) as client, pytest.raises(InvalidRequest):
        client.chat.create(model="m", messages=messages)
    async with AsyncClient(gateway.target, api_key="k", channel_options=options) as twin:
        with pytest.raises(InvalidRequest):
            await twin.chat.create(model="m", messages=messages)


def test_a_provider_that_speaks_of_sizes_can_still_limit() -> None:
    info = error_info("X", code="upstream_rate_limited", status="429")
    trailing = [("grpc-status-details-bin", status(EXHAUSTED, "m", info).SerializeToString())]
    assert type(from_status(EXHAUSTED, "tokens larger than max", trailing, {})) is RateLimited


def test_details_of_others_and_garbage_do_not_confuse() -> None:
    foreign = details.ErrorInfo(reason="X", domain="example.com", metadata={"code": "evil"})
    trailing = [("grpc-status-details-bin", status(UNAVAILABLE, "m", foreign).SerializeToString())]
    assert from_status(UNAVAILABLE, "m", trailing, {}).code is None
    error = from_status(UNAVAILABLE, None, [("grpc-status-details-bin", b"\xff\xff\xff")], {})
    assert (error.code, error.message) == (None, "UNAVAILABLE")


def _failing(times: int, *args: Any, **kwargs: Any) -> Callable[[Any, Any], Any]:
    """Fails some times, then answers."""
    left = [times]

    def behave(request: Any, context: Any) -> Any:
        if left[0]:
            left[0] -= 1
            return fail(context, *args, **kwargs)
        return answer("at last")

    return behave


@pytest.mark.parametrize(
    "scheme, hello, hint",
    [("grpcs", b"HTTP/1.1 400 Bad Request\r\n\r\n", "grpc://"), ("grpc", b"\x15\x03\x03\0\2\2\x32", "grpcs://")],
)
def test_tls_on_one_side_only_is_named(scheme: str, hello: bytes, hint: str) -> None:
    """What a port answers that speaks the other: a line of HTTP, an alert."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_each() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    with peer:
                        peer.recv(4096)
                        peer.sendall(hello)

        thread = threading.Thread(target=answer_each)
        thread.start()
        with (
            Client(f"{scheme}://127.0.0.1:{server.getsockname()[1]}", api_key="sk-x", max_retries=0) as client,
            pytest.raises(Unavailable) as raised,
        ):
            client.models.list(timeout=30)
        server.shutdown(socket.SHUT_RDWR)
        thread.join(30)
    assert raised.value.message.endswith(hint)


def test_unavailable_is_tried_again(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = _failing(2, UNAVAILABLE, "down")
    assert client.chat.create(model="m", messages=MESSAGES).choices[0].message.content == "at last"
    assert len(gateway.requests) == 3


async def test_unavailable_is_tried_again_by_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours[CREATE] = _failing(2, UNAVAILABLE, "down")
    assert (await aclient.chat.create(model="m", messages=MESSAGES)).choices[0].message.content == "at last"
    assert len(gateway.requests) == 3


@pytest.mark.parametrize(
    "arguments, calls_made",
    [
        ((EXHAUSTED, "slow down", retry_info(20)), 2),
        ((EXHAUSTED, "slow down"), 1),
        ((EXHAUSTED, "no money", error_info("BUDGET_EXCEEDED"), retry_info(1)), 1),
        ((grpc.StatusCode.INTERNAL, "broken"), 1),
        ((grpc.StatusCode.INTERNAL, "broken", retry_info(1)), 2),
        ((UNAVAILABLE, "provider", error_info("X", code="upstream_unreachable", source="upstream")), 1),
        ((grpc.StatusCode.INVALID_ARGUMENT, "wrong", retry_info(1)), 1),
    ],
)
def test_the_server_decides(gateway: Gateway, client: Client, arguments: tuple[Any, ...], calls_made: int) -> None:
    gateway.behaviours[CREATE] = _failing(1, *arguments)
    if calls_made == 1:
        with pytest.raises(CallError):
            client.chat.create(model="m", messages=MESSAGES)
    else:
        client.chat.create(model="m", messages=MESSAGES)
    assert len(gateway.requests) == calls_made


@pytest.mark.parametrize("pushback", ["-1", "soon"])
def test_pushback_can_forbid(gateway: Gateway, client: Client, pushback: str) -> None:
    gateway.behaviours[CREATE] = _failing(1, UNAVAILABLE, "down", trailing=(("grpc-retry-pushback-ms", pushback),))
    with pytest.raises(Unavailable) as caught:
        client.chat.create(model="m", messages=MESSAGES)
    assert caught.value.may_retry is False
    assert len(gateway.requests) == 1


def test_pushback_is_waited_for(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = _failing(1, EXHAUSTED, "busy", trailing=(("grpc-retry-pushback-ms", "120"),))
    before = time.monotonic()
    client.chat.create(model="m", messages=MESSAGES)
    assert time.monotonic() - before >= 0.12


def test_no_waiting_past_the_deadline(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = _failing(1, EXHAUSTED, "busy", retry_info(60_000))
    before = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        client.chat.create(model="m", messages=MESSAGES, timeout=20)
    assert time.monotonic() - before < 20
    assert caught.value.retry_after == 60


def test_retries_share_the_deadline(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = _failing(1, EXHAUSTED, "busy", retry_info(300))
    client.chat.create(model="m", messages=MESSAGES, timeout=9)
    assert gateway.remaining[1] < gateway.remaining[0] - 0.25


def test_retries_are_counted(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = _failing(9, EXHAUSTED, "busy", retry_info(1))
    with pytest.raises(RateLimited):
        client.chat.create(model="m", messages=MESSAGES, max_retries=3)
    assert len(gateway.requests) == 4


def test_the_budget_ends_retries_when_everything_fails(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = lambda request, context: fail(context, EXHAUSTED, "busy", retry_info(1))
    for _ in range(10):
        with pytest.raises(RateLimited):
            client.chat.create(model="m", messages=MESSAGES, max_retries=2)
    # 4 retries until half of the 10 tokens are gone, and the 10 calls themselves.
    assert len(gateway.requests) == 14


def test_the_budget_fills_again() -> None:
    budget = _retry.RetryBudget()
    while budget.failed():
        pass
    for _ in range(12):
        budget.succeeded()
    assert budget.failed()


@pytest.mark.parametrize("retry_after", [8.0, 9.0, 9.9])
def test_a_time_that_the_server_names_is_waited_for_whenever_it_is_left(retry_after: float) -> None:
    error = RateLimited(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after=retry_after)
    waits = {_retry.delay(error, 0, 2, 10.0) for _ in range(200)}
    assert None not in waits
    assert all(retry_after <= wait < 10.0 for wait in waits if wait)
    assert len(waits) > 10, "not all at the same time"


def test_a_time_that_is_not_left_is_not_waited_for() -> None:
    error = RateLimited(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after=10.1)
    assert _retry.delay(error, 0, 2, 10.0) is None


def test_a_deadline_is_kept(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = lambda request, context: gateway.cancelled.wait(15) and answer("late")
    # One that is over before the call has arrived says nothing of the gateway's side.
    for _ in range(10):
        watch = Stopwatch()
        with pytest.raises(DeadlineExceeded):
            client.chat.create(model="m", messages=MESSAGES, timeout=0.2)
        assert watch.ran_s < 5
        if gateway.requests:
            break
    assert gateway.requests
    assert gateway.cancelled.wait(10)


def test_nobody_there() -> None:
    with Client("grpc://127.0.0.1:1", api_key="k") as client, pytest.raises(Unavailable) as caught:
        client.models.list(max_retries=0, timeout=20)
    assert caught.value.code is None


def test_a_closed_client(gateway: Gateway) -> None:
    client = Client(gateway.target, api_key="k")
    client.close()
    with pytest.raises(Cancelled):
        client.models.list()


def test_no_key_in_errors(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[CREATE] = lambda request, context: fail(context, grpc.StatusCode.UNAUTHENTICATED, "unknown key")
    with pytest.raises(AuthenticationError) as caught:
        client.chat.create(model="m", messages=MESSAGES)
    assert "sk-test" not in f"{caught.value!r} {caught.value.__dict__} {caught.value.__cause__}"
