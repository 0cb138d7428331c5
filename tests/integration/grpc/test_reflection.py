"""Reflection, v1 and v1alpha: a client that has no files learns everything it needs, and then makes calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from penstock.client._proto import chat_pb2
from tests.conftest import Gateway
from tests.integration.grpc.calls import Rpc, dialled
from tests.integration.grpc.frames import Raw, frame
from tests.integration.grpc.protobuf import fields, held, number
from tests.integration.grpc.serving import configured
from tests.stalls import Stopwatch, again_after_a_stall

VERSIONS = ["v1", "v1alpha"]
PENSTOCK = {
    f"penstock.v1.{name}" for name in ("Chat", "Embeddings", "Completions", "Responses", "Models", "Tokens", "Gateway")
}
STANDARD = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
BY_NAME, BY_SYMBOL, BY_EXTENSION, EXTENSIONS, LIST = 3, 4, 5, 6, 7
FILES, NUMBERS, SERVICES, ERROR = 4, 5, 6, 7


class Reflection:
    """One stream of questions, without a key."""

    def __init__(self, rpc: Rpc, version: str) -> None:
        path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        self._call: Any = rpc.channel.stream_stream(path, bytes, bytes)

    def ask(self, *questions: bytes) -> list[dict[int, Any]]:
        """The answers, each as its fields."""
        return [dict(fields(answer)) for answer in self._call(iter(questions), timeout=30)]

    def files(self, question: bytes) -> dict[str, descriptor_pb2.FileDescriptorProto]:
        """The files of an answer, by name."""
        [answer] = self.ask(question)
        assert FILES in answer, answer
        found = [descriptor_pb2.FileDescriptorProto.FromString(bytes(data)) for _, data in fields(answer[FILES])]
        return {file.name: file for file in found}


@pytest.fixture(params=VERSIONS)
def reflection(request: pytest.FixtureRequest, rpc: Rpc) -> Reflection:
    """Each of the two versions."""
    return Reflection(rpc, request.param)


def _services(reflection: Reflection) -> set[str]:
    [answer] = reflection.ask(held(LIST, ""))
    return {bytes(dict(fields(bytes(item)))[1]).decode() for _, item in fields(answer[SERVICES])}


def test_the_services_are_listed(reflection: Reflection) -> None:
    services = _services(reflection)
    assert services >= PENSTOCK | STANDARD
    assert any(name.startswith("xai_api.") for name in services)


def _pool(reflection: Reflection, services: set[str]) -> descriptor_pool.DescriptorPool:
    """All that the services need, fetched as a client does: by symbol, then what is imported by name."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for name in services:
        found |= reflection.files(held(BY_SYMBOL, name))
    while missing := {name for file in found.values() for name in file.dependency if name not in found}:
        for name in missing:
            found |= reflection.files(held(BY_NAME, name))
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(file: descriptor_pb2.FileDescriptorProto) -> None:
        if file.name not in added:
            added.add(file.name)
            for name in file.dependency:
                add(found[name])
            pool.Add(file)

    for file in found.values():
        add(file)
    return pool


def test_every_listed_service_is_described_whole(reflection: Reflection) -> None:
    services = _services(reflection)
    pool = _pool(reflection, services)
    for name in services:
        service = pool.FindServiceByName(name)
        assert service.methods
        for method in service.methods:
            assert method.input_type.full_name
            assert method.output_type.full_name


def test_the_description_is_that_of_the_client(reflection: Reflection) -> None:
    file = reflection.files(held(BY_SYMBOL, "penstock.v1.Chat"))["penstock/v1/chat.proto"]
    own = descriptor_pb2.FileDescriptorProto()
    chat_pb2.DESCRIPTOR.CopyToProto(own)
    assert [(s.name, [m.name for m in s.method]) for s in file.service] == [
        (s.name, [m.name for m in s.method]) for s in own.service
    ]
    assert [m.client_streaming for m in file.service[0].method] == [False, False, True]


