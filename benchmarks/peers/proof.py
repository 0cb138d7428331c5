"""A peer does the same work as the others: its answers are the upstream's.

A gateway that drops usage, merges deltas or holds a stream back until it is complete would be
measured against gateways that relay everything; such a peer is reported and not measured.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from benchmarks.scenarios import STREAM_5MS, UNARY
from benchmarks.targets import NotMeasured, Target, chat_url

PACE_KEPT = 0.5
"""Of the time between the upstream's first and last delta, this share at least is kept by a relay that holds nothing back."""


@dataclass(frozen=True)
class Answer:
    """What must be the same."""

    text: str
    finish_reason: str | None
    usage: tuple[int, int, int]
    """Prompt, completion, total."""
    deltas: int = 0
    """With text; 0: not streamed."""


@dataclass(frozen=True)
class Streamed:
    """A streamed answer and how long it took from its first delta to its last, in seconds."""

    answer: Answer
    spread: float


class Unequal(Exception):
    """An answer that is none, or not the upstream's; the message says in what."""


def prove(target: Target, upstream: int) -> None:
    """Compares one unary and one streamed answer of a target with the upstream's.

    Raises:
        NotMeasured: they differ.
    """
    direct = Target("upstream", unary_url=chat_url(upstream), stream_url=chat_url(upstream))
    try:
        found = difference(unary(direct), unary(target)) or difference_streamed(stream(direct), stream(target))
    except (Unequal, OSError, http.client.HTTPException) as e:
        found = str(e)
    if found:
        raise NotMeasured(f"does not answer as the upstream does: {found}")


def difference(expected: Answer, got: Answer) -> str | None:
    """What tells two answers apart."""
    return f"{got}, and the upstream's is {expected}" if got != expected else None


def difference_streamed(expected: Streamed, got: Streamed) -> str | None:
    """The same for streams, which must also come as they are sent."""
    if got.spread < PACE_KEPT * expected.spread:
        return f"all deltas came within {got.spread:.3f} s, and the upstream sends for {expected.spread:.3f} s"
    return difference(expected.answer, got.answer)


def answers(target: Target) -> bool:
    """Whether a unary call succeeds."""
    try:
        unary(target)
    except (Unequal, OSError, http.client.HTTPException):
        return False
    return True


def unary(target: Target) -> Answer:
    """One unary call.

    Raises:
        Unequal: it did not succeed, or the answer lacks something.
        OSError, http.client.HTTPException: there was no answer.
    """
    connection, response = _post(target.unary_url, target, UNARY, {})
    with connection:
        body = _object(response.read())
    try:
        choice = body["choices"][0]
        return Answer(choice["message"]["content"], choice["finish_reason"], _usage(body["usage"]))
    except (KeyError, IndexError, TypeError) as e:
        raise Unequal(f"unary: the answer has no {e}") from e


def stream(target: Target) -> Streamed:
    """One streamed call; raises like :func:`unary`."""
    more = {"stream": True, "stream_options": {"include_usage": True}}
    connection, response = _post(target.stream_url, target, STREAM_5MS, more)
    with connection:
        return read_stream((time.perf_counter(), line) for line in response)


def read_stream(lines: Iterable[tuple[float, bytes]]) -> Streamed:
    """Reads the lines of an event stream, each with the time when it came.

    Raises:
        Unequal: it is not complete.
    """
    pieces: list[str] = []
    times: list[float] = []
    finish: str | None = None
    usage: tuple[int, int, int] | None = None
    done = False
    for when, line in lines:
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or done:
            continue
        if data == b"[DONE]":
            done = True
            continue
        event = _object(data)
        if event.get("usage") is not None:
            usage = _usage(event["usage"])
        for choice in event.get("choices") or []:
            finish = choice.get("finish_reason") or finish
            if piece := (choice.get("delta") or {}).get("content"):
                pieces.append(piece)
                times.append(when)
    if not done:
        raise Unequal("streamed: no [DONE]")
    if usage is None:
        raise Unequal("streamed: no usage")
    if not times:
        raise Unequal("streamed: no delta with text")
    return Streamed(Answer("".join(pieces), finish, usage, len(pieces)), times[-1] - times[0])


class _Closing(http.client.HTTPConnection):
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _post(
    url: str, target: Target, model: str, more: Mapping[str, object]
) -> tuple[_Closing, http.client.HTTPResponse]:
    where = urlsplit(url)
    public = {upstream: name for name, upstream in target.models.items()}
    body = {"model": public.get(model, model), "messages": [{"role": "user", "content": "hello"}], **more}
    connection = _Closing(where.hostname or "", where.port, timeout=15)
    try:
        headers = {"content-type": "application/json", **dict(target.headers)}
        connection.request("POST", where.path, json.dumps(body), headers)
        response = connection.getresponse()
        refused = None if response.status == 200 else response.read(300).decode(errors="replace")
    except BaseException:
        connection.close()
        raise
    if refused is not None:
        connection.close()
        raise Unequal(f"status {response.status}: {refused}")
    return connection, response


def _object(data: bytes) -> dict[str, Any]:
    try:
        read = json.loads(data)
    except ValueError:
        raise Unequal(f"no JSON: {data[:200].decode(errors='replace')}") from None
    if not isinstance(read, dict):
        raise Unequal(f"no JSON object: {data[:200].decode(errors='replace')}")
    return read


def _usage(usage: Mapping[str, int]) -> tuple[int, int, int]:
    try:
        return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]
    except KeyError as e:
        raise Unequal(f"usage has no {e}") from e
