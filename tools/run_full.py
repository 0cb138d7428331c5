"""Everything at once on this machine, to try what needs more than one process: PostgreSQL, Redis, two gateways, a coworker.

The servers are those of the tests (`tests/servers`): started on free ports, kept in a temporary directory, gone at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import _pytest.outcomes
import httpx

from tests.servers.postgres import Postgres
from tests.servers.redis import Redis

_READY_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_LOOK_INTERVAL_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CONFIG = """
general_settings: {store_model_in_db: true}
"""


def main() -> int:
    """Start all of it, wait for Ctrl-C, stop all of it."""
    parser = argparse.ArgumentParser(prog="make run-full", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1", help="address of the gateways (%(default)s)")
    parser.add_argument("--port", type=int, default=4000, help="port of the first gateway; the second has the next one")
    parser.add_argument("--config", type=Path, help="configuration of both gateways and the coworker")
    options = parser.parse_args()
    # From the first moment: what has been started already is stopped.
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            return _run(stack, options.host, options.port, options.config)
    except KeyboardInterrupt:
        return 0
    except _pytest.outcomes.Skipped as missing:
        print(missing, file=sys.stderr)
        return 1


def _interrupt(*_: object) -> None:
    """Once; another signal must not interrupt the stopping."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(stack: ExitStack, host: str, port: int, config: Path | None) -> int:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-full-")))
    postgres = Postgres.create()
    stack.callback(postgres.close)
    redis = Redis(aof=True)
    stack.callback(redis.close)
    if config is None:
        config = directory / "config.yaml"
        config.write_text(_CONFIG, encoding="utf-8")
    admin_key = os.environ.get("PENSTOCK_MASTER_KEY") or f"sk-{secrets.token_hex(24)}"
    environment = {
        **os.environ,
        "PENSTOCK_MASTER_KEY": admin_key,
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
        "DATABASE_URL": postgres.url(postgres.new_database()),
        "REDIS_URL": redis.url,
    }
    commands = {
        f"gateway-{number}": ["serve", "--host", host, "--port", str(port + number - 1)] for number in (1, 2)
    } | {"coworker": ["coworker"]}
    running: dict[str, subprocess.Popen[bytes]] = {}
    for name, command in commands.items():
        arguments = [*command, "--config", str(config), "--data-dir", str(directory / name)]
        running[name] = stack.enter_context(_started(arguments, environment))
        if command[0] == "serve" and not _is_ready(f"http://{host}:{port + len(running) - 1}", running[name]):
            print(f"{name} does not get ready", file=sys.stderr)
            return 1
    print(
        f"\nTwo gateways, one state:  http://{host}:{port}  http://{host}:{port + 1}\n"
        f"Admin key:   {admin_key}\nPostgreSQL:  {environment['DATABASE_URL']}\nRedis:       {redis.url}\n\n"
        f"curl http://{host}:{port + 1}/v1/chat/completions -H 'Authorization: Bearer {admin_key}' \\\n"
        "  -H 'Content-Type: application/json' "
        '-d \'{"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}\'\n\nCtrl-C stops everything.',
        flush=True,
    )
    pause = threading.Event()
    while not pause.wait(_LOOK_INTERVAL_S):
        for name, process in running.items():
            if process.poll() is not None:
                print(f"{name} has ended with status {process.returncode}", file=sys.stderr)
                return 1
    return 0


@contextlib.contextmanager
def _started(arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    # A group of its own: Ctrl-C is for this program, which stops the others in order.
    process = subprocess.Popen([sys.executable, "-m", "penstock", *arguments], env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    pause = threading.Event()
    for _ in range(int(_READY_TIMEOUT_S / _LOOK_INTERVAL_S)):
        if process.poll() is not None:
            return False
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/_health/ready", timeout=1, trust_env=False).status_code == 200:
                return True
        pause.wait(_LOOK_INTERVAL_S)
    return False


if __name__ == "__main__":
    sys.exit(main())
