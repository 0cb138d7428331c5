"""Keys that nobody was given: as much work as for known ones, bounded memory, and no question asked twice."""

from __future__ import annotations

import secrets
import socket
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from penstock import _core
from tests.integration.managed import CONFIG, Managed
from tests.stalls import again_after_a_stall


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Line:
    """One connection that asks for the list of models with one key after the other."""

    def __init__(self, managed: Managed) -> None:
        address = urlsplit(managed.gateway.url)
        self._netloc = address.netloc
        self._socket = socket.create_connection((address.hostname, address.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, keys: list[str]) -> None:
        head = f"Host: {self._netloc}\r\nx-api-key: "
        self._socket.sendall("".join(f"GET /v1/models HTTP/1.1\r\n{head}{key}\r\n\r\n" for key in keys).encode())

    def status(self) -> int:
        status = int(self._reader.readline().split()[1])
        length = 0
        while (line := self._reader.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._reader.read(length)
        return status

    def timed(self, key: str) -> float:
        begin = time.perf_counter()
        self.send([key])
        assert self.status() in (401, 403)
        return time.perf_counter() - begin


def test_unknown_keys_cost_what_known_ones_cost(managed: Managed) -> None:
    blocked, unknown, mistyped = managed.key(blocked=True), "sk-" + "u" * 60, managed.key()[:-1] + "_"
    line = Line(managed)
    try:
        samples: dict[str, list[float]] = {blocked: [], unknown: [], mistyped: []}
        for key in [blocked, unknown, mistyped] * 20:
            line.timed(key)
        for _ in range(400):
            for key, taken in samples.items():
                taken.append(line.timed(key))
    finally:
        line.close()
    # The digest takes a microsecond; a look-up in the store, which must not happen here, takes a thousand.
    medians = [statistics.median(taken) for taken in samples.values()]
    assert max(medians) < 2 * min(medians) + 100e-6, medians


def test_a_flood_of_unknown_keys_takes_little_memory_and_displaces_nobody(managed: Managed) -> None:
    pid = managed.gateway.pid
    known = managed.key()
    assert managed.chat(known).status_code == 200
    line = Line(managed)
    try:
        for _ in range(10):
            flood(line, 100)
        before = resident_bytes(pid)
        for _ in range(100):
            flood(line, 200)
        after = resident_bytes(pid)
    finally:
        line.close()
    # 20,000 digests with their times are below two megabytes; the ring that keeps them is bounded.
    assert after - before < 24 * 2**20, (after - before) / 2**20
    metrics = managed.get("/metrics").text
    held = next(line for line in metrics.splitlines() if line.startswith("penstock_key_table_keys "))
    assert int(held.split()[1]) < 1_000, "unknown keys are no keys"
    assert managed.chat(known).status_code == 200


def flood(line: Line, count: int) -> None:
    """So many keys that nobody has, each once."""
    line.send([f"sk-{secrets.token_hex(24)}" for _ in range(count)])
    assert {line.status() for _ in range(count)} == {401}


@again_after_a_stall(0.2)
def test_the_store_is_asked_once_while_the_answer_holds(start_managed: Callable[..., Managed]) -> None:
    managed = start_managed(config=CONFIG + "  limits: {negative_ttl: 2}\n")
    data = managed.gateway.data_dir
    pepper = bytes.fromhex((data / "pepper").read_text().strip())
    template = _core.key_digest(pepper, managed.key())
    secret = f"sk-{secrets.token_hex(24)}"
    asked = time.monotonic()
    assert managed.chat(secret).status_code == 401
    # Behind the gateway's back, so that nothing tells it: only asking the store again can find the key.
    with sqlite3.connect(data / "penstock.db") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(keys)") if row[1] != "token"]
        names = ", ".join(columns)
        database.execute(
            f"INSERT INTO keys (token, {names}) SELECT ?, {names} FROM keys WHERE token = ?",
            (_core.key_digest(pepper, secret), template),
        )
    database.close()
    refused = 0
    while (status := managed.chat(secret).status_code) == 401:
        refused += 1
        assert time.monotonic() < asked + 8, "the answer was kept beyond its time"
    assert status == 200
    assert time.monotonic() >= asked + 1.9, "the store was asked again before the answer's time was over"
    assert refused > 10


def test_a_key_that_was_unknown_is_valid_as_soon_as_it_exists(managed: Managed) -> None:
    secret = f"sk-{secrets.token_hex(24)}"
    for _ in range(3):
        assert managed.chat(secret).status_code == 401
    assert managed.key(key=secret) == secret
    assert managed.chat(secret).status_code == 200
    managed.post("/key/delete", keys=[secret])
    assert managed.chat(secret).status_code == 401
    managed.key(key=secret)
    assert managed.chat(secret).status_code == 200
