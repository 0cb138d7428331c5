"""What is asked of a gateway over gRPC: `penstock.v1.Chat`, with the same request as over REST.

Apart from :mod:`penstock.bench.wire` because it needs the client's libraries (`penstock[client]`), which are imported when
the first message is made. The load generator gets the message as bytes and knows nothing of it.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit

from penstock.bench.wire import PAD, UsageError, prose_of
from penstock.bench.wire import bare as bare_url
from penstock.config.secret import Secret

SCHEMES: Final = ("grpc://", "grpcs://")
_PORTS: Final = {"grpc": 4000, "grpcs": 443}
_SERVICE: Final = "/penstock.v1.Chat/"


def is_rpc(url: str, *, bare: bool = False) -> bool:
    """Whether a URL means gRPC; ``bare``: so does a `host:port` without a scheme."""
    return url.startswith(SCHEMES) or (bare and "://" not in url)


def address(url: str) -> str:
    """`grpc[s]://host:port` of a URL, or of a `host:port`.

    Raises:
        UsageError: it is none.
    """
    full = url if "://" in url else f"grpc://{url}"
    said = bare_url(full)
    try:
        parts = urlsplit(full)
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as e:
        raise UsageError(f"URL: {said!r} has a host or a port that cannot be read") from e
    if "@" in parts.netloc:
        raise UsageError("URL: must not carry credentials; give the key with --key-file, --key-env or --key")
    if not parts.hostname or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise UsageError(f"URL: {said!r} must be grpc://host:port, or grpcs://host for TLS, without a path")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def endpoint(where: str, *, stream: bool) -> str:
    """The load generator's URL of the method, from an :func:`address`."""
    scheme, _, rest = where.partition("://")
    return f"{'https' if scheme == 'grpcs' else 'http'}://{rest}{_SERVICE}{'Stream' if stream else 'Create'}"


def metadata(key: Secret | None) -> list[tuple[str, str]]:
    """What goes with a call besides what gRPC itself says."""
    return [] if key is None else [("authorization", f"Bearer {key.reveal()}")]


def message(body: str, size: int | None) -> bytes:
    """A chat request in OpenAI's JSON as a `ChatCreateRequest`. ``size``: bytes that the message shall have, filled at the
    `{pad}` of ``body``; it is shorter by a byte or two where the lengths inside it leave no other way.

    Raises:
        UsageError: it is no such request, or longer without filler, or the client's libraries are not installed.
    """
    if size is None:
        return _encoded(body)
    filled = len(_encoded(body.replace(PAD, "", 1)))
    if filled > size:
        raise UsageError(f"--body-bytes: {size:,}: the message has {filled:,} bytes without any filler")
    letters = size - filled
    while len(encoded := _encoded(body.replace(PAD, prose_of(letters), 1))) > size:
        # The lengths of what holds the filler have grown with it.
        letters -= min(letters, len(encoded) - size)
    return encoded


def _encoded(body: str) -> bytes:
    try:
        from penstock.client import _calls
        from penstock.client._json import fill
        from penstock.client._messages import ChatCreateRequest
    except ImportError as e:
        raise UsageError(f"--grpc: {e.name} is not installed: pip install 'penstock[client]'") from e
    try:
        said: dict[str, Any] = json.loads(body)
        # The method says so.
        said.pop("stream", None)
        return _calls.CHAT_CREATE.encode(fill(ChatCreateRequest(), said))
    except (ValueError, TypeError) as e:
        raise UsageError(f"--body: cannot be sent over gRPC: {e}") from e
