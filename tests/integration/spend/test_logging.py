"""Logs: one JSON object per line, with the call's id where a call fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.integration.managed import CONFIG, Managed, until


def records(managed: Managed) -> list[dict[str, Any]]:
    """Every line of output that is a log record; all that begin like one must be one. The last may not be whole yet."""
    whole = managed.gateway.process.output().rpartition("\n")[0]
    lines = [line for line in whole.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def test_every_line_is_a_record_and_failures_carry_the_calls_id(start_managed: Callable[..., Managed]) -> None:
    managed = start_managed(config=CONFIG, arguments=["--log-level", "debug"])
    key = managed.key()
    failed = {
        managed.chat(key, sim={"status": 500}).headers["x-penstock-call-id"]: 500,
        managed.chat(key, model="unreachable").headers["x-penstock-call-id"]: 502,
        managed.chat(key, sim={"fault": "reset_after:0"}).headers["x-penstock-call-id"]: 502,
    }
    assert managed.chat(key).status_code == 200

    def told() -> dict[str, dict[str, Any]] | None:
        found = {str(record["call_id"]): record for record in records(managed) if "call_id" in record}
        return found if failed.keys() <= found.keys() else None

    by_call = until(told, what="a record of every failed call")
    for call, status in failed.items():
        record = by_call[call]
        assert record["status"] == status
        assert record["level"] in ("warning", "error")
        assert record["message"]
    assert managed.gateway.process.stop() == 0
    for record in records(managed):
        assert {"ts", "level", "logger", "message"} <= set(record)
        assert datetime.fromisoformat(record["ts"]).tzinfo is not None
        assert record["level"] in ("debug", "info", "warning", "error", "critical")
    told_of = [str(record["call_id"]) for record in records(managed) if record.get("call_id") in failed]
    assert sorted(told_of) == sorted(failed), "a failed call is told once"
    output = managed.gateway.process.output()
    assert "unknown event" not in output
    strays = [line for line in output.splitlines() if line.strip() and not line.startswith("{")]
    banner = "\n".join(strays)
    assert "Traceback" not in banner
    assert all(line.startswith("  ") for line in strays), "the banner and nothing else is not JSON"
