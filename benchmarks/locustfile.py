"""Users of a gateway for Locust: unary and streamed chat completions, over REST and over gRPC.

    locust -f benchmarks/locustfile.py --headless --users 50 --spawn-rate 50 --run-time 30s --only-summary \\
        --host http://127.0.0.1:4000 --key sk-... --model demo UnaryUser StreamUser

    locust -f benchmarks/locustfile.py --headless --users 50 --spawn-rate 50 --run-time 30s --only-summary \\
        --host grpc://127.0.0.1:4000 --key sk-... --model demo GrpcUnaryUser GrpcStreamUser

Without a user class those run side by side that the host's scheme says: REST for ``http(s)://``,
gRPC for ``grpc(s)://``. With classes of both, all of them go to the same host and port, which the
gateway serves both on. ``--help`` lists the options, and ``LOCUST_KEY`` spares the key from the
process list. Locust exits with 1 when a request failed.

Entries in the statistics, each with the model as its name, and with ``grpc-`` before its type over
gRPC:

| type | what its times are |
|---|---|
| ``unary`` | from the request to the whole answer |
| ``stream`` | from the request to the stream's end |
| ``TTFT`` | from the request to the first delta with content |
| ``gap`` | from one such delta to the next |

A request begins before it is sent, connecting included. Locust's totals count all kinds. Each user
has a connection of its own.

An answer counts as a success when it is complete: choices and usage, or a stream with a finish
reason, usage and ``[DONE]`` (over gRPC: the status ``OK``), and as many deltas as ``--deltas`` says.
Over gRPC ``--answer-timeout`` is the deadline of the whole call. Locust's times are
milliseconds as one Python process sees them, which serves many users in turns: this is for load and
its failures as clients see them, and ``penstock bench`` for microseconds.

The file stands alone, because Locust loads it by its path and patches the standard library when it
is imported. What is checked of a stream (:class:`Reading`) knows nothing of HTTP, so that both kinds of
users share it. Users over gRPC need ``penstock[client]``, which is imported when there are any.
"""

from __future__ import annotations

import importlib
import itertools
import json
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from locust import FastHttpUser, User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment
from locust.exception import CatchResponseError, StopTest

