"""What a field may be, where the decoder only says that it is none of it.

Apart from the errors because it reads types, and those read messages.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


def choices_at(kind: Any, path: str) -> list[str]:
    """The texts that a value of the type allows at a path such as `members[0].role`; none when it is no choice."""
    found = list(_options(kind))
    for step in _STEP.findall(path):
        found = [inner for one in found for inner in _within(one, step)]
    return [str(choice) for one in found if get_origin(one) is Literal for choice in get_args(one)]


def _options(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        for option in get_args(kind):
            yield from _options(option)
    elif origin is Annotated:
        yield from _options(get_args(kind)[0])
    else:
        yield kind


def _within(kind: Any, step: str) -> Iterator[Any]:
    if step.startswith("["):
        arguments = get_args(kind)
        if get_origin(kind) in (list, dict) and arguments:
            yield from _options(arguments[-1])
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            if field.encode_name == step:
                yield from _options(field.type)
