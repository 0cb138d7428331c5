"""Running an installed peer: rendering its files, starting it on its cores, comparing its answers."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
from pathlib import Path

from benchmarks.peers import proof
from benchmarks.peers.catalogue import HERE, PINS, Launch, Values, read_launch
from benchmarks.peers.install import programs
from benchmarks.processes import Process, StartError, free_port
from benchmarks.scenarios import MODELS
from benchmarks.targets import NotMeasured, Target, chat_url

KEPT = ("PATH", "LANG", "LC_ALL")
"""Of the caller's environment; whatever else is set shall not reach the peer."""
VERSION = re.compile(r"\d+(?:\.\d+)+(?:[.\-+]?[0-9A-Za-z]+)*")
VERSION_SECONDS = 60


def version(name: str) -> str:
    """What an installed peer says its version is.

    Raises:
        NotMeasured: it is not installed, or not in the pinned version.
    """
    values = Values(bin=str(programs(name)))
    command = [values.render(word) for word in read_launch(name).version]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=VERSION_SECONDS, check=True, env=_environment({}, None)
        )
    except (OSError, subprocess.SubprocessError) as e:
        raise NotMeasured(f"does not say its version: {e}") from e
    said = VERSION.search(done.stdout)
    if said is None or said[0] != PINS[name].version:
        raise NotMeasured(f"says its version is {done.stdout.strip()[-200:]!r}, and {PINS[name].version} is pinned")
    return said[0]


def start(name: str, folder: Path, upstream: int, cores: frozenset[int] | None) -> tuple[Target, Process]:
    """Starts an installed peer in front of the upstream's port, with everything it writes inside ``folder``.

    It is ready when it has answered a call, and returned when its answers are the upstream's.

    Raises:
        NotMeasured: it is not installed, does not start, or does not answer as the upstream does.
    """
    launch, path, said = read_launch(name), programs(name), version(name)
    if launch.probes_health and not _is_healthy(upstream):
        raise NotMeasured(f"probes its upstream, and port {upstream} does not answer GET /health with 200")
    folder.mkdir()
    threads = len(cores) if cores else 1
    values = Values(
        bin=str(path), folder=str(folder), port=free_port(), metrics=free_port(), upstream=upstream, threads=threads
    )
    write_files(name, launch, values, folder)
    command = [values.render(word) for word in launch.command]
    environment = _environment({key: values.render(text) for key, text in launch.environment.items()}, folder)
    try:
        process = Process(name, command, folder / "log", cores, environment)
    except FileNotFoundError as e:
        raise NotMeasured(f"cannot be started: {e}") from e
    try:
        started = target(name, launch, values, process.pid, said)
        process.wait_until(lambda: proof.answers(started), launch.start_seconds)
        proof.prove(started, upstream)
    except StartError as e:
        process.stop()
        raise NotMeasured(str(e)) from e
    except BaseException:
        process.stop()
        raise
    return started, process


def target(name: str, launch: Launch, values: Values, pid: int, version: str) -> Target:
    """What the load is driven through."""
    url = chat_url(values.port)
    return Target(
        name,
        unary_url=url,
        stream_url=url,
        pid=pid,
        features="off",
        headers=tuple((field, values.render(text)) for field, text in launch.headers.items()),
        models=MODELS if launch.aliases else {},
        version=version,
    )


def write_files(name: str, launch: Launch, values: Values, folder: Path) -> None:
    """Renders a peer's config templates into the folder it runs in."""
    for file in launch.files:
        text = (HERE / name / file).read_text(encoding="utf-8")
        (folder / file).write_text(values.render_file(text, MODELS), encoding="utf-8")


def _environment(own: dict[str, str], home: Path | None) -> dict[str, str]:
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    return kept | {"HOME": str(home or Path.home()), "DO_NOT_TRACK": "1"} | own


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
