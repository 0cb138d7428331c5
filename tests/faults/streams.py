"""Streamed calls with a fault that is asked for, and what the client saw of them, in both dialects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.conftest import Gateway
from tests.stalls import Stopwatch

PROMPT = "time river that"
PROMPT_TOKENS = 10
"""Three words, 3 for the message, 1 for its role, 3 for the answer's beginning."""
SURFACES = {
    "chat": ("/v1/chat/completions", "sim"),
    "messages": ("/v1/messages", "sim-claude"),
    "translated": ("/v1/chat/completions", "sim-claude"),
}
"""OpenAI's wire on both sides, Anthropic's on both sides, and OpenAI's to the client of an Anthropic upstream."""


def body(model: str, **fields: Any) -> dict[str, Any]:
    """A request with a prompt of :data:`PROMPT_TOKENS`."""
    return {"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": PROMPT}], **fields}


@dataclass
class Seen:
    """One stream as its client got it."""

    status: int
    headers: httpx.Headers
    text: str
    whole: bool
    """Framed to its end."""
    seconds: float
    """By the clock."""
    ran_s: float
    """Without those in which nothing ran."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of every event but `[DONE]`; each must be JSON."""
        data = [line[5:].strip() for line in self.text.splitlines() if line.startswith("data:")]
        return [json.loads(item) for item in data if item != "[DONE]"]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Error objects, in either dialect."""
        return [event["error"] for event in self.events if "error" in event]

    @property
    def words(self) -> str:
        """The text of all deltas."""
        found = []
        for event in self.events:
            found += [choice["delta"].get("content") or "" for choice in event.get("choices") or []]
            if event.get("type") == "content_block_delta":
                found.append(event["delta"].get("text", ""))
        return "".join(found)

    @property
    def done(self) -> bool:
        """The wire's end marker came."""
        return "data: [DONE]" in self.text or "event: message_stop" in self.text


def stream(gateway: Gateway, key: str, surface: str, sim: dict[str, str], **fields: Any) -> Seen:
    """Make one streamed call; ``sim`` is the simulator's control."""
    path, model = SURFACES[surface]
    headers = {"authorization": f"Bearer {key}", **{f"x-sim-{name}": value for name, value in sim.items()}}
    watch = Stopwatch()
    pieces: list[bytes] = []
    whole = True
    with gateway.client() as client:
        request = body(model, stream=True, **fields)
        with client.stream("POST", path, headers=headers, json=request) as answer:
            try:
                pieces.extend(answer.iter_raw())
            except httpx.RemoteProtocolError:
                whole = False
    text = b"".join(pieces).decode()
    return Seen(answer.status_code, answer.headers, text, whole, watch.seconds, watch.ran_s)
