"""The official OpenAI Node SDK against the gateway; the assertions are in ``tests/node``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Gateway

SUITE = Path(__file__).resolve().parent.parent / "node"
NODE = shutil.which("node")


@pytest.mark.skipif(not (SUITE / "node_modules/openai").is_dir(), reason="run `npm ci` in tests/node")
@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.timeout(500)
def test_openai_node_sdk(door: Gateway) -> None:
    """Every test of the Node suite passes against the public port."""
    assert NODE is not None
    variables = {
        **os.environ,
        "PENSTOCK_URL": door.url,
        "PENSTOCK_KEY": door.admin_key,
        "PENSTOCK_SLOW_MODEL": "openai/sim/ttft=0,tps=20,tokens=400",
        "NO_COLOR": "1",
    }
    run = subprocess.run(
        [NODE, "--test", "--test-reporter=tap"],
        cwd=SUITE,
        env=variables,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, f"node --test failed\n{run.stdout}\n{run.stderr}"
    # node ends with 0 when it finds no test at all
    passed = re.search(r"^# pass (\d+)$", run.stdout, re.M)
    assert passed is not None, run.stdout
    assert int(passed[1]) > 0, run.stdout
