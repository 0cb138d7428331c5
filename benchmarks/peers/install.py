"""Environments of peers: made once per set of pins, outside the checkout, and found again by them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import msgspec

from benchmarks.peers.catalogue import PINS, Pins, split
from benchmarks.targets import NotMeasured

INSTALL_SECONDS = 600
STAMP = "installed"


def cache() -> Path:
    """Where environments are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "penstock" / "peers"


def folder(name: str) -> Path:
    """The environment for a peer's present pins and this interpreter."""
    parts = msgspec.json.encode([PINS[name], sys.version_info[:2]])
    return cache() / f"{name}-{hashlib.sha256(parts).hexdigest()[:12]}"


def programs(name: str) -> Path:
    """Where a peer's programs are.

    Raises:
        NotMeasured: it is not installed.
    """
    if not (folder(name) / STAMP).exists():
        raise NotMeasured(f"not installed; run `python -m benchmarks.peers install {name}`")
    return folder(name) / _bin(PINS[name])


def _bin(pins: Pins) -> str:
    return "bin" if pins.registry == "pypi" else "node_modules/.bin"


def install(name: str) -> Path:
    """Makes a peer's environment, unless it is there; removes those of its former pins.

    Raises:
        NotMeasured: it cannot be installed here; says what failed.
    """
    target, pins = folder(name), PINS[name]
    if (target / STAMP).exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if pins.registry == "pypi":
        venv.create(target, with_pip=True)
        pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
        _run([*pip, "--disable-pip-version-check", *pins.packages], target)
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise NotMeasured("npm is not installed")
        (target / "package.json").write_text(json.dumps(package_json(pins), indent=2))
        _run([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"], target)
    (target / STAMP).touch()
    for other in cache().glob(f"{name}-*"):
        # The digest has no hyphen, so that a peer whose name begins with this one's is left alone.
        if other != target and other.name.rpartition("-")[0] == name:
            shutil.rmtree(other, ignore_errors=True)
    return target


def package_json(pins: Pins) -> dict[str, object]:
    """What npm is to install."""
    return {
        "private": True,
        "dependencies": dict(map(split, pins.packages)),
        "overrides": dict(map(split, pins.overrides)),
    }


def _run(command: list[str], where: Path) -> None:
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"{Path(command[0]).name} took longer than {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise NotMeasured(f"{Path(command[0]).name} failed with status {done.returncode}: {' | '.join(said)}")
