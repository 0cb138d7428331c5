"""Gateways are replaced one by one by those of a newer version, under load, while keys and prices change: no call fails."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import penstock
from tests.conftest import Gateway, Process
from tests.faults.accounts import Row, note, verdict
from tests.faults.ledger.balancer import Balanced
from tests.faults.ledger.crowd import Seen
from tests.faults.ledger.gateways import PATIENT, Site, balanced, price
from tests.integration.managed import nanos
from tests.rig import Sim, until
from tests.stalls import Stopwatch

Start = Callable[..., Site]
MIGRATION = "9000_newer_version.sql"
EXPAND = """
CREATE TABLE newer_things (id BIGINT PRIMARY KEY, name TEXT COLLATE "C" NOT NULL DEFAULT '');
ALTER TABLE usage ADD COLUMN newer_note TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN newer_mark BIGINT NOT NULL DEFAULT 0;
ALTER TABLE scopes ADD COLUMN newer_mark BIGINT NOT NULL DEFAULT 0;
CREATE INDEX keys_by_newer_mark ON keys (newer_mark) WHERE newer_mark > 0;
"""
"""What the newer version has more: tables that both versions write get columns."""
MORE = PATIENT + "  listener: {shutdown_delay: 1s}\ngeneral_settings: {store_model_in_db: true}\n"
"""Load balancers have a second to find out that a gateway is about to go."""
TOLD_S = 2.0
"""Within which everybody knows of a change."""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The version after this one, for `PYTHONPATH`: the same program with one more migration."""
    tree = tmp_path / "newer"
    shutil.copytree(Path(penstock.__file__).parent, tree / "penstock", copy_function=os.symlink)
    (tree / "penstock" / "persistence" / "migrations" / "postgres" / MIGRATION).write_text(EXPAND, encoding="utf-8")
    return tree


def _migrate(site: Site, newer: Path, directory: Path) -> None:
    """As a deployment does it before its first gateway."""
    done = Process(["migrate"], directory, {**site.environment, "PYTHONPATH": str(newer)})
    assert done.wait() == 0, done.output()
    assert f"applied {MIGRATION}" in done.output()


def _replace(site: Site, members: list[Gateway], name: str, newer: Path) -> Gateway:
    """Drain the first one, wait for its end, start the newer one on its data."""
    old = members[0]
    old.process.process.send_signal(signal.SIGTERM)
    assert old.process.wait() == 0, old.process.output()
    members.append(site.gateway(name, more=MORE, PYTHONPATH=str(newer)))
    members.remove(old)
    return members[-1]


def _post(gateway: Gateway, path: str, body: object) -> float:
    """A change by the administrator; when it was confirmed (monotonic)."""
    with gateway.client() as client:
        answer = client.post(path, headers=gateway.admin, json=body)
    assert answer.status_code == 200, answer.text
    return time.monotonic()


def _new_model(gateway: Gateway) -> str:
    parameters = {
        "model": "openai/gpt-sim",
        "api_base": f"{gateway.simulator_url}/v1",
        "api_key": "sk-upstream",
        "input_cost_per_token": 0.000001,
        "output_cost_per_token": 0.000002,
    }
    with gateway.client() as client:
        body = {"model_name": "priced", "litellm_params": parameters, "model_info": {}}
        answer = client.post("/model/new", headers=gateway.admin, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model_id"])


def _failed(seen: list[Seen]) -> list[Seen]:
    return [each for each in seen if not (each.whole and each.status == 200)]


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("streams", [24, pytest.param(200, marks=pytest.mark.long)])
def test_a_rolling_upgrade_fails_no_call(
    database_url: str, redis_url: str, start_site: Start, sim: Sim, newer: Path, tmp_path: Path, streams: int
) -> None:
    site = start_site(database_url, redis_url)
    members = site.gateways("one", "two", more=MORE)
    model = _new_model(members[0])
    since = sim.mark()
    key, priced, revoked = (members[0].new_key(rpm_limit=1_000_000, max_budget=100) for _ in range(3))
    # Both have heard of the model before it is asked for.
    for member in members:
        until(lambda member=member: _serves(member, "priced"), "the model is known")  # type: ignore[misc]
    with (
        Balanced(members, key, streams=streams, unary=1, tokens=(3, 12)) as main,
        Balanced(members, priced, unary=1, model="priced") as paying,
        Balanced(members, revoked, unary=1) as leaving,
    ):
        crowds = (main, paying, leaving)
        until(main.served(30), "answers")
        _migrate(site, newer, tmp_path)
        until(main.served(30), "answers by the older version on the newer schema")
        first = _replace(site, members, "one", newer)
        watch = Stopwatch()
        revoked_at = _post(members[0], "/key/delete", {"keys": [revoked]})
        change = {"model_info": {"id": model}, "litellm_params": {"input_cost_per_token": 0.000003}}
        begun_at, changed_at = time.monotonic(), _post(first, "/model/update", change)
        until(lambda: time.monotonic() > changed_at + TOLD_S + watch.stood_s, "everybody knows", 30)
        told_s = TOLD_S + watch.stood_s
        _replace(site, members, "two", newer)
        until(main.served(30), "answers by the newer version")
        until(paying.served(10), "answers at the new price")
    for crowd in crowds:
        crowd.gateway = first
    note(f"{len(main.seen) + len(paying.seen)} calls, {sum(crowd.elsewhere for crowd in crowds)} sent elsewhere")
    assert _failed(main.seen + paying.seen) == []
    late = [seen for seen in leaving.seen if seen.began >= revoked_at + told_s]
    assert len(late) > 10
    assert {seen.status for seen in late} == {401}, "it is refused by all, and does not revive"
    assert {seen.status for seen in leaving.seen} == {200, 401}
    assert _failed([seen for seen in leaving.seen if seen.status == 200 or seen.began < begun_at - 5]) == []
    rows = balanced(site, sim, since, first, main, paying, also=revoked, price=_either)
    assert {verdict(row)[0] for row in rows} == {"ok"}
    _priced(rows, paying, begun_at, changed_at + told_s)


def _serves(gateway: Gateway, model: str) -> bool:
    with gateway.client() as client:
        listed = client.get("/v1/models", headers=gateway.admin).json()["data"]
    return model in {one["id"] for one in listed}


def _either(row: Row) -> int:
    """The price before or after the change."""
    return price(row) + (2_000 * row["prompt_tokens"] if _is_dearer(row) else 0)


def _is_dearer(row: Row) -> bool:
    return bool(row["model_group"] == "priced" and nanos(row["spend"]) > price(row))


def _priced(rows: list[Row], paying: Balanced, begun_at: float, told_at: float) -> None:
    """Calls before the change cost what they did before it, and those that began when everybody knew what they do now."""
    cost = {row["request_id"]: _is_dearer(row) for row in rows}
    before = {cost[seen.call_id] for seen in paying.seen if seen.began + seen.seconds < begun_at}
    after = {cost[seen.call_id] for seen in paying.seen if seen.began >= told_at}
    assert (before, after) == ({False}, {True})
