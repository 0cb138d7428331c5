"""Instructions of the hot path, as valgrind's callgrind counts them.

Apart from the test because recording new counts measures in the same way.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Self

import msgspec

from penstock import _core
from penstock.engine.snapshot import (
    Deployment,
    EngineOptions,
    KeyRecord,
    ModelGroup,
    Price,
    PriceTier,
    Settings,
    Snapshot,
)
from tests.guards import lockstep, lockstep_grpc

_PLENTY = 1_000_000_000
"""A limit that is enforced and never reached."""
_UNARY_CALLS = 100
_STREAMS = 10
_FRAMES = 64
_TOTAL = re.compile(rb"^totals: (\d+)$", re.M)


class CountingError(Exception):
    """valgrind or the counted program failed."""


def measure(program: Path, directory: Path) -> dict[str, int]:
    """Instructions of one of each: single operations and whole calls. Callgrind's files go to the directory.

    Raises:
        CountingError: the program failed under valgrind.
    """
    return _operations(program, directory / "operations") | _calls(program, directory / "engine")


class _Counted:
    """The counted program under callgrind, which writes a file whenever the program ends a section."""

    def __init__(self, program: Path, mode: str, out: Path) -> None:
        self._out = out
        self._mode = mode
        self._log = out.with_suffix(".log")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--log-file={self._log}"]
        command += ["--dump-before=penstock_guards::lap*", str(program), mode]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input: IO[bytes] = self.process.stdin
        self._output: IO[bytes] = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._input.close()
        self._output.close()

    def ask(self, line: bytes) -> str:
        """Send a line, return the answer's."""
        try:
            self._input.write(line + b"\n")
            self._input.flush()
        except BrokenPipeError:
            return self._fail()
        return self._output.readline().decode().strip() or self._fail()

    def finish(self) -> str:
        """Wait for the end; what was written that nobody read."""
        output, _ = self.process.communicate(timeout=60)
        if self.process.returncode != 0:
            self._fail()
        return output.decode()

    def totals(self) -> list[int]:
        """The counts of all sections, in order; the last one ends with the program."""
        totals: list[int] = []
        while (part := self._out.with_name(f"{self._out.name}.{len(totals) + 1}")).exists():
            found = _TOTAL.search(part.read_bytes())
            if found is None:
                raise CountingError(f"callgrind wrote no totals into {part.name}")
            totals.append(int(found[1]))
        return totals

    def _fail(self) -> str:
        log = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else "(no log)"
        raise CountingError(f"penstock-guards {self._mode} failed under valgrind:\n{log}")


def _operations(program: Path, out: Path) -> dict[str, int]:
    with _Counted(program, "operations", out) as counted:
        lines = [line.split() for line in counted.finish().splitlines()]
        measured = counted.totals()[1::2]
    if len(lines) != len(measured):
        raise CountingError(f"{len(lines)} operations, but {len(measured)} sections")
    return {name: round(total / int(times)) for (name, times), total in zip(lines, measured, strict=True)}


def _calls(program: Path, out: Path) -> dict[str, int]:
    key = _core.generate_key()
    with lockstep.upstream() as upstream, _Counted(program, "engine", out) as engine:
        port = int(engine.ask(_setup(upstream.port, key, out.with_name("journal"))))
        with lockstep.caller(port, key, upstream) as rest, lockstep_grpc.grpc_caller(port, key, upstream) as grpc:
            # First uses open connections, load tables and grow buffers.
            for caller in (rest, grpc):
                _repeat(20, caller.unary)
                _repeat(2, partial(caller.stream, 2 * _FRAMES))
            engine.ask(b"records")
            sections: list[tuple[int, Callable[[], object]]] = []
            for caller in (rest, grpc):
                sections += [
                    (_UNARY_CALLS, caller.unary),
                    (_STREAMS, partial(caller.stream, _FRAMES)),
                    (_STREAMS, partial(caller.stream, 2 * _FRAMES)),
                ]
            for times, call in sections:
                engine.ask(b"lap")
                _repeat(times, call)
            engine.ask(b"lap")
            handed_over = int(engine.ask(b"records"))
            engine.ask(b"lap")
        engine.finish()
        _, unary, stream, longer, grpc_unary, grpc_stream, grpc_longer, records, *_ = engine.totals()
    if upstream.connections != 1 or handed_over != 2 * (_UNARY_CALLS + 2 * _STREAMS):
        raise CountingError(f"{upstream.connections} connections to the upstream, {handed_over} usage records")
    return {
        "unary_call": round(unary / _UNARY_CALLS),
        "stream_call_64_frames": round(stream / _STREAMS),
        "stream_frame": round((longer - stream) / _STREAMS / _FRAMES),
        "grpc_unary_call": round(grpc_unary / _UNARY_CALLS),
        "grpc_stream_call_64_messages": round(grpc_stream / _STREAMS),
        "grpc_stream_message": round((grpc_longer - grpc_stream) / _STREAMS / _FRAMES),
        "usage_record": round(records / handed_over),
    }


def _repeat(times: int, call: Callable[[], object]) -> None:
    for _ in range(times):
        call()


def _setup(upstream_port: int, key: str, journal: Path) -> bytes:
    """A gateway with everything on: key, rates, parallel calls, budget, prices, usage records, journal."""
    pepper = secrets.token_bytes(32)
    deployment = Deployment(
        id="guarded-1",
        provider="openai",
        wire="openai",
        model="gpt-4o-mini",
        base_url=f"http://127.0.0.1:{upstream_port}/v1",
        headers=[("authorization", "Bearer sk-upstream")],
        rpm=_PLENTY,
        tpm=_PLENTY,
        max_output_tokens=16_384,
        price=Price(version="guards", tiers=[PriceTier(input=150_000_000, output=600_000_000)]),
    )
    snapshot = Snapshot(
        version=1,
        deployments=[deployment],
        groups=[ModelGroup(name="guarded", deployments=[0])],
        settings=Settings(max_parallel_requests=1_000),
    )
    record = KeyRecord(
        token=_core.key_digest(pepper, key),
        alias="guards",
        models=["guarded"],
        rpm=_PLENTY,
        tpm=_PLENTY,
        max_parallel_requests=100,
        max_budget=_PLENTY * 1_000_000,
        team_id="team-1",
        user_id="user-1",
    )
    options = EngineOptions(
        port=0,
        threads=1,
        pepper=pepper.hex(),
        incarnation=secrets.token_hex(8),
        journal_dir=str(journal),
        # Under valgrind a stream takes long, and how many checkpoints that are is chance.
        checkpoint_ms=3_600_000,
    )
    return msgspec.json.encode({"options": options, "snapshot": snapshot, "keys": [record]})
