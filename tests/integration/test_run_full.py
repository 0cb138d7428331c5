"""`make run-full` as its users have it: two gateways with one state answer, the ledger has what they spent, a signal ends all of it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.conftest import free_port
from tests.integration.managed import CONFIG, cost_of_priced, nanos, question
from tests.rig import NO_TLS, until
from tests.servers.child import new_directory
from tests.servers.programs import postgres_programs, redis_server

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
_READY_S = 240
_ENDED_S = 120
_SAID = re.compile(
    r"one state: +(?P<one>http://\S+) +(?P<two>http://\S+)\n"
    r"Admin key: +(?P<admin>\S+)\nPostgreSQL: +(?P<postgres>\S+)\nRedis: +(?P<redis>\S+)\n"
)

Born = tuple[int, str]
"""A process: its id and when it began, because ids are given again."""


class Full:
    """The command, running."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self.family: set[Born] = set()
        """What :meth:`look` has seen of it."""
        self._directory = directory
        self._log = directory / "output.log"
        paths = [str(_ROOT), str(_ROOT / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        with self._log.open("wb") as output:
            # A group of its own, as a terminal gives it to a command.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=_ROOT,
                env={**kept, "TMPDIR": str(directory), "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )

    def output(self) -> str:
        """Everything written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def said(self, what: Callable[[str], Any]) -> Any:
        """What ``what`` finds in the output, as soon as it does; fails when the command ends before."""

        def probe() -> Any:
            is_over = self.process.poll() is not None
            found = what(self.output())
            assert found or not is_over, f"it has ended:\n{self.output()}"
            return found

        return until(probe, "what is waited for is said", _READY_S)

    def look(self) -> set[Born]:
        """Note who belongs to it now; all that were noted so far."""
        self.family |= _family(self.process.pid) | _named(str(self._directory))
        return self.family

    def is_over(self) -> bool:
        """Nobody of its family is left, also of those that were not noted."""
        return not _alive(self.family | _named(str(self._directory)))

    def ends(self) -> int:
        """Wait for the end; the status."""
        until(lambda: self.process.poll() is not None, f"its end:\n{self.output()}", _ENDED_S)
        return int(self.process.returncode)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the command keeps everything; whoever servers run as can reach it."""
    path = new_directory("full")
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Full]]:
    """Starts the command; nothing of it is left after the test, however that ends."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to see which processes there are")
    # Installed by the tests, if at all: the command would take it for its own to do.
    postgres_programs()
    redis_server()
    started: list[Full] = []

    def begin(*command: str) -> Full:
        started.append(Full([*command], directory))
        return started[-1]

    yield begin
    for full in started:
        full.look()
        full.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            full.process.wait(_ENDED_S)
        full.process.kill()
        full.process.wait()
        for pid, _ in _alive(full.look()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """The fields of a process from its state on; None: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None


def _family(pid: int) -> set[Born]:
    """A process and all that descend from it."""
    found = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    members, grows = {pid}, True
    while grows:
        children = {each for each, stat in found.items() if stat is not None and int(stat[1]) in members}
        grows = not children <= members
        members |= children
    return {(each, stat[19]) for each in members if (stat := found.get(each)) is not None}


def _named(directory: str) -> set[Born]:
    """Processes that were given something below a directory, whosever children they are."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and directory.encode() in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    return {(pid, stat[19]) for pid in found if (stat := _stat(pid)) is not None}


def _alive(family: set[Born]) -> set[Born]:
    """Those that have not ended."""
    return {(pid, begun) for pid, begun in family if (stat := _stat(pid)) and stat[19] == begun and stat[0] != "Z"}


def _two_ports() -> int:
    """The first of two in a row that nobody uses."""
    while True:
        first = free_port()
        with socket.socket() as second, suppress(OSError):
            second.bind(("127.0.0.1", first + 1))
            return first


def _config(directory: Path, simulator_url: str) -> Path:
    path = directory / "penstock.yaml"
    path.write_text(CONFIG.replace("$SIMULATOR", simulator_url), encoding="utf-8")
    return path


def _python(port: int, *arguments: str) -> list[str]:
    """What the target runs once all is built."""
    return [sys.executable, "-m", "tools.run_full", "--host", "127.0.0.1", "--port", str(port), *arguments]


def _make(port: int, *arguments: str) -> list[str]:
    """The target itself, with nothing built before it and this Python."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed, so its target is NOT TESTED")
    words = [f"PORT={port}", f"PY={sys.executable}", f"ARGS={' '.join(arguments)}"]
    return ["make", "--old-file=setup", "run-full", *words]


def _asked(url: str, sql: str) -> list[Any]:
    async def ask() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("command, number", [(_make, signal.SIGINT), (_python, signal.SIGTERM)], ids=["make", "python"])
def test_both_gateways_answer_the_ledger_has_it_and_a_signal_ends_everything(
    start: Callable[..., Full],
    directory: Path,
    simulator_url: str,
    command: Callable[..., list[str]],
    number: signal.Signals,
) -> None:
    first = _two_ports()
    full = start(*command(first, "--config", str(_config(directory, simulator_url))))
    said = full.said(_SAID.search)
    assert [said["one"], said["two"]] == [f"http://127.0.0.1:{first}", f"http://127.0.0.1:{first + 1}"]
    admin = {"authorization": f"Bearer {said['admin']}"}
    with httpx.Client(timeout=60, trust_env=False, verify=NO_TLS) as client:
        key = client.post(f"{said['one']}/key/generate", headers=admin, json={}).json()["key"]
        cost = 0
        for gateway in (said["one"], said["two"]):
            answer = client.post(
                f"{gateway}/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=question()
            )
            assert answer.status_code == 200, answer.text
            usage = answer.json()["usage"]
            cost += cost_of_priced(usage["prompt_tokens"], usage["completion_tokens"])

        def spend(gateway: str) -> int:
            answer = client.get(f"{gateway}/key/info", headers=admin, params={"key": key})
            return nanos(answer.json()["info"]["spend"])

        for gateway in (said["one"], said["two"]):
            until(lambda gateway=gateway: spend(gateway) == cost, "both calls are charged")  # type: ignore[misc]
    assert cost > 0
    assert _asked(said["postgres"], "SELECT COUNT(*) AS n, SUM(cost)::bigint AS cost FROM usage")[0] == (2, cost)
    family = full.look()
    # PostgreSQL with its own, Redis, two gateways, the coworker, and who started them.
    assert len(family) > 6
    # As the terminal tells everybody in the foreground, or a supervisor the process that it knows.
    os.killpg(full.process.pid, number) if number == signal.SIGINT else full.process.send_signal(number)
    status = full.ends()
    assert status == 0 or command is _make, full.output()
    assert "Traceback" not in full.output()
    until(full.is_over, "nothing runs any more")
    assert {each.name for each in directory.iterdir()} == {"output.log", "penstock.yaml"}, "nothing is left behind"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_it_is_ready_leaves_nothing_either(
    start: Callable[..., Full], directory: Path, simulator_url: str, number: signal.Signals
) -> None:
    full = start(*_python(_two_ports(), "--config", str(_config(directory, simulator_url))))
    # The first gateway is there, the second is not.
    full.said(lambda output: '"ready"' in output)
    full.look()
    full.process.send_signal(number)
    full.ends()
    until(full.is_over, "nothing runs any more")
    assert {each.name for each in directory.iterdir()} == {"output.log", "penstock.yaml"}, "nothing is left behind"
