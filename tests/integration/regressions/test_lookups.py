"""Key look-ups that the control plane answers late, badly or never; and very many of them."""

from __future__ import annotations

import json
import select

import msgspec
import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from penstock import _core
from penstock.engine.snapshot import KeyRecord
from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.wire import Message, Wire, until
from tests.integration.regressions.rig import COMPLETION, Plane, Rig, answering, digest, messages
from tests.stalls import Stopwatch, again_after_a_stall

_UNKNOWN = 1_000


def _asked(plane: Plane, key: str) -> tuple[Wire, int]:
    """A call with a key that is not in the table, and the look-up it caused."""
    client = plane.connect().send(wire.chat(key, messages()))
    events = until(plane.core.drain_events, what="no look-up was asked for")
    (id, kind, payload) = events[0]
    assert (len(events), kind, json.loads(payload)) == (1, "hook.key", {"token": digest(key)})
    return client, id


@pytest.mark.parametrize("answer", [None, b"", b'{"token": "nonsense"}', b"][", b"{}"])
def test_a_look_up_that_failed_once_is_asked_again_for_the_next_call(rig: Rig, answer: bytes | None) -> None:
    plane = rig.plane([rig.provider(answering(COMPLETION)).deployment()], hook_timeout_ms=2_500)
    key = _core.generate_key()
    for _ in range(2):
        client, id = _asked(plane, key)
        if answer is not None:
            try:
                plane.core.resolve_hook(id, answer)
            except ValueError:
                assert answer
        assert client.answer().status == 503
        client.close()

    client, id = _asked(plane, key)
    plane.core.resolve_hook(id, msgspec.json.encode(KeyRecord(token=digest(key))))
    assert client.answer().status == 200
    client.close()


def test_a_look_up_that_the_control_plane_cannot_answer_is_told_at_once(rig: Rig) -> None:
    plane = rig.plane([rig.provider(answering(COMPLETION)).deployment()], hook_timeout_ms=20_000)
    client, id = _asked(plane, _core.generate_key())
    watch = Stopwatch()
    plane.core.resolve_hook(id, b"")
    answer = client.answer()
    client.close()
    assert (answer.status, watch.ran_s < 4) == (503, True)


def _flood(url: str) -> list[Wire]:
    body = messages()
    return [wire.connect(url).send(wire.chat(_core.generate_key(), body)) for _ in range(_UNKNOWN)]


@again_after_a_stall(0.1)
def test_a_thousand_unknown_keys_do_not_hold_up_a_known_one(rig: Rig) -> None:
    plane = rig.plane([rig.provider(answering(COMPLETION)).deployment()], hook_timeout_ms=30_000)
    key = plane.key()
    clients = _flood(plane.url)
    watch = Stopwatch()
    assert plane.ask(messages(), key=key).status == 200
    took = watch.ran_s

    asked = 0

    def rest() -> list[Message] | None:
        nonlocal asked
        # Of some the look-up may be asked for only now.
        asked += len(plane.core.drain_events())
        return _answered(clients, _UNKNOWN - asked)

    turned_away = until(rest, 15, "the rest was not turned away at once")
    for client in clients:
        client.close()
    assert took < 1
    assert 0 < asked < _UNKNOWN, "look-ups under way are not bounded"
    assert {answer.status for answer in turned_away} == {503}
    assert all(answer.get("retry-after") for answer in turned_away)


def _answered(clients: list[Wire], count: int) -> list[Message] | None:
    poll = select.poll()
    by_number = {client.sock.fileno(): client for client in clients}
    for number in by_number:
        poll.register(number, select.POLLIN)
    ready = poll.poll(0)
    return [by_number[number].answer() for number, _ in ready] if len(ready) >= count else None


@again_after_a_stall(0.3)
def test_a_thousand_unknown_keys_do_not_keep_the_control_plane_from_real_ones(gateway: Gateway) -> None:
    key = gateway.new_key()
    with gateway.client() as client:
        model = client.get("/v1/models", headers=gateway.admin).json()["data"][0]["id"]
    clients = _flood(gateway.url)
    watch = Stopwatch()
    with wire.connect(gateway.url) as own:
        status = own.send(wire.chat(key, messages(model=model, max_tokens=2))).answer().status
    took = watch.ran_s
    statuses = {client.answer().status for client in clients}
    for other in clients:
        other.close()
    assert (status, took < 2) == (200, True), took
    assert statuses <= {401, 503}
