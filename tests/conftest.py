"""Fixtures that several folders share: a real gateway as a process, and an app on a stand-in for the data plane."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests import fake_core
from tests.rig import CONFIG, NO_TLS, Sim
from tests.servers.child import free_port as free_port
from tests.servers.fixtures import database_url, new_database_url, postgres, redis, redis_url, start_proxy  # noqa: F401

_T = TypeVar("_T")
_START_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 40


class Process:
    """A `penstock` command that announces itself with a JSON line `{"event": "ready", "address": ...}`."""

    def __init__(
        self, arguments: list[str], directory: Path, environment: dict[str, str] | None = None, module: str = "penstock"
    ) -> None:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}}
        # A file and not a pipe: a pipe that nobody empties stops a process that logs much.
        self._output = directory / f"output-{secrets.token_hex(4)}.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**kept, **(environment or {})},
            )
        self.started_at = time.monotonic()

    def wait_ready(self) -> dict[str, Any]:
        """The line that says so; fails with the output when the process ends first."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            has_ended = self.process.poll() is not None
            for line in self.output().splitlines():
                if line.startswith("{") and '"ready"' in line:
                    try:
                        return dict(json.loads(line))
                    except ValueError:
                        continue
            if has_ended:
                break
            select.select([], [], [], 0.01)
        self.close()
        raise AssertionError(f"not ready:\n{self.output()}")

    def output(self) -> str:
        """Everything written so far."""
        return self._output.read_bytes().decode(errors="replace")

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Send a signal, if it runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.tell(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end, which something else brings about."""
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"did not stop:\n{self.output()}")
            select.select([], [], [], 0.02)
        return self.process.returncode

    def close(self) -> None:
        """Stop. Idempotent."""
        self.stop()


class Gateway:
    """`penstock serve` on a free port with a simulator beside it."""

    def __init__(
        self,
        directory: Path,
        simulator_url: str,
        *,
        listener: str = "native",
        config: str | None = None,
        environment: dict[str, str] | None = None,
        arguments: list[str] | None = None,
    ) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.simulator_url = simulator_url
        self.admin_key = f"sk-{secrets.token_hex(24)}"
        command = ["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", str(self.data_dir)]
        command += ["--listener", listener, *(arguments or [])]
        if config is not None:
            path = directory / "config.yaml"
            path.write_text(config.replace("$SIMULATOR", simulator_url), encoding="utf-8")
            command += ["--config", str(path)]
        self.process = Process(command, directory, {"PENSTOCK_MASTER_KEY": self.admin_key, **(environment or {})})
        self.ready = self.process.wait_ready()
        self.url = str(self.ready["address"])
        self.pid = self.process.process.pid

    @property
    def admin(self) -> dict[str, str]:
        """Headers of the administrator."""
        return {"authorization": f"Bearer {self.admin_key}"}

    def client(self, **options: Any) -> httpx.Client:
        """A client of this gateway without credentials of its own."""
        return httpx.Client(**{"base_url": self.url, "timeout": 30, "trust_env": False, "verify": NO_TLS, **options})

    def new_key(self, **fields: Any) -> str:
        """A virtual key."""
        with self.client() as client:
            answer = client.post("/key/generate", headers=self.admin, json=fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["key"])

    def close(self) -> None:
        """Stop it."""
        self.process.close()


def at_once(*works: Callable[[], _T]) -> list[_T]:
    """Do beside each other what mostly waits for other processes; what each returned. The first that failed fails it, when all
    are over."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [each.result() for each in [pool.submit(work) for work in works]]


def close_all(processes: list[Process]) -> None:
    """Tell all of them to stop and wait for their end."""
    for process in processes:
        process.tell()
    for process in processes:
        process.close()


def _needs_extension() -> None:
    pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")


@pytest.fixture(scope="session")
def simulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a simulator that runs for the whole session."""
    _needs_extension()
    simulator = Process(["simulate", "--port", "0"], tmp_path_factory.mktemp("simulator"))
    try:
        yield str(simulator.wait_ready()["address"])
    finally:
        simulator.close()


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts commands with the options of :class:`Process`; stops them all at the end of the test."""
    _needs_extension()
    started: list[Process] = []

    def start(*arguments: str, **options: Any) -> Process:
        started.append(Process(list(arguments), tmp_path, **options))
        return started[-1]

    yield start
    close_all(started)


@pytest.fixture
def start_gateway(tmp_path: Path, simulator_url: str) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways with the options of :class:`Gateway`, also from several threads; stops them all at the end of the test.

    With the ``directory`` of one that has ended it goes on with its data.
    """
    started: list[Gateway] = []
    numbers = itertools.count()

    def start(*, directory: Path | None = None, **options: Any) -> Gateway:
        if directory is None:
            directory = tmp_path / f"gateway-{next(numbers)}"
            directory.mkdir()
        started.append(Gateway(directory, simulator_url, **options))
        return started[-1]

    yield start
    close_all([gateway.process for gateway in started])


@pytest.fixture(scope="module", params=["native", "granian"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, simulator_url: str
) -> Iterator[Gateway]:
    """A gateway with the demo models, through each of the two doors, shared by a module's tests."""
    running = Gateway(tmp_path_factory.mktemp("gateway"), simulator_url, listener=request.param)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="session")
