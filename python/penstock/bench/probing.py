"""The first request to a target: whether it is any use to send more, and what to change when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.bench.report import Report

_HOPELESS: Final = frozenset({400, 401, 402, 403, 404, 405, 406, 413, 415, 422})
"""Statuses that every request would get: the request is wrong, not the moment."""
_KINDS: Final = {
    "connect": ("cannot connect", "is the gateway running there?"),
    "tls": (
        "the TLS handshake failed",
        "give the CA's certificate with --ca-file, or use --insecure; or is it plain {plain}?",
    ),
    "framing": ("the answer is not {protocol}", "is it {secure}{other}?"),
    "closed": ("closed the connection without an answer", "is it {secure}?"),
    "grpc_content_type": ("the answer is not gRPC", "does gRPC share the port there?"),
}
_KEY: Final = "give a key with --key-file, --key-env or --key"
_MAY: Final = "may the key use this model? see --model and --key-file"
_REQUEST: Final = "check --model, --max-tokens and --body"
_FIXES: Final = {
    401: _KEY,
    403: _MAY,
    404: "check the URL, --surface and --model",
    405: "check the URL and --surface",
    413: "the body is too large for the gateway: see --body-bytes",
    400: _REQUEST,
    422: _REQUEST,
}
_STATUSES: Final = {
    "unauthenticated": _KEY,
    "permission_denied": _MAY,
    "not_found": "check the URL and --model",
    "unimplemented": "does this server have penstock.v1.Chat?",
    "invalid_argument": _REQUEST,
}
"""Of gRPC: those that every call would get."""


def verdict(report: Report, *, is_rpc: bool, hide: Callable[[str], str]) -> str | None:
    """Why there is no use in more requests after the first, whose report this is; None: they may go."""
    if report.requests or report.first_error is None:
        return None
    kind = report.first_error.kind
    said = _said(kind, is_rpc)
    if said is None:
        return None
    what, fix = said
    detail = message_of(report.first_error.detail, hide)
    return f"{what}: {detail or 'no body'}{f' ({fix})' if fix else ''}"


def _said(kind: str, is_rpc: bool) -> tuple[str, str] | None:
    """What happened and what to do about it, of a failure that every request would have."""
    if kind in _KINDS:
        words = {"protocol": "HTTP/1.1", "plain": "http://", "secure": "https://", "other": ", or grpc://"}
        if is_rpc:
            words = {"protocol": "HTTP/2", "plain": "grpc://", "secure": "grpcs://", "other": ", or http://"}
        what, fix = _KINDS[kind]
        return what.format(**words), fix.format(**words)
    if kind.startswith("status_") and (status := int(kind.removeprefix("status_"))) in _HOPELESS:
        return f"answered with status {status}", "" if is_rpc else _FIXES.get(status, "")
    name = kind.removeprefix("grpc_")
    if name != kind and name in _STATUSES:
        return f"answered with {name.upper()}", _STATUSES[name]
    return None


def message_of(detail: str, hide: Callable[[str], str] = str) -> str:
    """What an answer's body says went wrong, in at most 200 characters: the message of the usual JSON shapes, with
    what must not be seen hidden."""
    try:
        said = msgspec.json.decode(detail)
    except msgspec.DecodeError:
        said = detail
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    # Hidden before it is cut: a part of a key is still a secret.
    return " ".join(hide(text).split())[:200]
