"""What providers were recorded to answer, over gRPC: nothing of it is lost, and nothing is made up."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from penstock.client import _messages as pb
from penstock.client._json import fill, to_dict
from tests.conformance.replay import chat_requests, messages_wire, openai_wire, recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import Replayer, config
from tests.conftest import Gateway
from tests.integration.grpc import golden
from tests.integration.grpc.calls import Ended, Rpc
from tests.integration.grpc.compare import differences
from tests.integration.grpc.serving import lasting, record_of

_KINDS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
}
_SIMPLE: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "completions": {"prompt": "Hi"},
    "embeddings": {"input": "Hi"},
    "responses": {"input": "Hi"},
}


def _kind(recording: Recording) -> str | None:
    kind = _KINDS.get(openai_wire.asked(recording).path.partition("?")[0])
    return f"{kind} stream" if kind and recording.is_stream else kind


TYPED = [one for one in openai_wire.every() if _kind(one) is not None]
STREAMS = [one for one in TYPED if one.is_stream and one.status < 400]
WHOLE = [one for one in TYPED if not one.is_stream and one.status < 400]
REFUSED = [one for one in TYPED if one.status >= 400]
CLAUDE = messages_wire.every()


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Replayer]:
    """A gateway in front of recordings."""
    gateway = Gateway(tmp_path_factory.mktemp("replay"), simulator_url, config=config())
    made = Replayer(gateway)
    yield made
    made.close()
    gateway.close()


@pytest.fixture(scope="module")
def rpc(replayer: Replayer) -> Iterator[Rpc]:
    """A channel to it."""
    with Rpc(replayer.gateway) as made:
        yield made


class Calls:
    """The same call over both, answered with a recording."""

    def __init__(self, replayer: Replayer, rpc: Rpc, recording: Recording, body: dict[str, Any], kind: str) -> None:
        self.kind = kind
        headers = replayer.put(
            recording.body, recording.content_type, status=recording.status, headers=recording.headers
        )
        tell = {name.removeprefix("x-sim-"): value for name, value in headers.items()}
        body = {name: value for name, value in body.items() if name != "stream"}
        self.rest = golden.rest(rpc.gateway, rpc.key, kind, body, tell)
        self.call: Ended[Any] = rpc.call(golden.ROUTES[kind][1], golden.request_of(kind, body), sim=tell)
        ids = [self.rest.headers["x-penstock-call-id"], self.call.call_id]
        self.records = [lasting(record_of(rpc.gateway, id)) for id in ids]

    def assert_same_books(self) -> None:
        """Both calls cost the same; where the gateway counts itself, but for the order of members in schemas."""
        first, second = self.records
        if first["metadata"]["usage_source"] == "counted":
            assert abs(first["prompt_tokens"] - second["prompt_tokens"]) <= 3
            for name in ("prompt_tokens", "total_tokens"):
                first[name] = second[name] = 0
        assert second == first

    def assert_same_stream(self) -> None:
        """Each event of the one is a message of the other; the first error among them is how the other ended."""
        events = [(name, text, _error(name, text)) for name, text in golden.events(self.rest)]
        at = next((at for at, event in enumerate(events) if event[2] is not None), None)
        error = None if at is None else events[at][2]
        events = events[:at]
        if self.kind.startswith("responses"):
            shown = [(message.event, message.data_json) for message in self.call.answers]
            assert shown == [(name or json.loads(text).get("type", ""), text) for name, text, _ in events]
        else:
            found = [to_dict(message) for message in self.call.answers]
            expected = [json.loads(text) for _, text, _ in events]
            for number, (theirs, ours) in enumerate(zip(expected, found, strict=False)):
                assert differences(theirs, ours, f"chunk {number}") == []
            assert len(found) == len(expected), (found[len(expected) :], expected[len(found) :])
        if error is None:
            assert self.call.code is grpc.StatusCode.OK, self.call
        else:
            assert self.call.code is not grpc.StatusCode.OK
            assert self.call.message == error["message"]
            assert self.call.details.info["source"] in ("upstream", "gateway")


def _error(name: str, text: str) -> dict[str, Any] | None:
    """The error that an event tells, if it tells one."""
    data = json.loads(text)
    error = data.get("error") if isinstance(data, dict) else None
    return error if isinstance(error, dict) and (name == "error" or set(data) == {"error"}) else None


def _is_json(recording: Recording) -> bool:
    try:
        json.loads(recording.body)
    except ValueError:
        return False
    return True


def _fits(recording: Recording) -> bool:
    """Whether the client's rules have a place for every number of an answer."""
    try:
        fill(pb.ChatCreateResponse(), json.loads(recording.body))
    except ValueError:
        return False
    return True


def _body(recording: Recording, kind: str) -> dict[str, Any]:
    model = openai_wire.FOLDERS[recording.provider]
    return {**(recording.request or _SIMPLE[kind.split(" ")[0]]), "model": model}


def _calls(replayer: Replayer, rpc: Rpc, recording: Recording) -> Calls:
    kind = _kind(recording)
    assert kind is not None
    return Calls(replayer, rpc, recording, _body(recording, kind), kind)


