"""A change to a key counts for the next call, whoever makes it and whatever is in flight."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.managed import Managed, until
from tests.stalls import Stopwatch


def command(managed: Managed, *arguments: str, status: int = 0) -> str:
    """`penstock key ...` on the gateway's data directory; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "key", *arguments, "--data-dir", str(managed.gateway.data_dir)],
        check=False,
        capture_output=True,
        text=True,
        env={"PENSTOCK_MASTER_KEY": managed.gateway.admin_key, "PYTHONPATH": str(Path(__file__).parents[3] / "python")},
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return (done.stdout if status == 0 else done.stderr).strip()


@pytest.mark.parametrize(
    "change,refusal,back",
    [
        ({"models": ["other"]}, "model_not_allowed", {"models": None}),
        ({"blocked": True}, "blocked_api_key", {"blocked": False}),
        ({"allowed_cidrs": ["10.0.0.0/8"]}, "address_not_allowed", {"allowed_cidrs": None}),
        ({"allowed_routes": ["/v1/embeddings"]}, "route_not_allowed", {"allowed_routes": None}),
        ({"rpm_limit": 0}, "rate_limit_exceeded", {"rpm_limit": None}),
        ({"tpm_limit": 1}, "rate_limit_exceeded", {"tpm_limit": None}),
        ({"max_parallel_requests": 0}, "rate_limit_exceeded", {"max_parallel_requests": None}),
        ({"max_budget": 0}, "budget_exceeded", {"max_budget": None}),
    ],
)
def test_each_field_counts_for_the_very_next_call(
    managed: Managed, change: dict[str, object], refusal: str, back: dict[str, object]
) -> None:
    key = managed.key()
    assert managed.chat(key).status_code == 200
    for _ in range(3):
        assert managed.post("/key/update", key=key, **change).status_code == 200
        assert managed.chat(key).json()["error"]["code"] == refusal
        assert managed.post("/key/update", key=key, **back).status_code == 200
        assert managed.chat(key).status_code == 200


def test_an_update_of_anything_does_not_reset_what_was_used(managed: Managed) -> None:
    key = managed.key(rpm_limit=6, tpm_limit=6_000, max_parallel_requests=1)
    for _ in range(3):
        assert managed.chat(key).status_code == 200
    managed.post("/key/update", key=key, tags=["new"], models=["priced"])
    managed.post("/key/block", key=key)
    managed.post("/key/unblock", key=key)
    assert managed.chat(key).headers["x-ratelimit-remaining-requests"] == "2"
    # Four of six were used, and this is the fifth of twelve.
    managed.post("/key/update", key=key, rpm_limit=12)
    assert managed.chat(key).headers["x-ratelimit-remaining-requests"] == "7"
    with managed.stream(key, max_tokens=400, sim={"tokens": 400, "tps": 4}) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        managed.post("/key/update", key=key, tags=["newer"])
        assert managed.chat(key).json()["error"]["type"] == "max_parallel_requests", "the slot in use is remembered"
        pieces.close()


def test_a_key_that_is_deleted_while_its_calls_run_lets_no_further_one_in(managed: Managed) -> None:
    made = managed.post("/key/generate", max_budget=5).json()
    key = made["key"]
    with managed.stream(key, max_tokens=20, sim={"tokens": 20, "tps": 20}) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        managed.post("/key/delete", keys=[key])
        assert managed.chat(key).status_code == 401
        text += "".join(pieces)
    assert text.endswith("data: [DONE]\n\n"), "a call that was admitted is finished"
    assert managed.chat(key).status_code == 401, "and its settlement does not bring the key back"
    rows = managed.logs(made["token"])
    assert [row["completion_tokens"] for row in rows] == [20]


def test_no_call_gets_through_after_the_answer_to_a_revocation(managed: Managed) -> None:
    for path, arrange in (
        ("/key/delete", lambda key: {"keys": [key]}),
        ("/key/block", lambda key: {"key": key}),
        ("/key/regenerate", lambda key: {"key": key}),
    ):
        key = managed.key()
        assert managed.chat(key).status_code == 200
        revoked = threading.Event()

        def hammer(key: str = key, revoked: threading.Event = revoked) -> list[int]:
            after: list[int] = []
            while len(after) < 10:
                begun_after = revoked.is_set()
                status = managed.chat(key).status_code
                if begun_after:
                    after.append(status)
            return after

        with ThreadPoolExecutor(6) as pool:
            futures = [pool.submit(hammer) for _ in range(6)]
            assert managed.post(path, **arrange(key)).status_code == 200
            revoked.set()
            statuses = {status for future in futures for status in future.result()}
        assert statuses <= {401, 403}, path


def test_the_command_line_and_the_gateway_see_each_others_keys(managed: Managed) -> None:
    name = f"from-the-shell-{managed.gateway.pid}"
    assert managed.post("/team/new", team_id="t-shell").status_code == 200
    made = command(
        managed,
        *("create", "--alias", name, "--model", "priced", "--model", "claude", "--rpm", "50", "--tpm", "5000"),
        *("--max-parallel", "3", "--max-budget", "2.5", "--budget-duration", "30d", "--duration", "1h"),
        *("--user-id", "u-shell", "--team-id", "t-shell"),
    )
    # Nobody has told the gateway: the first calls, all at once, make it ask, and every one of them gets in.
    assert {answer.status_code for answer in managed.many(made, 3)} == {200}
    info = managed.info(made)
    assert (info["key_alias"], info["models"], info["rpm_limit"], info["tpm_limit"]) == (
        *(name, ["priced", "claude"], 50, 5000),
    )
    assert (info["max_parallel_requests"], info["max_budget"], info["budget_duration"]) == (3, 2.5, "30d")
    assert (info["user_id"], info["team_id"], info["created_by"]) == ("u-shell", "t-shell", "command-line")
    assert info["expires"] is not None
    assert managed.chat(made, model="other").status_code == 403

    listed = [json.loads(line) for line in command(managed, "list", "--json").splitlines()]
    mine = next(entry for entry in listed if entry["token"] == info["token"])
    assert (mine["key_alias"], mine["blocked"], mine["max_budget"]) == (name, False, 2.5)
    assert mine["spend"] == info["spend"] > 0
    table = command(managed, "list")
    assert info["token"] in table
    assert made not in table

    assert command(managed, "revoke", name) == f"revoked {info['token']}"
    watch = Stopwatch()
    until(lambda: managed.chat(made).status_code == 401, seconds=20, what="the revocation")
    assert watch.ran_s < 2
    assert "no key has this" in command(managed, "revoke", name, status=1)


def test_the_command_line_refuses_what_the_api_refuses(managed: Managed) -> None:
    assert "`budget_duration`" in command(managed, "create", "--budget-duration", "never", status=1)
    assert "max_budget" in command(managed, "create", "--max-budget", "much", status=1)
    assert "--rpm" in command(managed, "create", "--rpm", "-1", status=2)
    assert "No such option" in command(managed, "create", "--rps", "5", status=2)
