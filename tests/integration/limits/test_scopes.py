"""Limits above the key: teams, users, customers, tags. The data plane alone, fed as the control plane feeds it."""

from __future__ import annotations

import contextlib
import json
import select
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from penstock.engine.snapshot import ModelGroup, ScopeRecord, Settings
from tests.integration.listener.wire import Message, until
from tests.integration.regressions.rig import COMPLETION, Plane, Rig, answering, digest, messages, price, rigged

PER_CALL = 1_000
"""Nano-dollars that every call costs."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Providers and planes."""
    yield from rigged()


def plane(rig: Rig, *, hook_timeout_ms: int = 5_000, **settings: Any) -> Plane:
    """Groups `m` and `n` of one provider, at a fixed price per call."""
    provider = rig.provider(answering(COMPLETION))
    groups = [ModelGroup(name=name, deployments=[0]) for name in ("m", "n")]
    deployments = [provider.deployment(price=price(request=PER_CALL))]
    return rig.plane(deployments, groups, Settings(retries=0, **settings), hook_timeout_ms=hook_timeout_ms)


def put(plane: Plane, name: str, **fields: Any) -> None:
    """A scope as the control plane sends it."""
    plane.core.put_scopes(msgspec.json.encode([ScopeRecord(name=name, **fields)]))


def refusal(answer: Message, status: int) -> str:
    """The message of an error."""
    assert answer.status == status, answer
    return str(answer.json()["error"]["message"])


class Answerer:
    """Answers `hook.scope` from a table; what is not there does not exist."""

    def __init__(self, plane: Plane, scopes: dict[str, dict[str, Any]]) -> None:
        self.asked: list[str] = []
        self._plane, self._scopes = plane, scopes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        core = self._plane.core
        while not self._over.is_set():
            if not select.select([core.event_fd()], [], [], 0.05)[0]:
                continue
            for id, kind, payload in core.drain_events():
                assert kind == "hook.scope"
                name = json.loads(payload)["scope"]
                self.asked.append(name)
                fields = self._scopes.get(name)
                record = None if fields is None else ScopeRecord(name=name, **fields)
                core.resolve_hook(id, msgspec.json.encode(record))


@contextlib.contextmanager
def answered(plane: Plane, scopes: dict[str, dict[str, Any]]) -> Iterator[Answerer]:
    """The control plane's side of scope look-ups."""
    answerer = Answerer(plane, scopes)
    try:
        yield answerer
    finally:
        answerer.close()


def test_keys_of_a_team_share_its_requests(rig: Rig) -> None:
    served = plane(rig)
    put(served, "team:t1", alias="Platform", rpm=3)
    keys = [served.key(scopes=["team:t1"]) for _ in range(2)]
    first = served.ask(messages(), key=keys[0])
    assert (first.get("x-ratelimit-limit-requests"), first.get("x-ratelimit-remaining-requests")) == ("3", "2")
    assert [served.ask(messages(), key=keys[n % 2]).status for n in (1, 0)] == [200, 200]
    for key in keys:
        refused = served.ask(messages(), key=key)
        assert "requests per minute (RPM) for Team=t1 (Platform): limit 3" in refusal(refused, 429)
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.get("retry-after-ms") or 0) > 50_000
    # A key that is in no team is not held to it.
    assert served.ask(messages(), key=served.key()).status == 200


def test_two_hundred_calls_at_once_stay_within_a_teams_budget(rig: Rig) -> None:
    served = plane(rig)
    put(served, "team:t1", max_budget=50 * PER_CALL)
    put(served, "org:o1", max_budget=80 * PER_CALL)
    keys = [served.key(scopes=["team:t1", "org:o1"]) for _ in range(4)]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda n: served.ask(messages(), key=keys[n % 4]), range(200)))
    admitted = sum(answer.status == 200 for answer in answers)
    assert {answer.status for answer in answers} == {200, 422}
    assert admitted == 50
    until(lambda: served.in_flight() == 0, 10, "calls are settled")
    assert served.core.scope_usage("team:t1") == (50 * PER_CALL, 0, 0)
    assert served.core.scope_usage("org:o1") == (50 * PER_CALL, 0, 0), "what the team refused did not cost it"
    message = refusal(served.ask(messages(), key=keys[0]), 422)
    assert message.startswith("Budget has been exceeded! Team=t1 Current cost: $0.00005, Max budget: $0.00005")


def test_a_new_record_holds_at_once_and_an_older_one_does_not(rig: Rig) -> None:
    served = plane(rig)
    key = served.key(scopes=["user:u1"])
    # The scope arrives after its key.
    assert served.ask(messages(), key=key).status == 200
    put(served, "user:u1", max_budget=1, spend=1, revision=3)
    assert "User=u1" in refusal(served.ask(messages(), key=key), 422)
    put(served, "user:u1", max_budget=10 * PER_CALL, revision=2)
    assert served.ask(messages(), key=key).status == 422
    put(served, "user:u1", max_budget=10 * PER_CALL, revision=4)
    assert served.ask(messages(), key=key).status == 200