@pytest.mark.parametrize(
    "symbol", ["penstock.v1.ChatCreateRequest", "penstock.v1.Chat.Create", "penstock.v1.Usage",
               "penstock.v1.ChatCreateRequest.model", "penstock.v1.GatewayState", "google.protobuf.Struct",
               "penstock.v1.GATEWAY_STATE_READY", "google.protobuf.NULL_VALUE", "google.protobuf.Value.kind"]
)  # fmt: skip
def test_symbols_of_every_kind_are_found(reflection: Reflection, symbol: str) -> None:
    [answer] = reflection.ask(held(BY_SYMBOL, symbol))
    assert FILES in answer, answer


def test_a_call_made_from_nothing_but_reflection(reflection: Reflection, port: Gateway) -> None:
    pool = _pool(reflection, {"penstock.v1.Chat"})
    method = pool.FindServiceByName("penstock.v1.Chat").FindMethodByName("Create")
    ask, answer = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    request: Any = ask()
    request.model = "sim"
    request.max_tokens = 3
    request.messages.add(role="user", text="time")
    with dialled(port) as rpc:
        call: Any = rpc.channel.unary_unary("/penstock.v1.Chat/Create", ask.SerializeToString, answer.FromString)
        made = call(request, metadata=rpc.metadata(), timeout=30)
    assert made.choices[0].message.content == " time river that"


@pytest.mark.parametrize(
    "question",
    [held(BY_SYMBOL, "penstock.v1.Nothing"), held(BY_NAME, "no/such.proto"), held(BY_SYMBOL, ""), held(BY_NAME, "../../etc/passwd"),
     held(BY_EXTENSION, held(1, "penstock.v1.Usage") + number(2, 5)), held(EXTENSIONS, "penstock.v1.Nothing"), b""],
)  # fmt: skip
def test_what_is_not_there_is_answered_with_an_error_and_the_stream_goes_on(
    reflection: Reflection, question: bytes
) -> None:
    first, second = reflection.ask(question, held(LIST, "*"))
    assert ERROR in first, first
    error = dict(fields(first[ERROR]))
    assert error[1] in (
        grpc.StatusCode.NOT_FOUND.value[0],
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        grpc.StatusCode.UNIMPLEMENTED.value[0],
    )
    assert error.get(2)
    assert first.get(2, b"") == question, "the question comes back with its answer"
    assert SERVICES in second


def test_there_are_no_extensions(reflection: Reflection) -> None:
    [answer] = reflection.ask(held(EXTENSIONS, "penstock.v1.Usage"))
    if NUMBERS in answer:
        assert fields(answer[NUMBERS])[0] == (1, b"penstock.v1.Usage")
    else:
        assert ERROR in answer


def test_many_questions_on_one_stream(reflection: Reflection) -> None:
    def questions() -> Iterator[bytes]:
        for _ in range(100):
            yield held(BY_NAME, "penstock/v1/common.proto")
            yield held(LIST, "")

    answers = reflection.ask(*questions())
    assert [FILES in answer for answer in answers] == [True, False] * 100


@pytest.mark.timeout(400)
@again_after_a_stall(0.5)
def test_a_stream_without_questions_ends(start: Callable[..., Gateway]) -> None:
    """Without a key a stream is not to keep its connection for ever; each question gives it more time."""
    gateway = start(config=configured("{idle_timeout: 1500ms}"))
    with Raw(gateway) as raw:
        asked = raw.begin("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", end=False, key="")
        watch = Stopwatch()
        for _ in range(3):
            time.sleep(0.6)
            raw.write(asked, frame(held(LIST, "")), end=False)
        reply = raw.end(asked)
        assert watch.seconds > 3
        assert watch.ran_s < 7
    assert reply.status == 0
    assert len(reply.messages) == 3


def test_bytes_that_are_no_question_end_the_stream(rpc: Rpc) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        Reflection(rpc, "v1").ask(b"\xff\xff\xff")
    error: Any = failed.value
    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
