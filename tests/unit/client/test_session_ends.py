"""How calls of a session end when the session does, when nobody reads them, and when they are too large for it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from penstock.client import (
    AsyncClient,
    BudgetExceeded,
    CallError,
    Cancelled,
    Client,
    ConfigurationError,
    InvalidRequest,
)
from penstock.client import _messages as pb
from penstock.client._frames import Event, SessionState
from penstock.client.errors import Unavailable
from tests.unit.client.gateway import Gateway, until

MESSAGES = [{"role": "user", "content": "hi"}]
LARGE = [{"role": "user", "content": "x" * 5000}]
SMALL_MESSAGES = {"grpc.max_send_message_length": 4000}


def _raised(call: Callable[[], Any]) -> CallError:
    with pytest.raises(CallError) as caught:
        call()
    return caught.value


async def test_closing_the_client_ends_its_sessions(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.session.stall = {"m"}
    async with aclient.chat.session() as session:
        call = session.stream(model="m", messages=MESSAGES)
        waiting = asyncio.ensure_future(anext(call))
        await until(lambda: gateway.session.opened)
        await aclient.close()
        async with asyncio.timeout(30):
            with pytest.raises(Cancelled, match="The client is closed"):
                await waiting
        with pytest.raises(Cancelled, match="The client is closed"):
            session.stream(model="m", messages=MESSAGES)


async def test_a_session_that_breaks_here_ends_its_calls(gateway: Gateway, aclient: AsyncClient) -> None:
    async with aclient.chat.session() as session:

        def break_down(frame: object) -> None:
            raise ZeroDivisionError

        session._state.receive = break_down  # type: ignore[method-assign]
        async with asyncio.timeout(30):
            with pytest.raises(CallError):
                await anext(session.stream(model="m", messages=MESSAGES))


def test_each_call_has_an_error_of_its_own(gateway: Gateway, client: Client) -> None:
    gateway.session.stall = {"m"}
    session = client.chat.session()
    made = [session.stream(model="m", messages=MESSAGES) for _ in range(3)]
    session.close()
    errors = [_raised(lambda call=call: next(call)) for call in made]  # type: ignore[misc]
    errors += [_raised(lambda: session.stream(model="m", messages=MESSAGES)) for _ in range(50)]
    assert len({id(error) for error in errors}) == len(errors)
    assert {str(error) for error in errors} == {"The session is closed."}
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in errors) < 8


def test_a_session_that_drains_refuses_each_anew() -> None:
    state: SessionState[queue.SimpleQueue[Event]] = SessionState()
    state.receive(pb.ChatSessionResponse(draining={}))
    first, second = (_raised(lambda: state.begin(pb.ChatCreateRequest(), queue.SimpleQueue(), 1, 1)) for _ in "ab")
    assert type(first) is type(second) is Unavailable
    assert first is not second


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_can_be_copied(again: Callable[[CallError], CallError]) -> None:
    error = BudgetExceeded(grpc.StatusCode.RESOURCE_EXHAUSTED, "no money", code="budget_exceeded", quota=["team"])
    error.metadata["a"] = "b"
    got = again(error)
    assert type(got) is BudgetExceeded
    assert (str(got), got.args, got.__dict__) == ("no money", ("no money",), error.__dict__)
    assert got.metadata is not error.metadata


def test_a_call_that_nobody_reads_is_cancelled(gateway: Gateway, client: Client) -> None:
    gateway.session.chunks = 50
    with client.chat.session() as session:
        session.stream(model="m", messages=MESSAGES, credit=2)
        for _ in session.stream(model="m", messages=MESSAGES, credit=2):
            break
        # Those that ended need no word.
        list(session.stream(model="m", messages=MESSAGES))
        assert gateway.session.cancels == [1, 2]
        assert not session._state._calls


async def test_a_call_of_the_twin_that_nobody_reads_is_cancelled(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.session.chunks = 50
    async with aclient.chat.session() as session:
        session.stream(model="m", messages=MESSAGES, credit=2)
        async for _ in session.stream(model="m", messages=MESSAGES, credit=2):
            break
        assert len([item async for item in session.stream(model="m", messages=MESSAGES)]) == 50
        await until(lambda: len(gateway.session.cancels) == 2)
        assert gateway.session.cancels == [1, 2]
        assert not session._state._calls


def test_calls_are_forgotten_in_the_middle_of_a_session_s_work() -> None:
    """As when they are collected while this very thread begins another."""
    state: SessionState[queue.SimpleQueue[Event]] = SessionState()
    call, _ = state.begin(pb.ChatCreateRequest(), queue.SimpleQueue(), 1, 1)

    def forget() -> None:
        with state._lock:
            assert state.forget(call)
        assert not state.forget(call)
        done.set()

    done = threading.Event()
    threading.Thread(target=forget, daemon=True).start()
    assert done.wait(30)


def test_a_call_too_large_is_refused_alone(gateway: Gateway) -> None:
    gateway.session.stall = {"stall"}
    with (
        Client(gateway.target, api_key="k", channel_options=SMALL_MESSAGES, timeout=30) as client,
        client.chat.session() as session,
    ):
        before = session.stream(model="m", messages=MESSAGES)
        with pytest.raises(InvalidRequest, match="channel_options"):
            session.stream(model="m", messages=LARGE)
        assert len(list(before)) == 3
        assert len(list(session.stream(model="m", messages=MESSAGES))) == 3
        assert [start.request.messages[0].text for start in gateway.session.opened] == ["hi", "hi"]


async def test_a_call_of_the_twin_too_large_is_refused_alone(gateway: Gateway) -> None:
    async with (
        AsyncClient(gateway.target, api_key="k", channel_options=SMALL_MESSAGES, timeout=30) as client,
        client.chat.session() as session,
    ):
        before = session.stream(model="m", messages=MESSAGES)
        with pytest.raises(InvalidRequest, match="channel_options"):
            session.stream(model="m", messages=LARGE)
        assert len([item async for item in before]) == 3
        assert len([item async for item in session.stream(model="m", messages=MESSAGES)]) == 3


@pytest.mark.parametrize("given, most", [({}, 32 << 20), ({"grpc.max_send_message_length": -1}, None)])
def test_how_large_a_call_of_a_session_may_be(given: dict[str, int], most: int | None) -> None:
    with Client("127.0.0.1:1", api_key="k", channel_options=given) as client:
        assert client._core.settings.max_start == most


# ---- what a call of a session cannot have -------------------------------------------------------


@pytest.mark.parametrize(
    "option, said",
    [
        ({"metadata": {"x-team": "blue"}}, r"`metadata` .*`Client\(metadata=\.\.\.\)`.*`request_metadata`"),
        ({"on_metadata": print}, r"`on_metadata` .*the call's `metadata`"),
        ({"max_retries": 3}, r"`max_retries` .*`chat\.stream`"),
    ],
)
async def test_options_that_a_session_has_no_place_for_are_refused(
    gateway: Gateway, client: Client, aclient: AsyncClient, option: dict[str, Any], said: str
) -> None:
    with client.chat.session() as session:
        with pytest.raises(ConfigurationError, match=said):
            session.stream(model="m", messages=MESSAGES, **option)
        # What is None was not given, as everywhere.
        assert len(list(session.stream(model="m", messages=MESSAGES, **dict.fromkeys(option)))) == 3  # type: ignore[arg-type]
    async with aclient.chat.session() as twin:
        with pytest.raises(ConfigurationError, match=said):
            twin.stream(model="m", messages=MESSAGES, **option)
    assert len(gateway.session.opened) == 1


async def test_a_type_checker_refuses_them_too(client: Client, aclient: AsyncClient) -> None:
    """`mypy` complains of a comment below that ignores nothing."""
    with client.chat.session() as session:
        with pytest.raises(ConfigurationError):
            session.stream(model="m", messages=MESSAGES, metadata={"x-team": "blue"})  # type: ignore[call-arg]
        with pytest.raises(ConfigurationError):
            session.stream(model="m", messages=MESSAGES, on_metadata=print)  # type: ignore[call-arg]
    async with aclient.chat.session() as twin:
        with pytest.raises(ConfigurationError):
            twin.stream(model="m", messages=MESSAGES, max_retries=3)  # type: ignore[call-arg]
    # Labels for the provider are a part of the request.
    with client.chat.session() as session:
        list(session.stream(model="m", messages=MESSAGES, request_metadata={"a": "b"}, timeout=5))


def test_a_wrong_timeout_of_a_session_s_call(gateway: Gateway, client: Client) -> None:
    with client.chat.session() as session, pytest.raises(ConfigurationError, match="`timeout` must be a number"):
        session.stream(model="m", messages=MESSAGES, timeout="5")  # type: ignore[arg-type]
    assert gateway.session.opened == []


def test_the_client_s_metadata_goes_with_a_session(gateway: Gateway) -> None:
    with (
        Client(gateway.target, api_key="k", metadata={"x-team": "blue"}) as client,
        client.chat.session() as session,
    ):
        list(session.stream(model="m", messages=MESSAGES))
    assert gateway.session.metadata[0]["x-team"] == "blue"
