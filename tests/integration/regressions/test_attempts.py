"""Who is asked, how often, and for which model: fallbacks, retries, groups of two wires, clients that leave."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from penstock.engine.snapshot import ModelGroup, Settings
from tests.integration.listener import wire
from tests.integration.listener.wire import Message, Wire, pause, settled, until
from tests.integration.regressions.rig import COMPLETION, Door, Rig, answering, messages
from tests.stalls import Stopwatch

_FAILS = answering({"error": {"message": "no"}}, status=500)


@pytest.mark.parametrize("first, asked", [("claude", "claude"), ("anthropic/*", "anthropic/claude-x")])
@pytest.mark.parametrize("models", [[], ["FIRST", "openai/gpt-4o"], ["FIRST", "openai/*"]])
def test_a_fallback_by_wildcard_asks_for_its_own_model(rig: Rig, first: str, asked: str, models: list[str]) -> None:
    good, bad = rig.provider(answering(COMPLETION)), rig.provider(_FAILS)
    groups = [
        ModelGroup(name="openai/*", deployments=[0]),
        ModelGroup(name=first, deployments=[1], fallbacks=["openai/gpt-4o"]),
    ]
    plane = rig.plane(
        [good.deployment(model="*"), bad.deployment(id="b", model=asked.removeprefix("anthropic/"))], groups
    )
    key = plane.key(models=[asked if name == "FIRST" else name for name in models])
    assert plane.ask(messages(model=asked), key=key).status == 200
    assert (bad.models(), good.models()) == ([asked.removeprefix("anthropic/")], ["gpt-4o"])
    (record,) = plane.records()
    assert (record["upstream_model"], record["model_group"]) == ("gpt-4o", "openai/*")


def test_a_fallback_that_the_key_may_not_use_is_not_asked(rig: Rig) -> None:
    good, bad = rig.provider(answering(COMPLETION)), rig.provider(_FAILS)
    groups = [
        ModelGroup(name="openai/*", deployments=[0]),
        ModelGroup(name="claude", deployments=[1], fallbacks=["openai/gpt-4o"]),
    ]
    plane = rig.plane([good.deployment(model="*"), bad.deployment(id="b")], groups)
    assert plane.ask(messages(model="claude"), key=plane.key(models=["claude", "openai/o3"])).status == 500
    assert good.requests == []


def test_each_group_gets_as_many_attempts_as_configured(rig: Rig) -> None:
    providers = [rig.provider(_FAILS) for _ in range(3)]
    groups = [
        ModelGroup(name="m", deployments=[0], fallbacks=["f", "g"]),
        ModelGroup(name="f", deployments=[1]),
        ModelGroup(name="g", deployments=[2]),
    ]
    settings = Settings(retries=1, retry_backoff_ms=1, cooldown_ms=0)
    plane = rig.plane([p.deployment(id=f"d{i}") for i, p in enumerate(providers)], groups, settings)
    assert plane.ask(messages()).status == 500
    assert [len(p.requests) for p in providers] == [2, 2, 2]
    assert plane.records()[0]["attempts"] == 6


@pytest.mark.parametrize("fallback", [True, False])
def test_a_group_that_cools_down_entirely_is_not_waited_for(rig: Rig, fallback: bool) -> None:
    good, bad, worse = rig.provider(answering(COMPLETION)), rig.provider(_FAILS), rig.provider(_FAILS)
    groups = [
        ModelGroup(name="m", deployments=[0, 1], fallbacks=["f"] if fallback else []),
        ModelGroup(name="f", deployments=[2]),
    ]
    # Each failure cools its deployment down, for longer than any client waits.
    settings = Settings(retries=5, retry_backoff_ms=10, allowed_fails=0, cooldown_ms=60_000)
    deployments = [bad.deployment(id="a"), worse.deployment(id="b"), good.deployment(id="c")]
    plane = rig.plane(deployments, groups, settings)
    watch = Stopwatch()
    assert plane.ask(messages()).status == (200 if fallback else 500)
    assert watch.ran_s < 5
    assert (len(bad.requests), len(worse.requests), len(good.requests)) == (1, 1, int(fallback))


def test_a_group_of_two_wires_serves_what_one_of_them_can(rig: Rig) -> None:
    answer = {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    provider = rig.provider(answering(answer))
    plane = rig.plane([provider.deployment(), provider.deployment(id="b", wire="anthropic")])
    with plane.connect() as client:
        request = wire.chat(plane.key(), {"model": "m", "input": "x"}, path="/v1/embeddings")
        statuses = [client.send(request).answer().status for _ in range(40)]
    assert statuses == [200] * 40
    assert {record["attempts"] for record in plane.records(40)} == {1}


@pytest.mark.parametrize("door", ["port", "submit"])
def test_a_client_that_leaves_between_attempts_is_not_served_by_a_fallback(rig: Rig, door: str) -> None:
    bad, fallback = rig.provider(_FAILS), rig.provider(answering(COMPLETION))
    groups = [ModelGroup(name="m", deployments=[0], fallbacks=["f"]), ModelGroup(name="f", deployments=[1])]
    # Half of the pause is certain, and it is long beside the time in which the client leaves.
    settings = Settings(retries=1, retry_backoff_ms=5_000)
    plane = rig.plane([bad.deployment(), fallback.deployment(id="f")], groups, settings)
    if door == "port":
        client = plane.connect().send(wire.chat(plane.key(), messages()))
        until(lambda: bad.requests)
        pause(0.1)
        client.close()
    else:
        call = Door(plane.core).submit(messages())
        until(lambda: bad.requests)
        pause(0.1)
        plane.core.cancel(call)
    (record,) = plane.records(seconds=2.2)
    assert (record["status"], record["outcome"], record["attempts"]) == (499, "client_disconnect", 1)
    assert (len(bad.requests), fallback.requests) == (1, [])


def test_a_request_whose_client_has_left_is_not_sent_again(rig: Rig) -> None:
    seen = threading.Semaphore(0)
    count = 0

    def script(peer: Wire, request: Message) -> bool | None:
        nonlocal count
        if b"warm" in request.body:
            answering(COMPLETION)(peer, request)
            return None
        count += 1
        seen.release()
        # The gateway says that nobody waits any more, and the provider closes without an answer.
        assert not peer.fill()
        return False

    provider = rig.provider(script)
    plane = rig.plane([provider.deployment()])
    key = plane.key()
    rounds = 15
    for _ in range(rounds):
        # On a connection that was used before, a request is sent again when it seems that it never arrived.
        assert plane.ask(messages("warm"), key=key).status == 200
        client = plane.connect().send(wire.chat(key, messages("leave")))
        assert seen.acquire(timeout=20)
        client.close()
        statuses = {record["status"] for record in plane.records(2)}
        assert statuses == {200, 499}
    assert settled(lambda: count, quiet=0.4) == rounds


def test_overhead_is_the_gateways_own_time(rig: Rig) -> None:
    def script(peer: Wire, request: Message) -> None:
        if len(provider.requests) == 1:
            provider.is_over(1)
            _FAILS(peer, request)
        else:
            answering(COMPLETION)(peer, request)

    provider = rig.provider(script)
    plane = rig.plane([provider.deployment()], settings=Settings(retries=1, retry_backoff_ms=1_000, cooldown_ms=0))
    watch = Stopwatch()
    answer = plane.ask(messages())
    assert watch.seconds > 1
    # Neither the provider's second nor the half of one, at least, between the attempts.
    most_us = 400_000 + 1_000_000 * watch.stood_s
    (record,) = plane.records()
    assert (answer.status, record["attempts"]) == (200, 2)
    assert record["overhead_us"] < most_us
    assert int(answer.get("x-penstock-overhead-us") or "") < most_us
