"""Arguments judged before anything is sent: each is what it should be, or a `ConfigurationError` that names it.

Apart from the settings because calls take some of the same arguments. grpcio judges them too, but only when a call is
made, and blames the server (`INTERNAL`) or names no argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeGuard

from penstock.client.errors import ConfigurationError

Metadata: TypeAlias = Mapping[str, str | bytes]
"""Values are text; bytes for names that end in `-bin`."""

_LONGEST_S: Final = 1e9
"""Some 30 years; deadlines beyond 292 make grpcio's clock overflow, so that calls end at once."""
_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_TEXT: Final = re.compile(r"[ -~]*")
"""What gRPC's HTTP/2 mapping lets a value hold that is not binary: printable ASCII."""
_OWN_NAMES: Final = frozenset({"authorization", "user-agent", "content-type", "te", "host"})
"""Set by the client, or by grpcio, which drops or overwrites what it is given."""
_FORBIDDEN_NAMES: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
"""RFC 9113, section 8.2.2: a server takes a request with one of them for malformed."""


def api_key(value: object) -> str:
    """A key that a header can hold."""
    if not isinstance(value, str):
        raise ConfigurationError(f"`api_key` must be text, not {_kind(value)}.")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ConfigurationError("`api_key` has characters that a header cannot hold; was a line break copied?")
    return value


def timeout(value: object) -> float:
    """Seconds. There is always a deadline: a call without one can hold its resources for ever."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigurationError(f"`timeout` must be a number of seconds, not {_kind(value)}.")
    if not 0 < value <= _LONGEST_S:
        raise ConfigurationError(
            f"`timeout` must be a positive number of seconds, at most {_LONGEST_S:.0f}, not {value}."
        )
    return float(value)


def max_retries(value: object) -> int:
    """A number of attempts after the first."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigurationError(f"`max_retries` must be a whole number, not {_kind(value)}; 0 means no retries.")
    if value < 0:
        raise ConfigurationError("`max_retries` must not be negative; 0 means no retries.")
    return value


def metadata(value: object) -> list[tuple[str, str | bytes]]:
    """Names and values that gRPC can carry. Values are not repeated in messages: they may be secret."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"`metadata` must be a mapping of names to values, not {_kind(value)}.")
    for name, held in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"`metadata` has the name {name!r}: names are made of a-z (lower case), 0-9, `-`, `_` and `.`."
            )
        if name in _OWN_NAMES or name.startswith("grpc-"):
            raise ConfigurationError(f"`metadata` may not set `{name}`, which is the client's own.")
        if name in _FORBIDDEN_NAMES:
            raise ConfigurationError(f"`metadata` may not set `{name}`, which HTTP/2 does not allow.")
        _check_value(name, held)
    return list(value.items())


def _check_value(name: str, value: object) -> None:
    wanted: type = bytes if name.endswith("-bin") else str
    if not isinstance(value, wanted):
        hint = " (a name that ends in `-bin` has bytes, others have text)" if isinstance(value, str | bytes) else ""
        kind = "bytes" if wanted is bytes else "text"
        raise ConfigurationError(f"`metadata[{name!r}]` must be {kind}, not {_kind(value)}{hint}.")
    if isinstance(value, str) and not _TEXT.fullmatch(value):
        raise ConfigurationError(
            f"`metadata[{name!r}]` has characters that gRPC cannot carry: printable ASCII only, or use a name that ends "
            "in `-bin`, with bytes."
        )


def compression(value: object) -> bool:
    """On or off."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"`compression` must be True (gzip) or False, not {_kind(value)}.")
    return value


def channel_options(value: object) -> dict[str, Any]:
    """Options as grpcio takes them."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"`channel_options` must be a mapping of names to values, not {_kind(value)}.")
    for name, held in value.items():
        if not isinstance(name, str):
            raise ConfigurationError(
                f"`channel_options` has the name {name!r}; names are texts, as `grpc.lb_policy_name`."
            )
        # grpcio takes what else can be made an integer, a float among them, for an address in memory.
        if not isinstance(held, int | str | bytes):
            raise ConfigurationError(f"`channel_options[{name!r}]` must be text or a whole number, not {_kind(held)}.")
        if isinstance(held, int) and not -(2**31) <= held < 2**31:
            raise ConfigurationError(f"`channel_options[{name!r}]` must be a number of 32 bits, not {held}.")
    return dict(value)


def certificates(roots: object, of_client: object) -> tuple[bytes | None, tuple[bytes | None, bytes | None]]:
    """PEM of authorities; PEM of chain and key, or twice None."""
    if roots is not None and not _is_pem(roots):
        raise ConfigurationError("`root_certificates` must be bytes: the contents of a PEM file, not its path.")
    if of_client is None:
        return roots, (None, None)
    match of_client:
        case (chain, key) if _is_pem(chain) and _is_pem(key):
            return roots, (chain, key)
    raise ConfigurationError(
        "`client_certificate` must be two values of bytes: the contents of the PEM files of chain and key, not their paths."
    )


def _is_pem(value: object) -> TypeGuard[bytes]:
    return isinstance(value, bytes) and b"-----BEGIN " in value


def callback(value: object) -> Any:
    """What can be called."""
    if not callable(value):
        raise ConfigurationError(f"`on_metadata` must be a function of one argument, not {_kind(value)}.")
    return value


def _kind(value: object) -> str:
    return type(value).__name__
