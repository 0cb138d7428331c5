"""Keys in the hands of team admins, organization admins and members: they stay where they are, and give no more rights."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.access.people import Company
from tests.integration.access.test_rights import EVERYBODY, no, ok
from tests.integration.managed import until


def test_who_makes_keys_where(company: Company) -> None:
    for who in EVERYBODY:
        for where, names in (
            ({"team_id": company.search}, {"lead", "boss", "root"}),
            ({"team_id": company.ads}, {"boss", "root"}),
            ({"team_id": company.rivals}, {"rival", "root"}),
            ({"organization_id": company.acme}, {"boss", "root"}),
            ({}, {"root"}),
        ):
            for path in ("/key/generate", "/key/service-account/generate"):
                if path.endswith("account/generate") and "team_id" not in where:
                    continue
                status = company.post(who, path, **where).status_code
                assert (status == 200) == (who in names), (who, where, status)
    made = ok(
        company.post("lead", "/key/generate", team_id=company.search, user_id=company.ids["member"], max_budget=2)
    )
    assert (made["team_id"], made["organization_id"], made["max_budget"]) == (company.search, company.acme, 2.0)
    assert company.managed.chat(made["key"]).status_code == 200


def test_a_key_is_given_to_members_only_and_never_to_an_administrator(company: Company) -> None:
    stranger = company.post("lead", "/key/generate", team_id=company.search, user_id=company.ids["rival"])
    assert (stranger.status_code, stranger.json()["error"]["param"]) == (400, "user_id")
    unknown = company.post("lead", "/key/generate", team_id=company.search, user_id="nobody-yet")
    assert unknown.status_code == 400
    # A member, but whoever has this key could do everything.
    no(company.post("lead", "/key/generate", team_id=company.search, user_id=company.ids["root"]), "user_id")
    mine = ok(company.post("lead", "/key/generate", team_id=company.search))["key"]
    no(company.post("lead", "/key/update", key=mine, user_id=company.ids["root"]), "user_id")
    no(company.post("lead", "/key/regenerate", key=mine, user_id=company.ids["root"]), "user_id")
    of_root = company.key(team_id=company.search, user_id=company.ids["root"])
    for path, body in (
        ("/key/regenerate", {}),
        ("/key/update", {"blocked": True}),
        ("/key/block", {}),
    ):
        no(company.post("lead", path, key=of_root, **body))
    no(company.post("lead", f"/key/{of_root}/regenerate"))
    no(company.post("lead", "/key/delete", keys=[of_root]), "keys")
    ok(company.post("root", "/key/block", key=of_root))


def test_a_key_of_somebody_in_charge_elsewhere_gives_nothing_there(company: Company) -> None:
    """`lead` is a member of `rivals`, whose admin makes a key for it: that must not reach the team that `lead` is in charge of."""
    borrowed = ok(company.post("rival", "/key/generate", team_id=company.rivals, user_id=company.ids["lead"]))["key"]
    no(company.post(borrowed, "/team/update", team_id=company.search, team_alias="x"))
    no(company.post(borrowed, "/key/generate", team_id=company.search))
    no(company.get(borrowed, "/team/info", team_id=company.search))
    listed = ok(company.get(borrowed, "/user/info"))
    tokens = {key["token"] for key in listed["keys"]}
    assert {key["team_id"] for key in listed["keys"]} == {company.rivals}
    assert company.search not in {team["team_id"] for team in listed["teams"]}
    assert set(ok(company.get(borrowed, "/key/list", size=100))["keys"]) == tokens
    no(company.get(borrowed, "/key/info", key=company.keys["lead"]), "key")
    no(company.get(borrowed, "/user/daily/activity"))


def test_a_key_does_not_leave_its_team(company: Company) -> None:
    key = ok(company.post("lead", "/key/generate", team_id=company.search))["key"]
    no(company.post("lead", "/key/update", key=key, team_id=company.ads), "team_id")
    no(company.post("lead", "/key/update", key=key, team_id=None), "organization_id")
    no(company.post("lead", "/key/regenerate", key=key, team_id=None), "organization_id")
    ok(company.post("boss", "/key/update", key=key, team_id=company.ads))
    no(company.post("lead", "/key/update", key=key, max_budget=1), "key")
    no(company.post("boss", "/key/update", key=key, team_id=company.rivals), "team_id")
    ok(company.post("boss", "/key/update", key=key, team_id=None))
    assert company.managed.info(key)["organization_id"] == company.acme
    no(company.post("boss", "/key/update", key=key, organization_id=None), "organization_id")


@pytest.mark.parametrize(
    "path, body",
    [
        ("/key/update", {"max_budget": 1}),
        ("/key/block", {}),
        ("/key/unblock", {}),
        ("/key/regenerate", {}),
        ("/key/bulk_update", {}),
        ("/key/delete", {}),
    ],
)
def test_who_changes_a_key_of_a_team(company: Company, path: str, body: dict[str, Any]) -> None:
    for who in EVERYBODY:
        key = company.key(team_id=company.search, max_budget=5)
        named: dict[str, Any] = {"key": key}
        if path == "/key/delete":
            named = {"keys": [key]}
        elif path == "/key/bulk_update":
            named = {"keys": [{"key": key, "max_budget": 3}]}
        answer = company.post(who, path, **named, **body)
        may = who in {"lead", "boss", "root"}
        done = answer.status_code == 200 and not answer.json().get("failed_updates")
        assert done == may, (who, answer.text)
        if not may:
            info = company.managed.info(key)
            assert (info["max_budget"], info["blocked"]) == (5.0, False)


def test_who_sees_a_key_of_a_team(company: Company) -> None:
    key = company.key(team_id=company.search)
    for who in EVERYBODY:
        answer = company.get(who, "/key/info", key=key)
        assert (answer.status_code == 200) == (who in {"lead", "boss", "viewer", "root"}), who
        several = ok(company.post(who, "/v2/key/info", keys=[key, "sk-unknown"]))["info"]
        assert bool(several) == (answer.status_code == 200), who
        listed = company.get(who, "/key/list", team_id=company.search, size=100)
        sees = (
            listed.status_code == 200 and answer.json()["info"]["token"] in listed.json()["keys"] if several else False
        )
        assert sees == bool(several), who
    own = company.key(user_id=company.ids["nobody"])
    token = company.managed.info(own)["token"]
    assert token in ok(company.get("nobody", "/key/list", size=100))["keys"]
    no(company.get("member", "/key/list", user_id=company.ids["nobody"]), "user_id")
    no(company.get("keyonly", "/key/list"))
    assert ok(company.get("nobody", "/key/info", key=own))["info"]["token"] == token
    no(company.get("member", "/key/info", key=own))


def test_a_team_lets_its_members_do_things_with_its_keys(company: Company) -> None:
    team = ok(company.post("boss", "/team/new", organization_id=company.acme))["team_id"]
    ann, bob = f"ann-{team}", f"bob-{team}"
    for user in (ann, bob):
        ok(company.post("boss", "/team/member_add", team_id=team, member={"user_id": user}))
    key, others = company.key(user_id=ann), company.key(user_id=bob, team_id=team)
    service = company.key(team_id=team)

    def permit(*permissions: str) -> None:
        answer = ok(
            company.post("boss", "/team/permissions_update", team_id=team, team_member_permissions=list(permissions))
        )
        assert set(answer["team_member_permissions"]) == set(permissions)
        assert set(permissions) <= set(answer["all_available_permissions"])

    no(company.post(key, "/key/generate", team_id=team))
    permit("/key/generate")
    made = ok(company.post(key, "/key/generate", team_id=team))
    assert (made["user_id"], made["team_id"]) == (ann, team)
    no(company.post(key, "/key/generate", team_id=team, user_id=bob), "user_id")
    no(company.post(key, "/key/generate", team_id=team, user_id=None), "user_id")
    no(company.post(key, "/key/service-account/generate", team_id=team), "team_id")
    no(company.post(key, "/key/generate"), "team_id")
    no(company.post(key, "/key/generate", team_id=company.search), "team_id")
    no(company.post(key, "/key/update", key=made["key"], max_budget=1))
    permit("/key/update", "/key/delete", "/key/regenerate")
    ok(company.post(key, "/key/update", key=made["key"], max_budget=1))
    for change in ({"user_id": None}, {"user_id": bob}, {"team_id": None}, {"team_id": company.search}):
        no(company.post(key, "/key/update", key=made["key"], **change))
    for foreign in (others, service):
        no(company.post(key, "/key/update", key=foreign, max_budget=1))
        no(company.post(key, "/key/regenerate", key=foreign))
        no(company.post(key, "/key/delete", keys=[foreign]))
        no(company.get(key, "/key/info", key=foreign))
    permit("/key/update", "/key/service-account/generate", "/key/info", "/key/list", "/team/daily/activity")
    ok(company.post(key, "/key/update", key=service, max_budget=1))
    assert ok(company.post(key, "/key/service-account/generate", team_id=team))["user_id"] is None
    no(company.post(key, "/key/update", key=others, max_budget=1))
    for seen in (others, service):
        ok(company.get(key, "/key/info", key=seen))
    assert len(ok(company.get(key, "/key/list", team_id=team))["keys"]) == 4
    assert len(ok(company.get(key, "/team/info", team_id=team))["keys"]) == 4
    ok(company.get(key, "/team/daily/activity", team_ids=team))
    permit()
    no(company.get(key, "/team/daily/activity", team_ids=team), "team_ids")
    no(company.post(key, "/key/update", key=made["key"], max_budget=2))
    unknown = company.post("boss", "/team/permissions_update", team_id=team, team_member_permissions=["/key/eat"])
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "team_member_permissions")
    spelt = ["/key/{key_id}/regenerate", "/key/regenerate"]
    answer = ok(company.post("boss", "/team/permissions_update", team_id=team, team_member_permissions=spelt))
    assert answer["team_member_permissions"] == ["/key/regenerate"]
    more = {"permissions": ["/key/info"], "team_ids": [team]}
    assert ok(company.post("root", "/team/permissions_bulk_update", **more))["teams_updated"] == 1
    assert ok(company.post("root", "/team/permissions_bulk_update", **more))["teams_updated"] == 0
    shown = ok(company.get("boss", "/team/permissions_list", team_id=team))
    assert shown["team_member_permissions"] == ["/key/regenerate", "/key/info"]


def test_many_keys_at_once(company: Company) -> None:
    mine, foreign = company.key(team_id=company.search), company.key(team_id=company.ads)
    asked = [{"key": mine, "max_budget": 4}, {"key": foreign, "max_budget": 4}, {"key": mine, "rpm_limit": -1}]
    answer = ok(company.post("lead", "/key/bulk_update", keys=asked))
    assert answer["total_requested"] == 3
    assert [(one["key"], one["key_info"]["max_budget"]) for one in answer["successful_updates"]] == [(mine, 4.0)]
    assert [one["key"] for one in answer["failed_updates"]] == [foreign, mine]
    assert "`rpm_limit`" in answer["failed_updates"][1]["failed_reason"]
    assert company.managed.info(foreign)["max_budget"] is None
    for count in (0, 501):
        refused = company.post("root", "/key/bulk_update", keys=[{"key": mine}] * count)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "keys")


def test_all_keys_of_a_team_at_once(company: Company) -> None:
    team = ok(company.post("boss", "/team/new", organization_id=company.acme))["team_id"]
    keys = [company.key(team_id=team) for _ in range(3)]
    foreign = company.key(team_id=company.search)
    body = {"team_id": team, "all_keys_in_team": True, "update_fields": {"rpm_limit": 9}}
    for who in ("lead", "member", "rival", "viewer", "nobody", "keyonly"):
        no(company.post(who, "/team/key/bulk_update", **body))
    assert len(ok(company.post("boss", "/team/key/bulk_update", **body))["successful_updates"]) == 3
    assert {company.managed.info(key)["rpm_limit"] for key in keys} == {9}
    some = {"team_id": team, "key_ids": [keys[0], foreign], "update_fields": {"rpm_limit": 8}}
    answer = ok(company.post("boss", "/team/key/bulk_update", **some))
    assert [one["key"] for one in answer["failed_updates"]] == [foreign]
    assert [company.managed.info(key)["rpm_limit"] for key in (*keys, foreign)] == [8, 9, 9, None]
    for wrong, param in (
        ({"update_fields": {"rpm_limit": 1}}, "key_ids"),
        ({"update_fields": {}, "all_keys_in_team": True}, "update_fields"),
        ({"update_fields": {"key_alias": "x"}, "all_keys_in_team": True}, "update_fields.key_alias"),
    ):
        refused = company.post("boss", "/team/key/bulk_update", team_id=team, **wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_the_spend_of_a_key_begins_anew(company: Company) -> None:
    key = company.key(team_id=company.search, max_budget=1)
    assert company.managed.chat(key).status_code == 200
    # An answer is out a moment before its call is settled.
    spent = until(lambda: company.managed.info(key)["spend"], what="the call's cost")
    for who in ("member", "rival", "viewer", "nobody", "keyonly"):
        no(company.post(who, f"/key/{key}/reset_spend", reset_to=0))
    more = company.post("lead", f"/key/{key}/reset_spend", reset_to=1)
    assert (more.status_code, more.json()["error"]["param"]) == (400, "reset_to")
    answer = ok(company.post("lead", f"/key/{key}/reset_spend"))
    assert (answer["spend"], answer["previous_spend"]) == (0.0, pytest.approx(spent))
    info = company.managed.info(key)
    assert (info["spend"], info["total_spend"]) == (0.0, pytest.approx(spent))


def test_calls_and_spending_of_others_are_not_shown(company: Company) -> None:
    mine = company.key(team_id=company.search, user_id=company.ids["member"])
    assert company.managed.chat(mine).status_code == 200
    token = company.managed.info(mine)["token"]

    def rows(who: str, **query: Any) -> list[dict[str, Any]]:
        return list(ok(company.get(who, "/spend/logs", **query)))

    assert until(lambda: rows(mine), what="the record")
    assert {row["api_key"] for row in rows(mine)} == {token}
    assert rows("member")
    assert {row["user"] for row in rows("member")} == {company.ids["member"]}
    assert rows("lead", api_key=mine)
    assert rows("boss", api_key=mine)
    assert rows("keyonly") == []
    for who in ("rival", "nobody", "keyonly", "looker"):
        no(company.get(who, "/spend/logs", api_key=mine), "api_key")
        no(company.get(who, "/spend/logs", user_id=company.ids["member"]), "user_id")
        no(company.get(who, "/spend/logs/v2", api_key=mine), "api_key")
    assert ok(company.get("member", "/spend/logs/v2"))["data"]
    ok(company.get("member", "/user/daily/activity"))
    no(company.get("member", "/user/daily/activity", user_id=company.ids["lead"]), "user_id")
    ok(company.get("lead", "/team/daily/activity/aggregated", team_ids=company.search))
    no(company.get("lead", "/team/daily/activity", team_ids=f"{company.search},{company.ads}"), "team_ids")
    no(company.get("member", "/team/daily/activity"), "team_ids")
    ok(company.get("boss", "/team/daily/activity", team_ids=company.ads))
    ok(company.get("boss", "/organization/daily/activity"))
    no(company.get("boss", "/organization/daily/activity", organization_ids=company.other), "organization_ids")
    for path in ("/tag/daily/activity", "/customer/daily/activity", "/global/spend", "/spend/keys"):
        for who in ("lead", "boss", "member", "keyonly"):
            no(company.get(who, path))