@pytest.mark.parametrize("recording", recordings.cases(WHOLE))
def test_a_recorded_answer_is_all_there(replayer: Replayer, rpc: Rpc, recording: Recording) -> None:
    calls = _calls(replayer, rpc, recording)
    if not _is_json(recording):
        # REST passes it on and leaves it to the client.
        assert calls.call.failed == "UNAVAILABLE upstream_protocol_error"
        return
    if openai_wire.is_error_in_disguise(recording):
        # REST passes it on as it came; here it is the status.
        assert calls.call.code is not grpc.StatusCode.OK
        assert calls.call.message == calls.rest.json()["error"]["message"]
        assert [record["metadata"]["outcome"] for record in calls.records] == ["error", "error"]
        assert [record["spend"] for record in calls.records] == [0, 0]
        return
    calls.assert_same_books()
    if calls.kind == "responses":
        assert calls.call.answer.body_json == calls.rest.text
        return
    expected = calls.rest.json()
    for item in expected.get("data") or []:
        if isinstance(item.get("embedding"), str):
            numbers = base64.b64decode(item["embedding"])
            item["embedding"] = list(struct.unpack(f"<{len(numbers) // 4}f", numbers))
    assert differences(expected, to_dict(calls.call.answer)) == []


@pytest.mark.parametrize("recording", recordings.cases(STREAMS))
def test_a_recorded_stream_is_all_there(replayer: Replayer, rpc: Rpc, recording: Recording) -> None:
    calls = _calls(replayer, rpc, recording)
    calls.assert_same_stream()
    calls.assert_same_books()


@pytest.mark.parametrize("recording", recordings.cases([one for one in STREAMS if len(one.body) < 30_000]))
def test_cuts_in_the_provider_s_bytes_do_not_show(replayer: Replayer, rpc: Rpc, recording: Recording) -> None:
    kind = _kind(recording)
    assert kind is not None
    body = {name: value for name, value in _body(recording, kind).items() if name != "stream"}
    request = golden.request_of(kind, body)
    seen = set()
    for cut in recordings.splits(recording.body).values():
        headers = replayer.put(recording.body, recording.content_type, split=cut, headers=recording.headers)
        call: Ended[Any] = rpc.call(golden.ROUTES[kind][1], request, sim={"replay": headers["x-sim-replay"]})
        seen.add((call.code, *(message.SerializeToString(deterministic=True) for message in call.answers)))
    assert len(seen) == 1


@pytest.mark.parametrize("recording", recordings.cases(REFUSED))
def test_a_recorded_refusal_keeps_its_words(replayer: Replayer, rpc: Rpc, recording: Recording) -> None:
    calls = _calls(replayer, rpc, recording)
    calls.assert_same_books()
    assert calls.call.code is not grpc.StatusCode.OK
    assert calls.call.answers == []
    assert calls.call.details.info["status"] == str(recording.status)
    assert calls.call.details.info["source"] == "upstream"
    try:
        error = calls.rest.json()
    except ValueError:
        return
    while isinstance(error, list) and error:
        error = error[0]
    while isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    message = error.get("message") if isinstance(error, dict) else None
    if isinstance(message, str):
        assert calls.call.message == message
        code = error.get("code")
        if isinstance(code, str) and code:
            assert calls.call.details.info["code"] == code


@pytest.mark.parametrize("recording", recordings.cases([one for one in CLAUDE if one.status < 400]))
def test_a_translated_answer_is_what_rest_makes_of_it(replayer: Replayer, rpc: Rpc, recording: Recording) -> None:
    asked = recording.request
    body = chat_requests.to_chat(asked, "claude") if chat_requests.is_expressible(asked) else {**_SIMPLE["chat"]}
    kind = "chat stream" if recording.is_stream else "chat"
    calls = Calls(replayer, rpc, recording, {"max_completion_tokens": 4096, **body, "model": "claude"}, kind)
    calls.assert_same_books()
    if recording.is_stream:
        events = [json.loads(text) for _, text in golden.events(calls.rest)]
        found = [to_dict(message) for message in calls.call.answers]
        created = {message["created"] for message in found}
        assert len(created) <= 1
        assert len(found) == len([event for event in events if "error" not in event])
        for theirs, ours in zip([event for event in events if "error" not in event], found, strict=True):
            assert differences({**theirs, "created": 0}, {**ours, "created": 0}) == []
        assert (calls.call.code is grpc.StatusCode.OK) == ("error" not in events[-1])
        return
    theirs, ours = calls.rest.json(), to_dict(calls.call.answer)
    assert abs(theirs.pop("created") - ours.pop("created")) <= 5
    assert differences(theirs, ours) == []


_CHAT_ANSWERS = [
    one for one in WHOLE if _kind(one) == "chat" and _fits(one) and not openai_wire.is_error_in_disguise(one)
]


@pytest.mark.parametrize("recording", recordings.cases(_CHAT_ANSWERS))
def test_an_answer_is_the_message_that_the_client_s_rules_make(
    replayer: Replayer, rpc: Rpc, recording: Recording
) -> None:
    """The server's transcoder and `penstock.client` agree on which field holds what."""
    calls = _calls(replayer, rpc, recording)
    made = fill(pb.ChatCreateResponse(), calls.rest.json())
    assert to_dict(calls.call.answer) == to_dict(made)
    _assert_same_fields(made, calls.call.answer)


def _assert_same_fields(one: Any, other: Any, path: str = "answer") -> None:
    names = [{field.name for field, _ in message.ListFields()} for message in (one, other)]
    # A null may be left out where unset says the same.
    assert names[0] - {"extra"} == names[1] - {"extra"}, path
    for field, value in one.ListFields():
        if field.message_type and field.name != "extra" and not field.message_type.GetOptions().map_entry:
            again = getattr(other, field.name)
            pairs = [(value, again)] if hasattr(value, "ListFields") else list(zip(value, again, strict=True))
            for at, pair in enumerate(pairs):
                _assert_same_fields(*pair, f"{path}.{field.name}[{at}]")
