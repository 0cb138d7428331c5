"""What others are, have and keep secret is not shown to who leads a team or looks on; nor is their budget spent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.access.people import Company
from tests.integration.access.test_rights import no, ok
from tests.integration.access.test_standing import new
from tests.integration.managed import until

SECRET = "sk-lf-0123456789-secret"
METADATA = {"logging": [{"callback_name": "langfuse", "callback_vars": {"langfuse_secret_key": SECRET}}], "open": "yes"}
VAULT = {"token": "vault-0123456789-secret", "deep": [{"password": "short"}]}


def test_secrets_in_settings_are_shown_to_administrators_only(company: Company) -> None:
    members = [{"user_id": company.ids[name], "role": role} for name, role in (("lead", "admin"), ("member", "user"))]
    team = ok(
        company.post(
            "root",
            "/team/new",
            organization_id=company.acme,
            members_with_roles=members,
            metadata=METADATA,
            secret_manager_settings=VAULT,
        )
    )["team_id"]
    key = company.key(team_id=team, metadata=METADATA)

    def looked_at(who: str) -> list[str]:
        answers = [
            company.get(who, "/team/info", team_id=team),
            company.get(who, "/team/list"),
            company.get(who, "/v2/team/list", page_size=100),
            company.get(who, "/key/info", key=key),
            company.get(who, "/key/list", team_id=team, return_full_object=True),
            company.post(who, "/v2/key/info", keys=[key]),
            company.get(who, "/spend/keys", limit=1000),
            company.post(who, "/team/update", team_id=team, team_alias="x"),
            company.post(who, "/team/permissions_update", team_id=team, team_member_permissions=[]),
            company.post(who, "/key/update", key=key, key_alias=None),
            company.post(who, "/key/bulk_update", keys=[{"key": key, "key_alias": None}]),
            company.post(who, "/team/key/bulk_update", team_id=team, key_ids=[key], update_fields={"rpm_limit": 9}),
            company.post(who, "/key/block", key=key),
            company.post(who, "/key/unblock", key=key),
            company.post(who, "/team/unblock", team_id=team),
            company.post(who, "/team/member_add", team_id=team, member={"user_id": company.ids["member"]}),
        ]
        return [answer.text for answer in answers if answer.status_code == 200 and "langfuse_secret_key" in answer.text]

    for who, least in (("lead", 11), ("boss", 12), ("viewer", 7), ("member", 3), (key, 4)):
        seen = looked_at(who)
        assert len(seen) >= least, (who, len(seen))
        for text in seen:
            assert "0123456789" not in text, who
            assert "sk****et" in text, who
            assert '"password":"short"' not in text, who
            assert '"open":"yes"' in text, who
    assert any(SECRET in text for text in looked_at("root"))
    made = company.post("lead", "/key/generate", team_id=team, metadata=METADATA)
    assert SECRET not in made.text
    assert company.managed.info(ok(made)["key"])["metadata"] == METADATA


def test_users_of_another_organization_are_not_taken_in(company: Company) -> None:
    mail = f"{new('rita')}@example.org"
    rita = ok(company.managed.post("/user/new", user_id=new("rita"), user_email=mail, auto_create_key=False))["user_id"]
    ok(company.managed.post("/team/member_add", team_id=company.rivals, member={"user_id": rita}))
    for named, param in (({"user_id": rita}, "user_id"), ({"user_email": mail}, "user_email")):
        for who in ("lead", "boss"):
            no(company.post(who, "/team/member_add", team_id=company.search, member=named), param)
            no(company.post(who, "/team/member_add", team_id=company.search, member=[named]), param)
            no(company.post(who, "/team/bulk_member_add", team_id=company.search, members=[named]), param)
        no(company.post("boss", "/organization/member_add", organization_id=company.acme, member=named), param)
    no(company.post("boss", "/team/new", organization_id=company.acme, members=[rita]), "user_id")
    taken = company.post(
        "lead", "/team/member_add", team_id=company.search, member={"user_id": new("x"), "user_email": mail}
    )
    assert taken.status_code in (400, 403)
    assert rita not in taken.text
    # Who is nobody's, or of the organization, comes in; and whom the administrator has let in stays in.
    alone = new("alone")
    ok(company.managed.post("/user/new", user_id=alone, auto_create_key=False))
    ok(company.post("lead", "/team/member_add", team_id=company.search, member={"user_id": alone}))
    ok(company.managed.post("/team/member_add", team_id=company.search, member={"user_id": rita}))
    ok(company.post("lead", "/team/member_add", team_id=company.search, member={"user_id": rita, "role": "admin"}))


def test_a_key_made_by_others_shows_little_of_its_user(company: Company) -> None:
    user = new("private")
    ok(company.managed.post("/user/new", user_id=user, metadata={"hr": "secret"}, max_budget=77, auto_create_key=False))
    for team in (company.rivals, company.search):
        ok(company.managed.post("/team/member_add", team_id=team, member={"user_id": user}))
    bound = ok(company.post("lead", "/key/generate", team_id=company.search, user_id=user))["key"]
    for path in ("/user/info", "/v2/user/info"):
        answer = company.get(bound, path)
        shown = ok(answer).get("user_info", answer.json())
        assert (shown["user_id"], shown["teams"], shown["metadata"]) == (user, [company.search], {})
        assert (shown["max_budget"], shown["spend"]) == (None, None)
        assert "secret" not in answer.text
        own = company.get(company.key(user_id=user), path)
        shown = ok(own).get("user_info", own.json())
        assert (set(shown["teams"]), shown["metadata"]) == ({company.search, company.rivals}, {"hr": "secret"})
        assert shown["max_budget"] == 77.0


def test_limits_and_spend_of_members_are_not_for_other_members(company: Company) -> None:
    def seen(who: str) -> set[str]:
        info = ok(company.get(who, "/team/info", team_id=company.search))
        listed = next(one for one in ok(company.get(who, "/team/list")) if one["team_id"] == company.search)
        found = {one["user_id"] for one in info["team_memberships"]}
        assert found == {one["user_id"] for one in listed["team_memberships"]}
        assert company.ids["lead"] in {one["user_id"] for one in info["team_info"]["members_with_roles"]}
        return found

    assert seen("member") == {company.ids["member"]}
    for who in ("lead", "boss", "viewer", "root"):
        assert {company.ids["lead"], company.ids["member"]} <= seen(who)
    mail = f"{new('mail')}@example.org"
    ok(company.post("boss", "/team/member_add", team_id=company.search, member={"user_email": mail}))
    nobodys = company.key(team_id=company.search)
    assert seen(nobodys) == set()
    assert mail not in company.get(nobodys, "/team/info").text
    assert mail in company.get("member", "/team/info", team_id=company.search).text


@pytest.mark.parametrize("role", ["admin", "user"])
def test_nobody_changes_what_it_is_held_to_itself(company: Company, role: str) -> None:
    user = new("self")
    members = [{"user_id": user, "role": "admin"}]
    team = ok(company.post("boss", "/team/new", organization_id=company.acme, members_with_roles=members))["team_id"]
    mine = company.key(user_id=user)
    limits: dict[str, Any] = {"max_budget_in_team": None, "rpm_limit": 9, "tpm_limit": None, "budget_duration": None}
    for field, value in limits.items():
        no(company.post(mine, "/team/member_update", team_id=team, user_id=user, **{field: value}), "user_id")
    no(company.post(mine, "/team/member_add", team_id=team, member={"user_id": user}, max_budget_in_team=9), "user_id")
    no(company.post(mine, f"/team/{team}/member/{user}/reset_spend"), "user_id")
    ok(company.post("boss", "/team/member_update", team_id=team, user_id=user, max_budget_in_team=3))
    ok(company.post(mine, "/team/member_update", team_id=team, user_id=user, role=role))


def test_nothing_is_moved_out_of_a_blocked_organization(company: Company) -> None:
    made = ok(company.post("root", "/organization/new", organization_alias="b"))["organization_id"]
    boss = {"role": "org_admin", "user_id": company.ids["boss"]}
    ok(company.post("root", "/organization/member_add", organization_id=made, member=boss))
    team = ok(company.post("boss", "/team/new", organization_id=made))["team_id"]
    keys = [
        ok(company.post("boss", "/key/generate", **where))["key"]
        for where in ({"team_id": team}, {"organization_id": made})
    ]
    ok(company.ask("root", "PATCH", "/organization/update", organization_id=made, blocked=True))
    no(company.post("boss", "/team/update", team_id=team, organization_id=company.acme), "organization_id")
    for key in keys:
        no(company.post("boss", "/key/update", key=key, team_id=company.ads))
        no(company.post("boss", "/key/update", key=key, team_id=None, organization_id=company.acme))
        assert company.managed.chat(key).status_code == 403
    ok(company.ask("root", "PATCH", "/organization/update", organization_id=made, blocked=False))
    ok(company.post("boss", "/team/update", team_id=team, organization_id=company.acme))
    ok(company.ask("root", "DELETE", "/organization/delete", organization_ids=[made]))


def settled(company: Company, key: str, calls: int) -> None:
    """Waits until so many calls of a key are recorded: an answer is out a moment before its call is settled."""
    until(lambda: len(company.managed.logs(key)) == calls, what="the calls' records")


def test_a_moved_key_leaves_its_past_behind(company: Company) -> None:
    key = company.key(team_id=company.rivals)
    assert company.managed.chat(key).status_code == 200
    settled(company, key, 1)
    ok(company.post("root", "/key/update", key=key, team_id=company.search))
    assert ok(company.get("lead", "/spend/logs", api_key=key)) == []
    assert ok(company.get("lead", "/spend/logs/v2", api_key=key))["data"] == []
    no(company.get("lead", "/spend/logs/v2", api_key=key, team_id=company.rivals), "team_id")
    within = {"start_date": "2020-01-01", "end_date": "2100-01-01"}
    assert company.managed.chat(key).status_code == 200
    settled(company, key, 2)
    (row,) = ok(company.get("lead", "/spend/logs", api_key=key, summarize=False, **within))
    assert row["team_id"] == company.search
    summed = company.get("lead", "/spend/logs", api_key=key, **within)
    assert summed.status_code == 400, summed.text
    assert len(ok(company.get("root", "/spend/logs", api_key=key))) == 2


def test_a_key_that_was_away_is_not_summed_up_with_what_it_did_there(company: Company) -> None:
    key, within = company.key(team_id=company.search), {"start_date": "2020-01-01", "end_date": "2100-01-01"}
    assert company.managed.chat(key).status_code == 200
    settled(company, key, 1)
    (day,) = ok(company.get("lead", "/spend/logs", api_key=key, **within))
    assert day["spend"] > 0
    ok(company.post("root", "/key/update", key=key, team_id=company.rivals))
    assert company.managed.chat(key).status_code == 200
    settled(company, key, 2)
    ok(company.post("root", "/key/update", key=key, team_id=company.search))
    summed = company.get("lead", "/spend/logs", api_key=key, **within)
    assert (summed.status_code, summed.json()["error"]["param"]) == (400, "summarize")
    (row,) = ok(company.get("lead", "/spend/logs", api_key=key, summarize=False, **within))
    assert row["team_id"] == company.search
    # Of days without a call elsewhere there is nothing to hide.
    assert ok(company.get("lead", "/spend/logs", api_key=key, start_date="2020-01-01", end_date="2020-02-01")) == []


@pytest.mark.parametrize("spelling", ["/spend/logs", "/spend/logs/v2"])
def test_the_calls_of_a_teams_keys_take_a_permission_of_their_own(company: Company, spelling: str) -> None:
    user = new("reader")
    members = [{"user_id": user}]
    team = ok(company.post("boss", "/team/new", organization_id=company.acme, members_with_roles=members))["team_id"]
    mine, other = company.key(user_id=user), company.key(team_id=team)
    assert company.managed.chat(other).status_code == 200
    for permissions, sees_key, sees_calls in ((["/key/info"], 200, 403), (["/key/info", spelling], 200, 200)):
        ok(company.post("boss", "/team/permissions_update", team_id=team, team_member_permissions=permissions))
        assert company.get(mine, "/key/info", key=other).status_code == sees_key
        for path in ("/spend/logs", "/spend/logs/v2"):
            answer = company.get(mine, path, api_key=other)
            assert answer.status_code == sees_calls, answer.text
            assert answer.status_code == 403 or other not in answer.text
    ok(company.post("boss", "/team/permissions_update", team_id=team, team_member_permissions=[spelling]))
    no(company.get(mine, "/spend/logs", api_key=other), "api_key")


def test_whether_a_foreign_key_has_an_alias_is_not_told(company: Company) -> None:
    alias = new("alias")
    company.key(team_id=company.rivals, key_alias=alias)
    for name in (alias, new("none")):
        no(company.post("lead", "/key/delete", key_aliases=[name]), "key_aliases")
