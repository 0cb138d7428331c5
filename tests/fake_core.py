"""A stand-in for `penstock._core` in tests of the control plane that need no data plane.

It keeps what it is told and answers submitted calls as the test says; it relays nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import string
import sys
import types
import zlib
from collections.abc import Callable
from typing import Any

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def _base62(number: int, width: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = _BASE62[digit] + text
    return text.rjust(width, "0")


def generate_key() -> str:
    body = _base62(secrets.randbits(95), 16) + _base62(secrets.randbits(256), 43)
    return f"sk-{body}{_base62(zlib.crc32(body.encode()), 6)}"


def key_digest(pepper: bytes, key: str) -> str:
    return hmac.new(pepper, key.encode(), hashlib.sha256).hexdigest()


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    nonce = secrets.token_bytes(12)
    stream = hashlib.shake_256(key + nonce).digest(len(plaintext))
    sealed = bytes(a ^ b for a, b in zip(plaintext, stream, strict=True))
    return b"\x01" + nonce + sealed + hmac.new(key, nonce + sealed + aad, hashlib.sha256).digest()[:16]


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    nonce, body, tag = sealed[1:13], sealed[13:-16], sealed[-16:]
    if not hmac.compare_digest(tag, hmac.new(key, nonce + body + aad, hashlib.sha256).digest()[:16]):
        raise ValueError("wrong key or changed bytes")
    return bytes(a ^ b for a, b in zip(body, hashlib.shake_256(key + nonce).digest(len(body)), strict=True))


def count_request_tokens(body: bytes, model: str) -> int:
    request = json.loads(body)
    return len(json.dumps(request.get("messages") or request.get("prompt")).split())


class Engine:
    """`answer` is called for every submitted call and emits its events."""

    latest: Engine

    def __init__(self, options: bytes) -> None:
        Engine.latest = self
        self.options = json.loads(options)
        self.snapshots: list[dict[str, Any]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        self.dropped: list[str] = []
        self.scopes: dict[str, dict[str, Any]] = {}
        self.dropped_scopes: list[str] = []
        self.held: dict[str, int] = {}
        """By scope what is freed when its settlement is told."""
        self.told: list[tuple[str, int]] = []
        self.usage: list[dict[str, Any]] = []
        self.acknowledged = 0
        self.recovered: list[dict[str, Any] | bytes] = []
        self.damaged = 0
        self.resolved: dict[int, Any] = {}
        self.submitted: list[tuple[str, str, list[tuple[bytes, bytes]], bytes, str]] = []
        self.credits: dict[int, int] = {}
        self.cancelled: list[int] = []
        self.bound: int | None = None
        """The latest time for budget windows."""
        self.ready = False
        self.drained = False
        self.answer: Callable[[Engine, int], None] = lambda engine, id: engine.reply(id, 200, [b"{}"])
        self._events: list[tuple[int, str, bytes]] = []
        self._reader, self._writer = os.pipe()
        self._next = 0

    def emit(self, id: int, kind: str, payload: bytes = b"") -> None:
        self._events.append((id, kind, payload))
        os.write(self._writer, b"x")

    def reply(self, id: int, status: int, parts: list[bytes], *, end: str = "call.end") -> None:
        head = {"status": status, "headers": [["X-First", "1"], ["content-type", "application/json"], ["X-First", "2"]]}
        self.emit(id, "call.head", json.dumps(head).encode())
        for part in parts:
            self.emit(id, "call.data", part)
        self.emit(id, end)

    def apply_snapshot(self, snapshot: bytes) -> None:
        self.snapshots.append(json.loads(snapshot))

    def start(self) -> int:
        return 0 if self.options["port"] is None else 1

    def put_keys(self, records: bytes) -> None:
        self.keys.update({record["token"]: record for record in json.loads(records)})

    def drop_keys(self, tokens: list[str]) -> None:
        self.dropped.extend(tokens)
        for token in tokens:
            self.keys.pop(token, None)

    def bound_windows(self, latest: int) -> None:
        self.bound = latest

    def key_usage(self, token: str) -> tuple[int, int, int]:
        return (self.keys.get(token, {}).get("spend", 0), 0, 0)

    def put_scopes(self, records: bytes) -> None:
        for record in json.loads(records):
            held = self.scopes.get(record["name"])
            if held is None or held["revision"] <= record["revision"]:
                self.scopes[record["name"]] = record

    def drop_scopes(self, names: list[str]) -> None:
        self.dropped_scopes.extend(names)
        for name in names:
            self.scopes.pop(name, None)

    def scope_usage(self, name: str) -> tuple[int, int, int]:
        return (self.scopes.get(name, {}).get("spend", 0), 0, 0)

    def lower_holds(self, spends: bytes) -> list[int]:
        self.told.extend((one["scope"], one["seq"]) for one in json.loads(spends))
        return [self.held.pop(one["scope"], 0) for one in json.loads(spends)]

    def event_fd(self) -> int:
        return self._reader

    def drain_events(self) -> list[tuple[int, str, bytes]]:
        if not self._events:
            return []
        events, self._events = self._events, []
        os.read(self._reader, 65_536)
        return events

    def resolve_hook(self, id: int, answer: bytes) -> None:
        self.resolved[id] = json.loads(answer)

    def submit(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes, client: str) -> int:
        self._next += 1
        self.submitted.append((method, target, headers, body, client))
        self.answer(self, self._next)
        return self._next

    def credit(self, id: int, count: int) -> None:
        self.credits[id] = self.credits.get(id, 0) + count

    def cancel(self, id: int) -> None:
        self.cancelled.append(id)

    def take_usage(self, limit: int, after: int = 0) -> bytes:
        skipped = max(0, after - self.acknowledged)
        return json.dumps([list(record.values()) for record in self.usage[skipped : skipped + limit]]).encode()

    def ack_usage(self, seq: int) -> None:
        """Ordinals are places: what a test calls `seq` is only written down."""
        del self.usage[: max(0, seq - self.acknowledged)]
        self.acknowledged = max(self.acknowledged, seq)

    def recovered_usage(self, after: int = 0) -> bytes:
        left = self.recovered[after : after + 2]
        return b"[" + b",".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in left) + b"]"

    def recovered_damage(self) -> int:
        return self.damaged

    def forget_recovered(self) -> None:
        self.recovered, self.damaged = [], 0

    def metrics(self) -> str:
        return "# TYPE fake gauge\nfake 1\n"

    def set_ready(self, ready: bool) -> None:
        self.ready = ready

    def status(self) -> bytes:
        return json.dumps(
            {"in_flight": 0, "connections": 0, "snapshot_version": 1, "keys": 0, "usage_queue": len(self.usage)}
        ).encode()

    def drain(self, grace_ms: int) -> bool:
        self.drained = True
        return True

    def stop(self) -> None:
        return


class Simulator:
    def __init__(self, options: bytes) -> None:
        self.options = json.loads(options)

    def start(self) -> int:
        return 9

    def stop(self) -> None:
        return


def module() -> types.ModuleType:
    """This module under the extension's name."""
    return sys.modules[__name__]
