"""Calls over gRPC as a client without helpers sees them: every message, all metadata, and how the call ended.

Apart from `penstock.client`, whose retries and error classes would stand between a test and the server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from penstock.client import _calls as methods
from penstock.client._calls import Method
from tests.conftest import Gateway

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
Metadata = Sequence[tuple[str, str | bytes]]

CHAT = {"role": "user", "content": "time river that"}
STREAMING = frozenset({methods.CHAT_STREAM.path, methods.COMPLETIONS_STREAM.path, methods.RESPONSES_STREAM.path})
OPTIONS: dict[str, Any] = {
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
    "grpc.max_receive_message_length": 128 << 20,
    "grpc.max_send_message_length": 256 << 20,
    # Channels to one address share connections otherwise, and tests would meet in them.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 50,
}
UNAIDED: dict[str, Any] = {"max_retries": 0, "channel_options": {"grpc.enable_retries": 1}}
"""Makes a `penstock.client` try nothing again, so that a call which a gateway loses is seen. gRPC does by itself, for what no
server has begun: calls that were put on a connection as it was told to go, and that its last GOAWAY does not count."""


def address(gateway: Gateway) -> str:
    """Host and port."""
    return gateway.url.partition("://")[2]


@dataclass
class Details:
    """`grpc-status-details-bin`, by kind of detail."""

    code: int = 0
    message: str = ""
    info: dict[str, str] = field(default_factory=dict)
    """`ErrorInfo.metadata`."""
    reason: str = ""
    domain: str = ""
    retry_s: float | None = None
    quota: list[tuple[str, str]] = field(default_factory=list)
    """Subject and description of each violation."""
    fields: list[tuple[str, str]] = field(default_factory=list)
    """Field and description of each violation of a `BadRequest`."""
    kinds: list[str] = field(default_factory=list)
    """Names of the details' messages, in order."""

    @classmethod
    def read(cls, binary: bytes) -> Details:
        """Fails on details of unknown kinds."""
        status = status_pb2.Status.FromString(binary)
        found = cls(status.code, status.message)
        known = {
            kind.DESCRIPTOR.full_name: kind
            for kind in (
                error_details_pb2.ErrorInfo,
                error_details_pb2.RetryInfo,
                error_details_pb2.QuotaFailure,
                error_details_pb2.BadRequest,
            )
        }
        for held in status.details:
            prefix, _, name = held.type_url.rpartition("/")
            assert prefix == "type.googleapis.com", held.type_url
            found.kinds.append(name.removeprefix("google.rpc."))
            detail: Any = known[name].FromString(held.value)
            match found.kinds[-1]:
                case "ErrorInfo":
                    found.info, found.reason, found.domain = dict(detail.metadata), detail.reason, detail.domain
                case "RetryInfo":
                    found.retry_s = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9
                case "QuotaFailure":
                    found.quota = [(one.subject, one.description) for one in detail.violations]
                case "BadRequest":
                    found.fields = [(one.field, one.description) for one in detail.field_violations]
        return found


@dataclass
class Ended(Generic[Answer]):
    """A call that is over."""

    code: grpc.StatusCode
    message: str
    answers: list[Answer]
    initial: dict[str, str]
    trailing: dict[str, str]
    details: Details

    @property
    def metadata(self) -> dict[str, str]:
        """Initial and trailing."""
        return {**self.initial, **self.trailing}

    @property
    def call_id(self) -> str:
        """In the gateway's records."""
        return self.metadata["x-penstock-call-id"]

    @property
    def answer(self) -> Answer:
        """The one answer of a call that went well."""
        assert (self.code, len(self.answers)) == (grpc.StatusCode.OK, 1), self
        return self.answers[0]

    @property
    def ok(self) -> list[Answer]:
        """The answers of a call that went well."""
        assert self.code is grpc.StatusCode.OK, self
        return self.answers

    @property
    def failed(self) -> str:
        """Status and Penstock's code of a call that did not."""
        assert self.code is not grpc.StatusCode.OK, self
        return f"{self.code.name} {self.details.info.get('code')}"


def told(sim: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What the simulator is told, as metadata."""
    return [(f"x-sim-{name}", str(value)) for name, value in (sim or {}).items()]


def ended(call: Any, answers: Sequence[Answer] = ()) -> Ended[Answer]:
    """What a finished call of grpcio knows."""
    trailing = tuple(call.trailing_metadata() or ())
    binary = next((value for name, value in trailing if name == "grpc-status-details-bin"), b"")
    return Ended(
        call.code(),
        call.details() or "",
        list(answers),
        {name: value for name, value in call.initial_metadata() or () if isinstance(value, str)},
        {name: value for name, value in trailing if isinstance(value, str)},
        Details.read(binary),
    )


class Rpc:
    """A channel to a gateway with a key."""

    def __init__(self, gateway: Gateway, key: str | None = None, **options: Any) -> None:
        self.gateway = gateway
        self.key = gateway.admin_key if key is None else key
        named = {f"grpc.{name}": value for name, value in options.items()}
        self.channel = grpc.insecure_channel(address(gateway), options=list({**OPTIONS, **named}.items()))

    def metadata(
        self, sim: Mapping[str, Any] | None = None, more: Metadata = (), key: str | None = None
    ) -> list[tuple[str, str | bytes]]:
        """Of a call; an empty key sends none."""
        key = self.key if key is None else key
        return [*([("authorization", f"Bearer {key}")] if key else []), *told(sim), *more]

    def begin(
        self,
        method: Method[Request, Answer],
        request: Request,
        *,
        sim: Mapping[str, Any] | None = None,
        metadata: Metadata = (),
        key: str | None = None,
        timeout: float | None = 30,
        compression: grpc.Compression | None = None,
    ) -> Any:
        """A call under way: a future, for streamed methods an iterator too."""
        given: dict[str, Any] = {
            "timeout": timeout,
            "metadata": self.metadata(sim, metadata, key),
            "compression": compression,
        }
        if method.path in STREAMING:
            return self.channel.unary_stream(method.path, method.encode, method.decode)(request, **given)
        return self.channel.unary_unary(method.path, method.encode, method.decode).future(request, **given)

    def call(self, method: Method[Request, Answer], request: Request, **options: Any) -> Ended[Answer]:
        """A call to its end; the options of :meth:`begin`."""
        call = self.begin(method, request, **options)
        answers: list[Answer] = []
        with contextlib.suppress(grpc.RpcError):
            if method.path in STREAMING:
                answers.extend(call)
            else:
                answers.append(call.result())
        return ended(call, answers)

    def close(self) -> None:
        """Cancels what is in flight."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def words(chunks: Iterable[Any]) -> str:
    """The text of a streamed chat answer."""
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


@contextlib.contextmanager
def dialled(gateway: Gateway, key: str | None = None, **options: Any) -> Iterator[Rpc]:
    """A channel for a block."""
    with Rpc(gateway, key, **options) as rpc:
        yield rpc
