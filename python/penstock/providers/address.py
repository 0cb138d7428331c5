"""Base URLs of upstreams: what may be one, and how users' spellings become the form the data plane wants."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

_FORBIDDEN = frozenset(' "<>\\^`{|}')
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_VERSIONLESS = frozenset({"v1", "preview", "latest"})
"""Azure API versions that mean the OpenAI-shaped surface under `/openai/v1`."""


class AddressError(ValueError):
    """Not a usable address. The message completes "this field ..." and does not repeat the address."""


def checked(url: str) -> str:
    """``url`` without its trailing slash when it is an absolute http or https address with a host and no credentials.

    A query is kept: whether it may stay depends on the provider (:func:`without_query`, :func:`azure`).

    Raises:
        AddressError: it is not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressError("must be a URL such as https://host/v1") from error
    if parts.scheme not in {"http", "https"}:
        raise AddressError("must start with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise AddressError("must not hold a user name or password: use `api_key` or `extra_headers`")
    if not parts.hostname or port == 0 or parts.netloc.endswith(":"):
        raise AddressError("must name a host, as in https://host/v1")
    if not _is_host(parts.hostname, bracketed="[" in parts.netloc):
        raise AddressError("must name a host that can exist: a DNS name or an IP address")
    if parts.fragment:
        raise AddressError("must not hold a fragment (`#...`)")
    if not url.isascii() or not url.isprintable() or _FORBIDDEN.intersection(url):
        raise AddressError("must not hold spaces or characters that URLs do not allow")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), parts.query, ""))


def _is_host(host: str, *, bracketed: bool) -> bool:
    if bracketed:
        try:
            return ip_address(host).version == 6
        except ValueError:
            return False
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.split("."))


def without_query(url: str) -> str:
    """``url``, which must have no query.

    Raises:
        AddressError: it has one.
    """
    if urlsplit(url).query:
        raise AddressError("must not hold a query (`?...`)")
    return url


def openai(url: str, path: str) -> str:
    """The part before `/chat/completions`; ``path`` is appended when the server's root was given."""
    base = without_query(url).removesuffix("/chat/completions").rstrip("/")
    return base if not path or base.endswith(path) else base + path


def anthropic(url: str) -> str:
    """The part before `/v1/messages`."""
    return without_query(url).removesuffix("/messages").rstrip("/").removesuffix("/v1").rstrip("/")


class AzureAddress:
    """Where and how an Azure OpenAI resource is called."""

    __slots__ = ("base_url", "openai", "query")

    def __init__(self, base_url: str, query: str, *, openai: bool) -> None:
        self.base_url = base_url
        self.query = query
        self.openai = openai
        """The resource's OpenAI-shaped surface is meant: its wire is OpenAI's."""


def azure(url: str, version: str | None, default_version: str) -> AzureAddress:
    """Resource root, `/openai/v1` base, or a whole deployment URL as the portal shows it (with its `api-version`).

    Raises:
        AddressError: the query holds something else than `api-version`.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    written = query.pop("api-version", None)
    if query:
        raise AddressError("must not hold a query other than `?api-version=...`")
    version = version or written
    path = parts.path.partition("/openai/deployments")[0].rstrip("/")
    surface = "/openai/v1" in path
    path = path.partition("/openai/v1")[0] if surface else path.removesuffix("/openai")
    root = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    if surface or version in _VERSIONLESS:
        pinned = version if version in {"preview", "latest"} else None
        return AzureAddress(f"{root}/openai/v1", f"api-version={pinned}" if pinned else "", openai=True)
    return AzureAddress(root, f"api-version={quote(version or default_version, safe='')}", openai=False)