def test_blocked_scopes_and_models_that_a_scope_does_not_have_are_refused_by_name(rig: Rig) -> None:
    served = plane(rig)
    put(served, "team:t1", models=["m"])
    key = served.key(scopes=["team:t1"], models=["m", "n"])
    assert served.ask(messages(), key=key).status == 200
    assert "Team=t1 may not use the model `n`" in refusal(served.ask(messages(model="n"), key=key), 403)
    listed = served.get("/v1/models", key=key).json()["data"]
    assert [model["id"] for model in listed] == ["m"]
    put(served, "team:t1", models=["m"], blocked=True)
    refused = served.ask(messages(), key=key)
    assert "Team=t1 is blocked" in refusal(refused, 403)
    assert refused.json()["error"]["code"] == "blocked_api_key"


def test_a_limit_on_one_model_of_a_key_leaves_its_others_alone(rig: Rig) -> None:
    served = plane(rig)
    key = served.key()
    name = f"model:key:{digest(key)}/m"
    put(served, name, only_model="m", max_budget=PER_CALL)
    served.put(key, scopes=[name])
    assert served.ask(messages(), key=key).status == 200
    until(lambda: served.core.scope_usage(name)[0] == PER_CALL, 10, "the call is settled")
    assert "Key, model=m" in refusal(served.ask(messages(), key=key), 422)
    assert served.ask(messages(model="n"), key=key).status == 200
    assert served.core.scope_usage(name) == (PER_CALL, 0, 0)


def test_customers_are_looked_up_once_and_held_to_their_limits(rig: Rig) -> None:
    served = plane(rig, customers=True)
    key = served.key()
    with answered(
        served, {"customer:alice": {"max_budget": 2 * PER_CALL}, "customer:mallory": {"blocked": True}}
    ) as hook:
        for _ in range(2):
            assert served.ask(messages(user="alice"), key=key).status == 200
            until(lambda: served.in_flight() == 0, 10, "the call is settled")
        assert "Customer=alice" in refusal(served.ask(messages(user="alice"), key=key), 422)
        # Whoever calls for her, the master key too.
        assert served.ask(messages(user="alice")).status == 422
        assert "Customer=mallory is blocked" in refusal(served.ask(messages(user="mallory"), key=key), 403)
        for _ in range(3):
            assert served.ask(messages(user="nobody"), key=key).status == 200
        assert served.ask(messages(), key=key).status == 200
        assert hook.asked == ["customer:alice", "customer:mallory", "customer:nobody"]
        served.core.drop_scopes(["customer:alice"])
        assert served.ask(messages(user="alice"), key=key).status == 422, "asked again, and what she spent stays"
        assert hook.asked[3:] == ["customer:alice"]


def test_concurrent_calls_for_an_unknown_customer_ask_once(rig: Rig) -> None:
    served = plane(rig, customers=True)
    key = served.key()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(served.ask, messages(user="bob"), key=key) for _ in range(8)]
        until(lambda: served.in_flight() == 8, 10, "all calls wait")
        with answered(served, {"customer:bob": {"rpm": 5}}) as hook:
            statuses = sorted(answer.result().status for answer in answers)
            assert hook.asked == ["customer:bob"]
    assert statuses == [200] * 5 + [429] * 3


def test_a_customer_that_cannot_be_looked_up_is_refused(rig: Rig) -> None:
    served = plane(rig, customers=True, hook_timeout_ms=100)
    refused = served.ask(messages(user="eve"))
    assert "could not be checked" in refusal(refused, 503)
    assert refused.json()["error"]["code"] == "control_plane_unavailable"


def test_request_tags_are_recorded_and_limited(rig: Rig) -> None:
    served = plane(rig, request_tags=True)
    put(served, "tag:prod", rpm=2)
    key = served.key(tags=["prod", "own"], scopes=["tag:prod"])
    with answered(served, {"tag:batch": {"rpm": 1}}):
        body = messages(metadata={"tags": ["batch", "prod"]})
        assert served.ask(body, "x-litellm-tags: red, blue,red", key=key).status == 200
        assert json.loads(served.records()[0]["tags"]) == ["prod", "own", "red", "blue", "batch"]
        assert "Tag=batch" in refusal(served.ask(body, key=key), 429)
        # That the key has the tag and the request names it again is one call of two.
        assert served.ask(messages(metadata={"tags": ["prod"]}), key=key).status == 200
        assert "Tag=prod" in refusal(served.ask(messages(), key=key), 429)
        many = messages(metadata={"tags": [f"t{n}" for n in range(33)]})
        assert served.ask(many, key=key).json()["error"]["param"] == "metadata.tags"


def test_names_in_requests_mean_nothing_where_they_are_not_configured(rig: Rig) -> None:
    served = plane(rig)
    put(served, "customer:alice", blocked=True)
    put(served, "tag:prod", blocked=True)
    key = served.key()
    body = messages(user="alice", metadata={"tags": ["prod"]})
    assert served.ask(body, "x-litellm-tags: prod", key=key).status == 200
    assert served.records()[0]["tags"] == "[]"
