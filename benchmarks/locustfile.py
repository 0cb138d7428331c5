"""Users of a gateway's OpenAI REST API for Locust: unary and streamed chat completions.

    locust -f benchmarks/locustfile.py --headless --users 50 --spawn-rate 50 --run-time 30s --only-summary \\
        --host http://127.0.0.1:4000 --key sk-... --model demo UnaryUser StreamUser

Without a user class both kinds run side by side; ``--help`` lists the options, and ``LOCUST_KEY``
spares the key from the process list. Locust exits with 1 when a request failed.

Entries in the statistics, each with the model as its name:

| type | what its times are |
|---|---|
| ``unary`` | from the request to the whole answer |
| ``stream`` | from the request to the stream's end |
| ``TTFT`` | from the request to the first delta with content |
| ``gap`` | from one such delta to the next |

A request begins before it is sent, connecting included. Locust's totals count all four kinds.

An answer counts as a success when it is complete: JSON with choices and usage, or a stream with a
finish reason, usage and ``[DONE]``, and as many deltas as ``--deltas`` says. Locust's times are
milliseconds as one Python process sees them, which serves many users in turns: this is for load and
its failures as clients see them, and ``penstock bench`` for microseconds.

The file stands alone, because Locust loads it by its path and patches the standard library when it
is imported. What is asked and what is checked (:class:`Reading`, :func:`unary_fault`) knows nothing
of HTTP, so that users of another surface can share it.
"""

from __future__ import annotations

import itertools
import json
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment
from locust.exception import StopTest

PATH = "/v1/chat/completions"
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


def chat(options: Namespace, model: str, *, stream: bool) -> dict[str, object]:
    """The body of one request."""
    repeats = options.prompt_bytes // len(WORDS) + 1
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": " ".join([WORDS] * repeats)[: max(1, options.prompt_bytes)]}],
    }
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

    def report(self, kind: str, model: str, seconds: float) -> None:
        """A measurement that is no request, as an entry of its own."""
        self.environment.events.request.fire(
            request_type=kind,
            name=model,
            response_time=seconds * MILLISECONDS,
            response_length=0,
            exception=None,
            context={},
        )


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
        if reading.first is not None:
            self.report("TTFT", model, reading.first - reading.sent)
        for gap in reading.gaps:
            self.report("gap", model, gap)


def failed_status(answer: Any) -> str:
    """A name for an answer that is no success: its status and the error's code or type."""
    if not answer.status_code:
        return f"no answer: {type(answer.error).__name__}"
    error = (parse(answer.content or b"") or {}).get("error")
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return f"status {answer.status_code}" + (f" ({code})" if code else "")
