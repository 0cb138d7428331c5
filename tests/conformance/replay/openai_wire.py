"""Recordings on OpenAI's wire: which of them there are, and the calls that ask for them."""

from __future__ import annotations

import json
import re

import msgspec

from tests.conformance.replay import recordings
from tests.conformance.replay.recordings import Recording
from tests.conformance.replay.replayer import NO_STREAM_USAGE, UPSTREAM_MODEL

FOLDERS = {
    "openai-chat": "openai",
    "openai-completions": "openai",
    "openai-embeddings": "openai",
    "openai-responses": "openai",
    "openai-images": "openai",
    "openai-audio": "openai",
    "openai-moderations": "openai",
    "azure-openai": "azure",
    "cerebras": "cerebras",
    "crusoe": "vllm",
    "deepseek": "deepseek",
    "gpustack": "other",
    "groq": "groq",
    "heroku": "other",
    "huggingface": "other",
    "mistral": "mistral",
    "ollama": "ollama",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "snowflake": "other",
    "together": "together",
    "voyage": "other",
    "writer": "other",
    "xai": "xai",
    "zai": "zai",
}
"""Folders and the models of the gateway that stand for them."""

# What follows the provider's own base path; Writer's chat is OpenAI's under another name.
_ROUTE = re.compile(
    r"/(chat/completions|completions|embeddings|responses(?:/input_tokens)?|images/\w+|audio/\w+|ocr|moderations)(?:\?|$)"
)
_CHAT = re.compile(r"/v1/chat$")


class Asked(msgspec.Struct, frozen=True):
    """A call for a recording."""

    path: str
    body: bytes
    content_type: str
    upstream: bytes | None
    """The body that the upstream must get; None: the gateway adds to it, see `hides_usage`."""
    wants_usage: bool = False
    hides_usage: bool = False
    """The client did not ask for usage in its stream and the gateway does so on its own account."""


def _route(path: str) -> str | None:
    if _CHAT.search(path):
        return "/v1/chat/completions"
    found = _ROUTE.search(path)
    return f"/v1/{found[1]}" if found else None


def every() -> list[Recording]:
    """All recordings that a client of OpenAI's API can ask for."""
    found = [recording for folder in FOLDERS for recording in recordings.of(folder)]
    return [one for one in found if _route(one.path) and (one.request_text or one.request_bytes or not one.request)]


def _renamed(text: str, model: str) -> str:
    """The stored request with another model; all else stays, white space too. A model is added when there is none."""
    name = json.dumps(model)
    changed, count = re.subn(r'(?m)^(  "model": )"(?:[^"\\]|\\.)*"', lambda found: found[1] + name, text, count=1)
    return changed if count else text.replace("{", '{\n  "model": ' + name + ",", 1)


def asked(recording: Recording, *, compact: bool = False, without_usage: bool = False) -> Asked:
    """The recorded request, to be sent to the gateway. For lost ones a request of the same kind is made up."""
    model = FOLDERS[recording.provider]
    path = _route(recording.path) or ""
    query = recording.path.partition("?")[2]
    if query and recording.provider != "azure-openai":
        path += f"?{query}"
    if recording.request_bytes is not None:
        named = re.search(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n', recording.request_bytes)
        if named is None:
            return Asked(path, recording.request_bytes, recording.request_type, recording.request_bytes)
        before, after = recording.request_bytes[: named.start(1)], recording.request_bytes[named.end(1) :]
        sent, upstream = (before + name.encode() + after for name in (model, UPSTREAM_MODEL))
        return Asked(path, sent, recording.request_type, upstream)
    text = recording.request_text
    if not text:
        prompt = {"messages": [{"role": "user", "content": "Hi"}]} if "chat" in path else {"input": "Hi"}
        text = json.dumps({"model": "", **prompt, **({"stream": True} if recording.is_stream else {})}, indent=2)
    fields = json.loads(text)
    if without_usage and fields.pop("stream_options", None):
        text = json.dumps(fields, indent=2)
    if compact:
        renamed = json.loads(_renamed(text, model)), json.loads(_renamed(text, UPSTREAM_MODEL))
        sent, upstream = (json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode() for one in renamed)
    else:
        sent, upstream = _renamed(text, model).encode(), _renamed(text, UPSTREAM_MODEL).encode()
    wants = bool((fields.get("stream_options") or {}).get("include_usage"))
    streams = bool(fields.get("stream"))
    metered = path in {"/v1/chat/completions", "/v1/completions"} and model not in NO_STREAM_USAGE
    hides = streams and metered and not wants
    return Asked(path, sent, "application/json", None if hides else upstream, wants, hides)


def shown(recording: Recording, call: Asked) -> bytes:
    """The bytes that the client must get.

    Usage that only the gateway asked for is taken out again: the event that has usage and no choices, and the member
    `"usage": null` of all others.
    """
    if not call.hides_usage or not recording.is_stream:
        return recording.body
    kept = []
    for frame in recordings.frames(recording.body):
        try:
            event = json.loads(recordings.data_of(frame))
        except ValueError:
            event = None
        if isinstance(event, dict) and "usage" in event:
            if isinstance(event["usage"], dict) and event.get("choices") == []:
                continue
            if event["usage"] is None:
                frame = re.sub(rb',\s*"usage"\s*:\s*null', b"", frame, count=1)
        kept.append(frame)
    return b"".join(kept)


def is_error_in_disguise(recording: Recording) -> bool:
    """Whether a whole answer says that it failed although its status does not: nothing was generated."""
    if recording.is_stream or recording.status >= 400:
        return False
    try:
        answer = json.loads(recording.body)
    except ValueError:
        return False
    return isinstance(answer, dict) and bool(answer.get("error")) and not {"choices", "output", "usage"} & answer.keys()


def tells_error(recording: Recording) -> bool:
    """Whether a recorded stream says that the provider failed."""
    return recording.is_stream and any(
        isinstance(event, dict) and (event.get("error") or event.get("type") == "error")
        for event in recordings.events(recording.body)
    )


def is_complete(recording: Recording) -> bool:
    """Whether a recorded stream came to its end: it gives a reason to stop, or says that it is done."""
    if not recording.is_stream or _route(recording.path) not in {"/v1/chat/completions", "/v1/completions"}:
        return True
    for event in recordings.events(recording.body):
        choices = event.get("choices") if isinstance(event, dict) else None
        if any(choice.get("finish_reason") for choice in choices or []):
            return True
    return any(recordings.data_of(frame).strip() == "[DONE]" for frame in recordings.frames(recording.body))
