"""The Lua scripts: what is asked of Redis, and how its answers read.

Apart from the service because here the names and layouts are decided, which a later release must know. A request has one
key, so that each script runs in one slot of a cluster: `penstock:{id}:idempotency:1`. The number is that of the layout: another
one has other keys, and neither sees what the other wrote.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Literal

from penstock.idempotency.models import Answered, Claim, Release
from penstock.shared import scripts
from penstock.shared.redis import SharedRedis
from penstock.shared.scripts import Script, ScriptCall

INLINE_BYTES = 16 * 1024
"""A larger answer does not come with the reply to a claim, whose time is for a short one, but is fetched."""


@cache
def _script(name: Literal["claim", "answered", "release"]) -> Script:
    return scripts.script((resources.files("penstock.idempotency") / "lua" / f"{name}.lua").read_text())


def key(id: str) -> str:
    """Of a request."""
    return SharedRedis.key("idempotency", "1", tag=id)


def claim(asked: Claim) -> ScriptCall:
    """Answers `[verdict]`, for an answer `[verdict, bytes]` or `[verdict, bytes, answer]`."""
    return ScriptCall(_script("claim"), [key(asked.id)], [asked.request, asked.owner, asked.ttl_ms, INLINE_BYTES])


def answered(end: Answered, sealed: bytes) -> ScriptCall:
    """Answers 1, or 0 when another has the request."""
    state = "answered" if end.is_kept else "not_kept"
    return ScriptCall(_script("answered"), [key(end.id)], [end.request, end.owner, state, end.keep_ms, sealed])


def release(end: Release) -> ScriptCall:
    """Answers 1, or 0 when there was nothing of this owner."""
    return ScriptCall(_script("release"), [key(end.id)], [end.owner])


async def fetch(shared: SharedRedis, id: str) -> bytes | None:
    """A large answer; None: it has gone meanwhile."""
    answer: bytes | None = await shared.client.hget(key(id), "answer")
    return answer


def verdict(reply: list[Any]) -> tuple[str, int, bytes | None]:
    """Of the reply to a claim: the verdict, the answer's length, and the answer if it came along."""
    word = reply[0].decode()
    return word, reply[1] if len(reply) > 1 else 0, reply[2] if len(reply) > 2 else None
