"""Recorded provider exchanges, read from the shared set beside the repository, and cut into chunks for a replay."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).resolve().parents[4] / "shared" / "fixtures"
_FRAMING = {"content-length", "content-encoding", "transfer-encoding", "connection", "content-type"}
# Every byte of a long body in a chunk of its own would take minutes and show nothing new.
_BYTEWISE = 3_000


class Recording(msgspec.Struct, frozen=True):
    """One exchange."""

    provider: str
    name: str
    path: str
    """Path and query, as recorded."""
    method: str
    request_text: str
    """JSON as stored; empty when there was none or when it was multipart."""
    request_bytes: bytes | None
    """The raw multipart body; one of the same parts where it was not kept."""
    request_type: str
    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """For test ids."""
        return f"{self.provider}/{self.name}"

    @property
    def request(self) -> dict[str, Any]:
        """The request's JSON object; empty without one."""
        found = json.loads(self.request_text) if self.request_text else None
        return found if isinstance(found, dict) else {}

    @property
    def is_stream(self) -> bool:
        """The answer is an event stream, and says so."""
        return self.content_type.startswith("text/event-stream")


def _form(parts: list[dict[str, Any]]) -> tuple[bytes, str]:
    """A multipart body with these parts, whose files hold other bytes (at most 20 kB), and its content type."""
    boundary, body = "--------a-boundary-of-the-tests", b""
    for part in parts:
        named = f'Content-Disposition: form-data; name="{part["name"]}"'
        value = part.get("value", "").encode()
        if "filename" in part:
            named += f'; filename="{part["filename"]}"\r\nContent-Type: {part["content_type"]}'
            value = (bytes(range(256)) * 80)[: part["bytes"]]
        body += f"--{boundary}\r\n{named}\r\n\r\n".encode() + value + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _read(folder: Path) -> Recording:
    asked = json.loads((folder / "request.meta.json").read_bytes())
    answered = json.loads((folder / "response.meta.json").read_bytes())
    text = (folder / "request.json").read_text(encoding="utf-8") if (folder / "request.json").exists() else ""
    parsed = json.loads(text) if text else None
    request_type = (asked.get("headers") or {}).get("content-type", "application/json")
    raw = folder / "request.bin"
    form = raw.read_bytes() if raw.exists() else None
    if not isinstance(parsed, dict) or "_multipart" in parsed:
        text = ""
    if form is None and parsed and "_multipart" in parsed:
        form, request_type = _form(parsed["_multipart"] or [{"name": "model", "value": "lost"}])
    body = next(path for path in sorted(folder.glob("response.*")) if path.name != "response.meta.json")
    kind = answered.get("content_type") or ""
    if "/" not in kind:
        kind = "text/event-stream" if body.suffix == ".sse" else "application/json"
    headers = {name.lower(): value for name, value in (answered.get("headers") or {}).items()}
    return Recording(
        provider=folder.parent.name,
        name=folder.name,
        path=asked["path"],
        method=asked["method"],
        request_text=text,
        request_bytes=form,
        request_type=request_type,
        status=answered["status"],
        content_type=kind,
        headers={name: value for name, value in headers.items() if name not in _FRAMING and "*" not in name + value},
        body=body.read_bytes(),
    )


@functools.cache
def of(provider: str) -> tuple[Recording, ...]:
    """The recordings of one folder, by name; none when the set is not there."""
    folder = ROOT / provider
    if not folder.is_dir():
        return ()
    return tuple(_read(path.parent) for path in sorted(folder.glob("*/response.meta.json")))


def cases(found: list[Recording]) -> list[Any]:
    """Parameters of a test; one that is skipped, and says why, when there are no recordings."""
    if found:
        return [pytest.param(recording, id=recording.id) for recording in found]
    return [pytest.param(None, marks=pytest.mark.skip(reason=f"no recordings in {ROOT.name}"))]


def frames(body: bytes) -> list[bytes]:
    """The events of a stream with their blank lines; what follows the last one is an item of its own."""
    return [part for part in re.findall(rb"(?s).*?(?:\r\n\r\n|\n\n|\r\r)|.+\Z", body) if part]


def data_of(frame: bytes) -> str:
    """The joined `data:` lines of an event, which may be empty."""
    lines = frame.decode("utf-8", "replace").splitlines()
    return "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))


def events(body: bytes) -> Iterator[Any]:
    """The events of a stream that are JSON."""
    for frame in frames(body):
        try:
            yield json.loads(data_of(frame))
        except ValueError:
            continue


def splits(body: bytes) -> dict[str, list[int] | None]:
    """Ways to cut a body into chunks: `None` is one piece, each list holds the sizes of the pieces."""
    sevens, size = -(-len(body) // 7), len(body)
    if size <= 2 * _BYTEWISE:
        return {
            "whole": None,
            "events": [len(frame) for frame in frames(body)],
            "bytes": [1] * size,
            "sevens": [7] * sevens,
        }
    middle = size - 2 * _BYTEWISE
    # Odd sizes in the middle, so that cuts fall anywhere within events.
    mixed = [997] * (middle // 997) + [middle % 997]
    return {
        "whole": None,
        "events": [len(frame) for frame in frames(body)],
        "bytes": [1] * _BYTEWISE + mixed + [1] * _BYTEWISE,
        "sevens": [7] * 400 + mixed + [7] * (sevens - (2800 + middle) // 7),
    }
