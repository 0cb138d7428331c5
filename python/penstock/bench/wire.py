"""What is asked of a gateway: where its endpoints are, what a body looks like, and which header carries the key.

Apart from the runs because it is all that the tool knows of the APIs; the load generator sends bytes.
"""

from __future__ import annotations

import json
import re
from typing import Final, Literal, get_args
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from penstock.config.secret import Secret

Surface = Literal["chat", "completions", "embeddings", "responses", "messages"]
SURFACES: Final[tuple[Surface, ...]] = get_args(Surface)
_ENDPOINTS: Final[dict[str, Surface]] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/responses": "responses",
    "/messages": "messages",
}
"""By the end of the path; the longest goes first."""
_TEXT: Final = "water falls through the gate and turns the wheel below the dam"
PAD: Final = "{pad}"
ANTHROPIC_VERSION: Final = "2023-06-01"


_OPEN_PARAMETERS: Final = frozenset({"api-version"})
"""Of a query: their values are shown. Any other may be a key."""
MASK: Final = "********"


class UsageError(Exception):
    """An option cannot be used; the message names it and the fix."""


def is_secure(url: str) -> bool:
    """Whether it is spoken to over TLS."""
    return url.startswith(("https://", "grpcs://"))


def endpoint(url: str, surface: Surface | None) -> tuple[str, Surface]:
    """The full address that a base URL (`http://host:4000/v1`) or a full endpoint means, and its surface.

    A base URL without a path gets `/v1`. A query (Azure's `api-version`) stays.

    Raises:
        UsageError: the URL is none, or is an endpoint of another surface.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as e:
        raise UsageError(f"URL: {bare(url)!r} has a host or a port that cannot be read") from e
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"URL: {bare(url)!r} must look like http://127.0.0.1:4000/v1, https://host/v1/chat/completions or grpc://host:4000"
        )
    if "@" in parts.netloc:
        raise UsageError("URL: must not carry credentials; give the key with --key-file, --key-env or --key")
    path = parts.path.rstrip("/")
    named = next((found for end, found in _ENDPOINTS.items() if path.endswith(end)), None)
    if named is not None:
        if surface not in (None, named):
            raise UsageError(f"--surface {surface}: the URL is an endpoint of {named}; leave the option out")
        return url, named
    surface = surface or "chat"
    end = next(end for end, found in _ENDPOINTS.items() if found == surface)
    return urlunsplit(parts._replace(path=(path or "/v1") + end)), surface


def shown(url: str) -> str:
    """The URL for people: values of its query masked, but for those that are known to be no secret."""
    parts = urlsplit(url)
    query = "&".join(text if is_open else f"{name}={MASK}" for text, name, _, is_open in _parameters(parts.query))
    return urlunsplit(parts._replace(query=query, fragment=""))


def query_secrets(url: str) -> list[str]:
    """The values that :func:`shown` masks, as they are written and as they are meant."""
    hidden = [value for _, _, value, is_open in _parameters(urlsplit(url).query) if not is_open]
    return list(dict.fromkeys(text for value in hidden for text in (value, unquote_plus(value)) if text))


def _parameters(query: str) -> list[tuple[str, str, str, bool]]:
    """Each parameter: its text, name, value, and whether it may be shown. One without a name may be a key itself."""
    found = []
    for text in query.split("&") if query else []:
        name, sign, value = text.partition("=")
        if not sign:
            name, value = "", text
        found.append((text, name, value, name.lower() in _OPEN_PARAMETERS))
    return found


def bare(url: str) -> str:
    """Without what may be a secret, of something that may be no URL."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def headers(surface: Surface, key: Secret | None) -> list[tuple[str, str]]:
    """What the API wants to see besides the body."""
    found = [("content-type", "application/json")]
    if surface == "messages":
        found.append(("anthropic-version", ANTHROPIC_VERSION))
    if key is not None:
        name, prefix = ("x-api-key", "") if surface == "messages" else ("authorization", "Bearer ")
        found.append((name, prefix + key.reveal()))
    return found


def body(surface: Surface, *, model: str, text: str, stream: bool, max_tokens: int) -> str:
    """A request body as compact JSON. ``text`` is the prompt, or `{pad}` for the load generator to fill.

    Raises:
        UsageError: the surface does not stream.
    """
    said: dict[str, object]
    message = {"role": "user", "content": text}
    match surface:
        case "chat":
            said = {"model": model, "messages": [message], "max_tokens": max_tokens}
        case "completions":
            said = {"model": model, "prompt": text, "max_tokens": max_tokens}
        case "embeddings":
            if stream:
                raise UsageError("--stream: embeddings do not stream; leave the option out")
            said = {"model": model, "input": text}
        case "responses":
            said = {"model": model, "input": text, "max_output_tokens": max_tokens}
        case "messages":
            said = {"model": model, "messages": [message], "max_tokens": max_tokens}
    if stream:
        said["stream"] = True
        if surface in ("chat", "completions"):
            said["stream_options"] = {"include_usage": True}
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False)


def prose(tokens: int) -> str:
    """Words that are so many tokens of `o200k_base`; chat framing not counted."""
    from penstock import _core

    words = _TEXT.split()
    text = " ".join(words[place % len(words)] for place in range(tokens))
    # Each of the words is one token with the space before it; a tokenizer that says otherwise must not go unnoticed.
    if (counted := _core.count_tokens(text)) != tokens:
        raise UsageError(f"--prompt-tokens: {tokens} words are {counted} tokens; give --body-bytes or --body")
    return text


def prose_of(letters: int) -> str:
    """So many letters of the load generator's filler."""
    return (f"{_TEXT} " * (letters // len(_TEXT) + 1))[:letters]


def streams(body_text: str) -> bool:
    """Whether a body of the user's own asks for a stream.

    Raises:
        UsageError: it is not a JSON object.
    """
    try:
        said = json.loads(body_text)
    except ValueError as e:
        raise UsageError(f"--body: is not JSON: {e}") from e
    if not isinstance(said, dict):
        raise UsageError("--body: must be a JSON object, as the API wants it")
    return said.get("stream") is True
