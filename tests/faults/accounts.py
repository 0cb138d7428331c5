"""Both sides' books: the gateway's usage records, the simulator's ledger, and whether they agree."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from tests.conftest import Gateway
from tests.rig import Sim, until

Row = dict[str, Any]
logger = logging.getLogger("tests.faults")


class BooksDiffer(Exception):
    """What must not happen even on a machine that stands still."""


def note(text: str) -> None:
    """Figures worth knowing, shown with `--log-cli-level=INFO`."""
    logger.info(text)


def rows_of(gateway: Gateway, key: str) -> list[Row]:
    """All usage records of a key, oldest first."""
    rows: list[Row] = []
    parameters: dict[str, Any] = {"api_key": key, "limit": 1000}
    with gateway.client() as client:
        while True:
            answer = client.get("/spend/logs", headers=gateway.admin, params=parameters)
            assert answer.status_code == 200, answer.text
            rows += answer.json()
            if "x-next-cursor" not in answer.headers:
                return rows[::-1]
            parameters["cursor"] = answer.headers["x-next-cursor"]


def only_row(gateway: Gateway, key: str) -> Row:
    """The one record of a key that made one call.

    Raises:
        BooksDiffer: there are several.
    """
    rows = until(lambda: rows_of(gateway, key), "the usage record")
    if len(rows) > 1:
        raise BooksDiffer(rows)
    return rows[0]


def usage(row: Row) -> tuple[int, int]:
    """Prompt and completion tokens."""
    return row["prompt_tokens"], row["completion_tokens"]


def never_charged(row: Row) -> None:
    """Nothing was got for it.

    Raises:
        BooksDiffer: tokens or money are charged.
    """
    if usage(row) != (0, 0) or row["spend"] != 0:
        raise BooksDiffer(row)


def verdict(row: Row) -> tuple[str, str]:
    """How the call ended and who counted its tokens."""
    return row["metadata"]["outcome"], row["metadata"]["usage_source"]


def gauge(gateway: Gateway, name: str) -> int:
    """A gauge of the data plane."""
    with gateway.client() as client:
        text = client.get("/metrics", headers=gateway.admin).text
    found = re.search(rf"^{name} (\d+)$", text, re.M)
    assert found is not None, f"{name} is not among the metrics"
    return int(found[1])


def idle(gateway: Gateway, seconds: float = 10) -> None:
    """Wait until no call is in flight."""
    until(lambda: gauge(gateway, "penstock_in_flight_requests") == 0, "no call in flight", seconds)


def descriptors(pid: int) -> int:
    """Open file descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def settled(sim: Sim, since: int, calls: set[str] | None = None) -> list[Row]:
    """The simulator's entries after `since`, of these calls only, once all are closed."""

    def probe() -> list[Row] | None:
        entries = [e for e in sim.ledger(since) if e["call_id"] and (calls is None or e["call_id"] in calls)]
        return None if any(entry["outcome"] == "open" for entry in entries) else entries

    found = until(probe, "every answer of the simulator has ended")
    assert found is not None
    return found


def never_differ(rows: list[Row], entries: list[Row]) -> None:
    """For tests that are made again after a standstill, which this is no reason for.

    Raises:
        BooksDiffer: see :func:`differences`.
    """
    if wrong := differences(rows, entries):
        raise BooksDiffer(wrong)


def differences(rows: list[Row], entries: list[Row]) -> list[str]:
    """Where the two books disagree about calls of one attempt each; empty when they are equal to the token.

    An answer that began is billed for its prompt and for the tokens that were written; one that did not begin for
    nothing.
    """
    wrong = []
    ours = {row["request_id"]: row for row in rows}
    if len(ours) != len(rows):
        wrong.append(f"{len(rows) - len(ours)} calls were recorded twice")
    for entry in entries:
        row = ours.pop(entry["call_id"], None)
        if row is None:
            wrong.append(f"not recorded: {_short(entry)}")
            continue
        if entry["outcome"] == "completed":
            theirs = (entry["prompt_tokens"], entry["completion_tokens"])
        elif entry["events_sent"] > 0:
            theirs = (entry["prompt_tokens"], entry["tokens_sent"])
        else:
            theirs = (0, 0)
        if usage(row) != theirs:
            wrong.append(f"ours {usage(row)} {verdict(row)}, the simulator's {theirs}: {_short(entry)}")
    unsent = [row for row in ours.values() if usage(row) != (0, 0)]
    return wrong + [f"billed, although nothing was sent upstream: {row['request_id']} {usage(row)}" for row in unsent]


def _short(entry: Row) -> dict[str, Any]:
    names = ("call_id", "outcome", "stream", "status", "tokens_sent", "events_sent", "completion_tokens")
    return {name: entry[name] for name in names}
