"""A database that comes back without its last commits: what was changed in their places is heard everywhere, and what is lost
does not go on to hold.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Gateway
from tests.faults.ledger.gateways import Site
from tests.faults.test_outage import status
from tests.rig import until

Start = Callable[..., Site]


def _answers(gateway: Gateway, key: str) -> int:
    with gateway.client() as client:
        return status(client, key)


def _change(gateway: Gateway, route: str, body: dict[str, object]) -> None:
    with gateway.client() as client:
        answer = client.post(route, headers={"authorization": f"Bearer {gateway.admin_key}"}, json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
def test_a_revocation_in_the_place_of_a_lost_change_is_heard(database_url: str, start_site: Start) -> None:
    """Without Redis, where the audit trail alone tells of it."""
    site = start_site(database_url)
    one, two = site.gateways("one", "two")
    _change(one, "/team/new", {"team_id": "t"})
    kept, under, revoked = one.new_key(), one.new_key(team_id="t"), one.new_key()
    assert {_answers(gateway, key) for gateway in (one, two) for key in (kept, under, revoked)} == {200}
    _change(one, "/key/update", {"key": kept, "metadata": {"a": 1}})
    _change(one, "/team/block", {"team_id": "t"})
    _change(one, "/key/block", {"key": kept})
    for key in (under, kept):
        until(lambda key=key: _answers(two, key) != 200, "the other gateway has read the trail")  # type: ignore[misc]
    # What a standby did not have yet when it was made the server.
    for table in ("keys", "scopes"):
        site.query(f"UPDATE {table} SET blocked = 0, revision = revision - 1 WHERE blocked = 1")
    (last,) = site.query("SELECT MAX(id) - 3 AS id FROM audit")
    site.query(f"DELETE FROM audit WHERE id > {last['id']}")
    site.query(f"SELECT setval(pg_get_serial_sequence('audit', 'id'), {last['id']})")
    _change(one, "/key/delete", {"keys": [revoked]})
    assert site.query("SELECT MAX(id) AS id FROM audit")[0]["id"] <= last["id"] + 1
    until(lambda: _answers(two, revoked) == 401, "the revocation is heard")
    for gateway in (one, two):
        for key in (kept, under):
            until(lambda gateway=gateway, key=key: _answers(gateway, key) == 200, "the lost block does not hold")  # type: ignore[misc]
