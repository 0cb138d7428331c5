"""What a single value means, given the type that the schema wants: text in, value or complaint out.

Apart from the binder because this is all of YAML's and LiteLLM's laxness in one place: numbers in quotes are
numbers, `1e-6` is one too, and a number is taken as text where text is wanted. Complaints never quote the value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from penstock.config import values
from penstock.config.secret import Secret
from penstock.providers.address import AddressError, checked


class Unfit(Exception):
    """The value does not fit; the message says what would."""


_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[-+]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,3})?")
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h)?")
_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_HOST_PORT: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_LONGEST_MS: Final = 366 * 24 * 3_600_000
_NEVER_FORWARDED: Final = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "ocp-apim-subscription-key",
    "cookie",
    "proxy-authorization",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "expect",
    "forwarded",
    "x-forwarded-",
)


def is_null(text: str, *, plain: bool) -> bool:
    """Whether a value is YAML's null."""
    return plain and text in _NULL


def integer(text: str) -> int:
    """A whole number of at most 18 digits."""
    if not _INTEGER.fullmatch(text):
        raise Unfit("must be a whole number")
    return int(text)


def decimal(text: str) -> Decimal:
    """A number, exactly as it is written."""
    if not _NUMBER.fullmatch(text):
        raise Unfit("must be a number")
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise Unfit("must be a number") from error
    if number < 0:
        raise Unfit("must not be negative")
    if number > 10**12:
        raise Unfit("must not be larger than 1e12")
    return number


def boolean(text: str) -> bool:
    """true or false, in YAML's spellings."""
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Unfit("must be true or false")


def milliseconds(text: str) -> int:
    """Seconds, or a number with a unit."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Unfit("must be a number of seconds or a duration such as 500ms, 30s, 5m or 1h")
    length = Decimal(match.group(1)) * _UNITS[match.group(2) or "s"]
    if length > _LONGEST_MS:
        raise Unfit("must not be longer than a year")
    if 0 < length < 1:
        raise Unfit("must be at least 1ms (or 0)")
    return int(length)


def lifetime(text: str) -> int:
    """A duration of a second or more."""
    length = milliseconds(text)
    if length < _UNITS["s"]:
        raise Unfit("must be at least 1s")
    return length


def base_url(text: str) -> str:
    """An address of a provider (`penstock.providers.address`)."""
    try:
        return checked(text)
    except AddressError as error:
        raise Unfit(str(error)) from error


def cidr(text: str) -> str:
    """An address or block, in its canonical form."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise Unfit("must be an IP address or a block such as 10.0.0.0/8") from error


def header_prefix(text: str) -> str:
    """A header name or its beginning, lower case."""
    name = text.lower()
    if not re.fullmatch(r"[a-z0-9-]{2,64}", name):
        raise Unfit("must be a header name or its beginning, at least two characters")
    if any(name.startswith(banned) or banned.startswith(name) for banned in _NEVER_FORWARDED):
        raise Unfit(
            "covers a header that carries a client's credentials or frames the message, which is never forwarded"
        )
    return name


def host_port(text: str) -> str:
    """A host and its port."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match.group(2)) > 65_535:
        raise Unfit("must be host:port, such as redis-1.example:6379 or [::1]:6379")
    return text


def web_origin(text: str) -> str:
    """An origin, lower case and without the slash that people like to add."""
    origin = text.lower().rstrip("/")
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise Unfit("must be an origin such as https://app.example or http://localhost:8080, without a path, or *")
    return origin


def text(value: str) -> str:
    """Anything is text."""
    if "\0" in value:
        raise Unfit("must not hold a NUL character")
    return value


def secret(value: str) -> Secret:
    """Text that is not shown."""
    return Secret(text(value))


def _between(low: int, high: int, rule: str) -> Callable[[str], int]:
    def read(value: str) -> int:
        number = integer(value)
        if not low <= number <= high:
            raise Unfit(rule)
        return number

    return read


def _at_most(limit: int, rule: str) -> Callable[[str], Decimal]:
    def read(value: str) -> Decimal:
        number = decimal(value)
        if number > limit:
            raise Unfit(rule)
        return number

    return read


READERS: Final[Mapping[Any, Callable[[str], object]]] = {
    str: text,
    int: integer,
    bool: boolean,
    Decimal: decimal,
    Secret: secret,
    values.Milliseconds: milliseconds,
    values.Lifetime: lifetime,
    values.BaseUrl: base_url,
    values.Cidr: cidr,
    values.HeaderPrefix: header_prefix,
    values.HostPort: host_port,
    values.WebOrigin: web_origin,
    values.Count: _between(0, 2**53, "must be a whole number of at least 0"),
    values.Positive: _between(1, 2**31 - 1, "must be a whole number from 1 to 2147483647"),
    values.Few: _between(0, 1000, "must be a whole number from 0 to 1000"),
    values.Threads: _between(1, 1024, "must be a whole number from 1 to 1024"),
    values.Size: _between(1, 65_536, "must be a whole number from 1 to 65536"),
    values.Order: _between(-(10**6), 10**6, "must be a whole number from -1000000 to 1000000"),
    values.TokenPrice: _at_most(1, "must be a price in dollars per token, at most 1"),
    values.Dollars: _at_most(10**6, "must be an amount in dollars, at most 1000000"),
    values.Port: _between(0, 65_535, "must be a port number, 0 to 65535"),
    values.Status: _between(400, 599, "must be an HTTP status from 400 to 599"),
}
"""How each scalar type of the schema is read; each may raise :class:`Unfit`."""


def json_value(text: str, *, plain: bool) -> object:
    """A free-form scalar as JSON has it: null, boolean, number or string. Quoted values stay strings."""
    if not plain:
        return text
    if text in _NULL:
        return None
    if text in {"true", "True", "TRUE"}:
        return True
    if text in {"false", "False", "FALSE"}:
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if number not in {float("inf"), float("-inf")} else text
    return text
