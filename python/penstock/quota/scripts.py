"""The Lua scripts: read once, called by digest, loaded when a server does not know them.

Apart from the service because only here the wire's shapes meet Redis: requests and answers are msgpack.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

import msgspec

from penstock.shared.redis import SharedRedis

Name = Literal["draw", "give_back", "carry", "hold", "spent", "beat"]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class Command(NamedTuple):
    """One script call."""

    name: Name
    keys: list[str]
    request: dict[str, Any]


class _Script(NamedTuple):
    text: str
    digest: str


@cache
def _script(name: Name) -> _Script:
    folder = resources.files("penstock.quota") / "lua"
    text = (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()
    # Redis names scripts by this digest; nothing is protected by it.
    return _Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


async def execute(shared: SharedRedis, commands: list[Command]) -> list[Any]:
    """All of them in one round trip, in order; each answer is the script's, or the error that the server replied.

    Raises:
        redis.exceptions.RedisError: the connection failed; what took effect is unknown.
    """
    from redis.exceptions import NoScriptError

    replies = await _call(shared, commands, [_digest_call(command) for command in commands])
    unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        again = [commands[index] for index in unknown]
        late = await _call(shared, again, _loading_calls(again, everywhere=shared.is_cluster))
        for index, reply in zip(unknown, late, strict=True):
            replies[index] = reply
    return [_decoder.decode(reply) if isinstance(reply, bytes) else reply for reply in replies]


async def _call(shared: SharedRedis, commands: list[Command], calls: list[tuple[Any, ...]]) -> list[Any]:
    async with shared.client.pipeline(transaction=False) as pipe:
        for command, call in zip(commands, calls, strict=True):
            pipe.execute_command(*call, len(command.keys), *command.keys, _encoder.encode(command.request))
        replies: list[Any] = await pipe.execute(raise_on_error=False)
    return replies


def _digest_call(command: Command) -> tuple[Any, ...]:
    return ("EVALSHA", _script(command.name).digest)


def _loading_calls(commands: list[Command], *, everywhere: bool) -> list[tuple[Any, ...]]:
    """The text of a script with its first call; ``everywhere``: with all, because each may go to another node."""
    sent: set[Name] = set()
    calls = []
    for command in commands:
        is_new = everywhere or command.name not in sent
        sent.add(command.name)
        calls.append(("EVAL", _script(command.name).text) if is_new else _digest_call(command))
    return calls
