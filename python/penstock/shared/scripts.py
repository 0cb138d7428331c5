"""Lua scripts in Redis: called by digest, loaded when a server does not know them, many of them in one round trip.

Apart from the domains that have scripts because how a script comes to a server, and to each node of a cluster, is the same for
all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from penstock.shared.redis import SharedRedis


class Script(NamedTuple):
    """Make it with :func:`script`."""

    text: str
    digest: str
    """By which a server that knows the text calls it."""


class ScriptCall(NamedTuple):
    """One call. All keys are in one slot of a cluster."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[bytes | str | int]


def script(text: str) -> Script:
    """Of its source."""
    # Redis names scripts by this digest; nothing is protected by it.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


async def load(shared: SharedRedis, scripts: Sequence[Script]) -> None:
    """Have the server know them, so that their first calls are one round trip as all others are. A login that may only call
    scripts loads them with their first calls.

    Raises:
        redis.exceptions.RedisError: the connection failed.
    """
    from redis.exceptions import NoPermissionError

    if shared.is_cluster:
        loading = (shared.client.script_load(each.text) for each in scripts)
        replies = await asyncio.gather(*loading, return_exceptions=True)
    else:
        async with shared.client.pipeline(transaction=False) as pipe:
            for each in scripts:
                pipe.execute_command("SCRIPT", "LOAD", each.text)
            replies = await pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, NoPermissionError):
            raise reply


async def execute(shared: SharedRedis, calls: Sequence[ScriptCall]) -> list[Any]:
    """All of them in one round trip, in order; each answer is the script's, or the error that the server replied.

    Raises:
        redis.exceptions.RedisError: the connection failed; what took effect is unknown.
    """
    from redis.exceptions import NoScriptError

    replies = await _call(shared, calls, [_by_digest(call) for call in calls])
    unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        again = [calls[index] for index in unknown]
        late = await _call(shared, again, _loading(again, everywhere=shared.is_cluster))
        for index, reply in zip(unknown, late, strict=True):
            replies[index] = reply
    return replies


async def _call(shared: SharedRedis, calls: Sequence[ScriptCall], named: list[tuple[str, str]]) -> list[Any]:
    async with shared.client.pipeline(transaction=False) as pipe:
        for call, name in zip(calls, named, strict=True):
            pipe.execute_command(*name, len(call.keys), *call.keys, *call.arguments)
        replies: list[Any] = await pipe.execute(raise_on_error=False)
    return replies


def _by_digest(call: ScriptCall) -> tuple[str, str]:
    return ("EVALSHA", call.script.digest)


def _loading(calls: Sequence[ScriptCall], *, everywhere: bool) -> list[tuple[str, str]]:
    """The text of a script with its first call; ``everywhere``: with all, because each may go to another node."""
    sent: set[str] = set()
    named = []
    for call in calls:
        is_new = everywhere or call.script.digest not in sent
        sent.add(call.script.digest)
        named.append(("EVAL", call.script.text) if is_new else _by_digest(call))
    return named
