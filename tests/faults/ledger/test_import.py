"""A host that does not come back: what was saved of its data directory is written down by hand, once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.accounts import gauge, verdict
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import Site, balanced
from tests.rig import Sim, until

Start = Callable[..., Site]
_STREAMS = 60


def _import(site: Site, directory: Path, data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`penstock ledger import`."""
    return subprocess.run(
        [sys.executable, "-m", "penstock", "ledger", "import", str(directory), "--data-dir", str(data_dir), *options],
        env=site.plain_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("shared", ["sqlite", "sqlite, redis", "postgres", "postgres, redis"])
def test_the_journal_of_a_lost_host_is_written_down_once(
    start_site: Start, sim: Sim, tmp_path: Path, shared: str, request: pytest.FixtureRequest
) -> None:
    has_redis, is_sqlite = "redis" in shared, "sqlite" in shared
    database_url = "" if is_sqlite else request.getfixturevalue("database_url")
    site = start_site(database_url, request.getfixturevalue("redis_url") if has_redis else "")
    lost = site.gateway("one")
    data, saved = lost.directory / "data", tmp_path / "saved"
    key, since = lost.new_key(), sim.mark()
    with Crowd(lost, key, streams=_STREAMS, unary=4) as crowd:
        until(crowd.served(_STREAMS // 2), "answers", 20)
        until(lambda: gauge(lost, "penstock_in_flight_requests") > _STREAMS // 2, "calls in flight", 20)
        used = _import(site, data, tmp_path / "other")
        assert used.returncode == 1
        assert "is in use" in used.stderr, used.stderr
        # A copy of what is still being written has no lock.
        shutil.copytree(data / "journal", saved / "journal")
        if has_redis:
            running = _import(site, saved, tmp_path / "other", "--ended")
            assert running.returncode == 1
            assert "is running" in running.stderr, running.stderr
        shutil.rmtree(saved)
        site.kill(lost.process)
        shutil.copytree(data / "journal", saved / "journal")
        shutil.copytree(data / "journal", tmp_path / "again" / "journal")
        shutil.rmtree(data / "journal")
        crowd.stop()
    if shared != "sqlite":
        early = _import(site, saved, tmp_path / "other")
        assert early.returncode == 1
        assert "a moment ago" in early.stderr, early.stderr
    data_dir = data if is_sqlite else tmp_path / "other"
    ended = ["--ended"] if has_redis else []
    if shared == "postgres":
        # As if it had been silent for a minute.
        site.forget_progress_times()
    done = until(
        lambda: found if (found := _import(site, saved, data_dir, *ended)).returncode == 0 else None, "it is imported"
    )
    assert done is not None
    assert "of 1 runs are in the ledger" in done.stdout, done.stdout + done.stderr
    assert _import(site, saved, data_dir).returncode == 1, "nothing is left of it"
    rows = site.count()
    if shared == "postgres":
        site.forget_progress_times()
    again = _import(site, tmp_path / "again", data_dir, *ended)
    assert again.returncode == 0, again.stderr
    assert site.count() == rows, "the same records once more"
    other = site.gateway("one" if is_sqlite else "two")
    found = balanced(site, sim, since, other, crowd)
    assert {verdict(row)[0] for row in found} == {"ok", "gateway_lost"}
