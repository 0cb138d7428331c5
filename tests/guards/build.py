"""Builds the counted program, so that what is counted is always what the sources say."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.guards.stored import ROOT


def program() -> Path:
    """The program, built in the profile that everything else is built in.

    Raises:
        subprocess.CalledProcessError: it does not compile; cargo has said why on standard error.
    """
    # The Makefile's default, for whoever runs pytest by hand.
    environment = {"CARGO_TARGET_DIR": str(Path.home() / ".cache/penstock/target"), **os.environ}
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "penstock-guards"]
    command += ["--message-format=json-render-diagnostics"]
    told = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout
    artifacts = (json.loads(line) for line in told.splitlines())
    return next(Path(a["executable"]) for a in artifacts if a.get("executable"))
