"""The kinds of value that a configuration holds beyond text and numbers, and the base of its sections.

Types here are only names: what they accept is in ``scalars``, which reads a field's type to know.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, NewType, TypeVar

import msgspec

Milliseconds = NewType("Milliseconds", int)
"""Written as a number of seconds (`0.5`, `30`) or with a unit (`500ms`, `30s`, `5m`, `1h`)."""
Lifetime = NewType("Lifetime", int)
"""Milliseconds, a second or more; written in the same ways."""
BaseUrl = NewType("BaseUrl", str)
"""An `http` or `https` address without credentials or fragment; a trailing slash is taken off."""
Cidr = NewType("Cidr", str)
"""An IP address or a block such as `10.0.0.0/8`."""
Count = NewType("Count", int)
"""A whole number from 0 on."""
Positive = NewType("Positive", int)
"""A whole number from 1 to 2147483647."""
Few = NewType("Few", int)
"""A whole number from 0 to 1000: attempts, groups, failures."""
Threads = NewType("Threads", int)
"""1 to 1024."""
Size = NewType("Size", int)
"""1 to 65536 of the unit that the key names."""
Order = NewType("Order", int)
"""-1000000 to 1000000."""
TokenPrice = NewType("TokenPrice", Decimal)
"""Dollars per token, at most 1."""
Dollars = NewType("Dollars", Decimal)
"""At most a million."""
Port = NewType("Port", int)
"""0 to 65535."""
Status = NewType("Status", int)
"""An HTTP status from 400 to 599."""
HeaderPrefix = NewType("HeaderPrefix", str)
"""The beginning of a header name, or all of it; not one that carries a client's credentials or frames a message."""
HostPort = NewType("HostPort", str)
"""`host:port`, an IPv6 address in brackets."""
WebOrigin = NewType("WebOrigin", str)
"""An origin as browsers send it, `https://app.example` with a port where it is not the usual one, or `*` for every page."""


_T = TypeVar("_T")


def first(*values: _T | None) -> _T:
    """What is said in the place that goes before the others; the last is a default."""
    for value in values:
        if value is not None:
            return value
    raise ValueError("a default is missing")


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping of the configuration.

    Strict sections are Penstock's own: a key that they do not know is an error. The others are LiteLLM's:
    an unknown key is a warning, and so is a known one that this version does not use.
    """

    strict: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = frozenset()
    """Keys that LiteLLM knows and this version accepts without effect."""
    parameters: ClassVar[frozenset[str]] = frozenset()
    """Keys that are gathered into the section's `defaults` field instead of having one of their own."""
    internal: ClassVar[frozenset[str]] = frozenset()
    """Fields that the loader fills and no file may set."""