PATH = "/v1/chat/completions"
CREATE, STREAM = "/penstock.v1.Chat/Create", "/penstock.v1.Chat/Stream"
PLAIN, SECURE = ("http", "grpc"), ("https", "grpcs")
WORDS = "time river that this with from have your will more they function their part else over"
MILLISECONDS = 1e3


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """The options of this file."""
    parser.add_argument("--key", env_var="LOCUST_KEY", default="", is_secret=True, help="bearer token; empty: none")
    parser.add_argument(
        "--model", env_var="LOCUST_MODEL", default="demo", help="model; several, separated by blanks, are taken in turn"
    )
    parser.add_argument("--prompt-bytes", type=int, default=300, help="size of the user's message")
    parser.add_argument("--max-tokens", type=int, default=64, help="max_tokens of each request; 0: not sent")
    parser.add_argument("--deltas", type=int, default=0, help="deltas that a stream must have; 0: any number")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds a user waits between two requests")
    parser.add_argument(
        "--answer-timeout", type=float, default=60.0, help="seconds without a byte before a request fails"
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def check_options(environment: Environment, **_: Any) -> None:
    """Refuses what no request can be made from."""
    options = environment.parsed_options
    if options is None:
        return
    if not options.model.split():
        raise SystemExit("--model: name at least one model")
    for name in ("prompt_bytes", "max_tokens", "deltas", "pause", "answer_timeout"):
        if getattr(options, name) < 0:
            raise SystemExit(f"--{name.replace('_', '-')}: must not be negative")
    if not options.user_classes:
        wanted = GrpcUser if (environment.host or "").startswith("grpc") else ChatUser
        environment.user_classes[:] = [user for user in environment.user_classes if issubclass(user, wanted)]
    if any(issubclass(user, GrpcUser) for user in environment.user_classes):
        use_grpc(environment.host or "")


def use_grpc(host: str) -> None:
    """Makes gRPC's library wait as Locust does. Not where there are no users of it, who would pay for it."""
    try:
        import grpc.experimental.gevent

        importlib.import_module("penstock.client")
    except ImportError as e:
        raise SystemExit(
            f"{e.name} is not installed, which users over gRPC need: pip install 'penstock[client]'"
        ) from e
    scheme, _, address = host.partition("://")
    if scheme not in PLAIN + SECURE or not address.strip("/") or "/" in address.strip("/"):
        raise SystemExit("--host: users over gRPC need grpc://host:port, or grpcs://host:port for TLS")
    grpc.experimental.gevent.init_gevent()


def text(options: Namespace) -> str:
    """What the user says."""
    repeats = options.prompt_bytes // len(WORDS) + 1
    return " ".join([WORDS] * repeats)[: max(1, options.prompt_bytes)]


def chat(options: Namespace, model: str, *, stream: bool) -> dict[str, object]:
    """The body of one request."""
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": text(options)}]}
    if options.max_tokens:
        body["max_tokens"] = options.max_tokens
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def parse(data: bytes) -> dict[str, Any] | None:
    """A JSON object; None when it is none."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def unary_fault(body: bytes) -> str | None:
    """What a unary answer lacks."""
    answer = parse(body)
    if answer is None:
        return "answer is no JSON object"
    if not answer.get("choices"):
        return "no choices"
    return None if answer.get("usage") else "no usage"


class Reading:
    """One streamed answer as it comes: the times of its deltas, and what it still lacks."""

    def __init__(self, sent: float) -> None:
        self.sent = sent
        """When the request was sent, by :func:`time.perf_counter`."""
        self.first: float | None = None
        self.last = sent
        self.gaps: list[float] = []
        """Seconds between neighbouring deltas."""
        self.deltas = 0
        self.finished = self.usage = self.done = False
        self.fault: str | None = None

    def take(self, data: bytes, now: float) -> None:
        """The data of one event, and when it was read."""
        if self.done:
            self._fail("event after [DONE]")
            return
        if data == b"[DONE]":
            self.done = True
            return
        event = parse(data)
        if event is None:
            self._fail("event is no JSON object")
            return
        if "error" in event:
            self._fail("error event")
            return
        self.usage = self.usage or bool(event.get("usage"))
        for choice in event.get("choices") or ():
            self.finished = self.finished or choice.get("finish_reason") is not None
            if (choice.get("delta") or {}).get("content"):
                self._delta(now)

    def take_chunk(self, chunk: Any, now: float) -> None:
        """A message of a stream over gRPC, and when it was read."""
        self.usage = self.usage or chunk.HasField("usage")
        for choice in chunk.choices:
            self.finished = self.finished or choice.HasField("finish_reason")
            if choice.delta.content:
                self._delta(now)

    def _delta(self, now: float) -> None:
        if self.first is None:
            self.first = now
        else:
            self.gaps.append(now - self.last)
        self.last = now
        self.deltas += 1

    def _fail(self, fault: str) -> None:
        self.fault = self.fault or fault

    def verdict(self, deltas: int) -> str | None:
        """What is wrong with the whole; ``deltas``: how many there must be, 0 for any number."""
        if self.fault:
            return self.fault
        if not self.done:
            return "no [DONE]"
        if self.first is None:
            return "no delta with content"
        if deltas and self.deltas != deltas:
            return f"{self.deltas} deltas instead of {deltas}"
        if not self.finished:
            return "no finish_reason"
        return None if self.usage else "no usage"


def events_of(stream: Any) -> Iterator[bytes]:
    """The data of each server-sent event, as soon as its line has arrived.

    Line by line: asked for a number of bytes, the client would wait until it has them all, and the
    first delta would seem to come with the last.
    """
    while line := stream.readline(b"\n"):
        if line.startswith(b"data:"):
            yield bytes(line[5:].strip())


def report(
    environment: Environment, kind: str, model: str, seconds: float, length: int = 0, fault: str | None = None
) -> None:
    """A measurement that Locust does not take itself, as an entry of its own."""
    listeners: Any = environment.events.request
    listeners.fire(
        request_type=kind,
        name=model,
        response_time=seconds * MILLISECONDS,
        response_length=length,
        exception=None if fault is None else CatchResponseError(fault),
        context={},
    )


def report_times(environment: Environment, reading: Reading, model: str, prefix: str = "") -> None:
    """When the deltas of a stream came."""
    if reading.first is not None:
        report(environment, f"{prefix}TTFT", model, reading.first - reading.sent)
    for gap in reading.gaps:
        report(environment, f"{prefix}gap", model, gap)


class ChatUser(FastHttpUser):
    """What every user of the REST API has: options, header fields, its turn among the models."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        if environment.parsed_options is None:
            raise StopTest("run by the locust command: its options are needed")
        self.options = environment.parsed_options
        self.network_timeout = self.connection_timeout = self.options.answer_timeout
        super().__init__(environment)
        self.headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.options.key:
            self.headers["Authorization"] = f"Bearer {self.options.key}"
        self.models = itertools.cycle(self.options.model.split())

    def wait_time(self) -> float:
        """Seconds between two requests."""
        return constant(self.options.pause)(self)


class UnaryUser(ChatUser):
    """Asks for whole answers."""

    @task
    def ask(self) -> None:
        """One request."""
        model = next(self.models)
        body = json.dumps(chat(self.options, model, stream=False))
        with self.client.post(PATH, body, name=model, headers=self.headers, catch_response=True) as answer:
            answer.request_meta["request_type"] = "unary"
            if answer.status_code != 200:
                answer.failure(failed_status(answer))
            elif broken := answer.request_meta["exception"]:
                answer.failure(f"broken off: {type(broken).__name__}")
            elif fault := unary_fault(answer.content or b""):
                answer.failure(fault)


class StreamUser(ChatUser):
    """Asks for streamed answers."""

    @task
    def ask(self) -> None:
        """One stream, read to its end."""
        model = next(self.models)
        body = json.dumps(chat(self.options, model, stream=True))
        reading = Reading(time.perf_counter())
        with self.client.post(PATH, body, name=model, headers=self.headers, catch_response=True, stream=True) as answer:
            answer.request_meta["request_type"] = "stream"
            if answer.status_code != 200:
                answer.failure(failed_status(answer))
                return
            try:
                for data in events_of(answer.stream):
                    reading.take(data, time.perf_counter())
                fault = reading.verdict(self.options.deltas)
            except FAILURE_EXCEPTIONS as e:
                fault = f"broken off: {type(e).__name__}"
            # Locust's own time ends with the response head.
            answer.request_meta["response_time"] = (time.perf_counter() - reading.sent) * MILLISECONDS
            answer.request_meta["response_length"] = reading.deltas
            if fault:
                answer.failure(fault)
        report_times(self.environment, reading, model)


def failed_status(answer: Any) -> str:
    """A name for an answer that is no success: its status and the error's code or type."""
    if not answer.status_code:
        return f"no answer: {type(answer.error).__name__}"
    error = (parse(answer.content or b"") or {}).get("error")
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return f"status {answer.status_code}" + (f" ({code})" if code else "")


class GrpcUser(User):
    """What every user over gRPC has: options, a connection, metadata, its turn among the models."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        import grpc

        from penstock.client import ChatCreateRequest, ChatCreateResponse, ChatMessage, ChatStreamResponse

        if environment.parsed_options is None:
            raise StopTest("run by the locust command: its options are needed")
        super().__init__(environment)
        self.options = environment.parsed_options
        self.failed = grpc.RpcError
        scheme, _, address = (self.host or environment.host or "").partition("://")
        # Channels to one address share connections otherwise.
        own = [("grpc.use_local_subchannel_pool", 1)]
        if scheme in SECURE:
            self.channel = grpc.secure_channel(address.strip("/"), grpc.ssl_channel_credentials(), own)
        else:
            self.channel = grpc.insecure_channel(address.strip("/"), own)
        encode = ChatCreateRequest.SerializeToString
        self.create = self.channel.unary_unary(CREATE, encode, ChatCreateResponse.FromString)
        self.stream = self.channel.unary_stream(STREAM, encode, ChatStreamResponse.FromString)
        key = self.options.key
        self.terms: dict[str, Any] = {
            "timeout": self.options.answer_timeout,
            "metadata": (("authorization", f"Bearer {key}"),) if key else (),
        }
        said = ChatMessage(role="user", text=text(self.options))
        tokens = self.options.max_tokens or None
        self.requests = itertools.cycle(
            [ChatCreateRequest(model=model, messages=[said], max_tokens=tokens) for model in self.options.model.split()]
        )

    def wait_time(self) -> float:
        """Seconds between two calls."""
        return constant(self.options.pause)(self)

    def on_stop(self) -> None:
        """Closes the connection."""
        self.channel.close()


class GrpcUnaryUser(GrpcUser):
    """Asks for whole answers over gRPC."""

    @task
    def ask(self) -> None:
        """One call."""
        request = next(self.requests)
        sent, fault, length = time.perf_counter(), None, 0
        try:
            answer = self.create(request, **self.terms)
            length = answer.ByteSize()
            if not answer.choices:
                fault = "no choices"
            elif not answer.HasField("usage"):
                fault = "no usage"
        except self.failed as e:
            fault = failed_call(e)
        report(self.environment, "grpc-unary", request.model, time.perf_counter() - sent, length, fault)


class GrpcStreamUser(GrpcUser):
    """Asks for streamed answers over gRPC."""

    @task
    def ask(self) -> None:
        """One stream, read to its end."""
        request = next(self.requests)
        request.stream_options.include_usage = True
        reading = Reading(time.perf_counter())
        try:
            for chunk in self.stream(request, **self.terms):
                reading.take_chunk(chunk, time.perf_counter())
            reading.done = True
            fault = reading.verdict(self.options.deltas)
        except self.failed as e:
            fault = failed_call(e)
        seconds = time.perf_counter() - reading.sent
        report(self.environment, "grpc-stream", request.model, seconds, reading.deltas, fault)
        report_times(self.environment, reading, request.model, "grpc-")


def failed_call(error: Any) -> str:
    """A name for a call that is no success: its status."""
    return f"status {error.code().name}"