def sim(simulator_url: str) -> Iterator[Sim]:
    """The session's simulator from the inside."""
    inside = Sim(simulator_url)
    try:
        yield inside
    finally:
        inside.close()


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[dict[str, Gateway]]:
    """Gateways with `tests.rig.CONFIG`, one for each listener, shared by the whole session."""
    started: dict[str, Gateway] = {}
    try:
        for listener in ("native", "granian"):
            directory = tmp_path_factory.mktemp(f"door-{listener}")
            started[listener] = Gateway(directory, simulator_url, listener=listener, config=CONFIG)
        yield started
    finally:
        for gateway in started.values():
            gateway.close()


@pytest.fixture(params=["native", "granian"])
def door(request: pytest.FixtureRequest, doors: dict[str, Gateway]) -> Gateway:
    """Each of the two gateways of :func:`doors`."""
    return doors[request.param]


class FakeApp:
    """The app on :mod:`tests.fake_core`: a client, the fake engine and the runtime."""

    def __init__(self, client: httpx.AsyncClient, engine: fake_core.Engine, app: Any, admin_key: str) -> None:
        self.client = client
        self.engine = engine
        self.runtime = app.state.runtime
        self.runtime_app = app
        self.admin_key = admin_key
        self.admin = {"authorization": f"Bearer {admin_key}"}

    async def call(self, app: Any, method: str, path: str, **options: Any) -> httpx.Response:
        """One request to another app that has the same runtime."""
        app.state.runtime = self.runtime
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, **options)

    async def new_key(self, **fields: Any) -> dict[str, Any]:
        """What `/key/generate` answers."""
        answer = await self.client.post("/key/generate", headers=self.admin, json=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture
async def fake_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApp]:
    """A started app without a data plane."""
    monkeypatch.setitem(sys.modules, "penstock._core", fake_core.module())
    import penstock

    monkeypatch.setattr(penstock, "_core", fake_core.module(), raising=False)
    from penstock.app import create_app
    from penstock.config import Environment
    from penstock.engine.runtime import Runtime
    from penstock.settings import Flags, prepare

    admin_key = f"sk-{secrets.token_hex(24)}"
    prepared = prepare(Flags(data_dir=tmp_path / "data"), Environment({"PENSTOCK_MASTER_KEY": admin_key}))
    app = create_app(await Runtime.open(prepared))
    begun, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        # One task for both ends: the framework's lifespan may not be left by another task than entered it.
        async with app.lifespan():
            begun.set()
            await over.wait()

    task = asyncio.create_task(live())
    beginning = asyncio.create_task(begun.wait())
    await asyncio.wait({task, beginning}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        beginning.cancel()
        task.result()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 1))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield FakeApp(client, fake_core.Engine.latest, app, admin_key)
    over.set()
    await task
