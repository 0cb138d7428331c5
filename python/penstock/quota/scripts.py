"""The Lua scripts of the limits: read once; requests and answers are msgpack.

Apart from the service because only here the wire's shapes meet Redis.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from penstock.shared import scripts
from penstock.shared.redis import SharedRedis
from penstock.shared.scripts import Script, ScriptCall

Name = Literal["draw", "give_back", "carry", "hold", "spent", "beat"]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class Command(NamedTuple):
    """One script call."""

    name: Name
    keys: list[str]
    request: dict[str, Any]


@cache
def _script(name: Name) -> Script:
    folder = resources.files("penstock.quota") / "lua"
    return scripts.script((folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text())


async def load(shared: SharedRedis) -> None:
    """Have the server know all of them.

    Raises:
        redis.exceptions.RedisError: the connection failed.
    """
    await scripts.load(shared, [_script(name) for name in get_args(Name)])


async def execute(shared: SharedRedis, commands: list[Command]) -> list[Any]:
    """All of them in one round trip, in order; each answer is the script's, or the error that the server replied.

    Raises:
        redis.exceptions.RedisError: the connection failed; what took effect is unknown.
    """
    calls = [
        ScriptCall(_script(command.name), command.keys, [_encoder.encode(command.request)]) for command in commands
    ]
    replies = await scripts.execute(shared, calls)
    return [_decoder.decode(reply) if isinstance(reply, bytes) else reply for reply in replies]
