"""Admins of teams and organizations: what they may do through the public port, and above all what they may not."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.access.people import Company

EVERYBODY = ("lead", "member", "boss", "rival", "viewer", "root", "nobody", "looker", "keyonly")


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def no(answer: httpx.Response, param: str | None = None) -> None:
    assert answer.status_code == 403, answer.text
    if param is not None:
        assert answer.json()["error"]["param"] == param, answer.text


def allowed(company: Company, names: set[str], method: str, path: str, **body: Any) -> None:
    """Exactly these people may do it."""
    for who in EVERYBODY:
        status = company.ask(who, method, path, **body).status_code
        assert (status != 403) == (who in names), (who, path, status)


CHANGES_OF_A_TEAM = [
    ("POST", "/team/update", {"team_alias": "new name", "metadata": {"a": 1}}, {"lead", "boss", "root"}),
    ("POST", "/team/update", {"team_member_budget": 5}, {"lead", "boss", "root"}),
    ("POST", "/team/update", {"max_budget": 5_000}, {"boss", "root"}),
    ("POST", "/team/update", {"models": []}, {"boss", "root"}),
    ("POST", "/team/update", {"blocked": False}, {"boss", "root"}),
    ("POST", "/team/update", {"spend": 0}, {"boss", "root"}),
    ("POST", "/team/update", {"rpm_limit": None}, {"boss", "root"}),
    ("POST", "/team/update", {"budget_id": None}, {"boss", "root"}),
    ("POST", "/team/update", {"organization_id": None}, {"root"}),
    ("POST", "/team/unblock", {}, {"boss", "root"}),
    ("POST", "/team/model/add", {"models": ["priced", "other", "claude"]}, {"boss", "root"}),
    ("POST", "/team/permissions_update", {"team_member_permissions": []}, {"lead", "boss", "root"}),
    ("POST", "/team/member_add", {"member": {"user_id": "guest"}}, {"lead", "boss", "root"}),
    ("POST", "/team/member_update", {"user_id": "guest", "max_budget_in_team": 3}, {"lead", "boss", "root"}),
    ("POST", "/team/bulk_member_add", {"members": [{"user_id": "guest"}]}, {"lead", "boss", "root"}),
    ("POST", "/team/member_delete", {"user_id": "guest"}, {"lead", "boss", "root"}),
]


@pytest.mark.parametrize("method, path, body, names", CHANGES_OF_A_TEAM)
def test_who_changes_a_team(company: Company, method: str, path: str, body: dict[str, Any], names: set[str]) -> None:
    team = ok(company.post("root", "/team/new", organization_id=company.acme))["team_id"]
    company.post("root", "/team/member_add", team_id=team, member={"user_id": company.ids["lead"], "role": "admin"})
    company.post("root", "/team/member_add", team_id=team, member={"user_id": company.ids["member"]})
    company.post("root", "/team/member_add", team_id=team, member={"user_id": company.ids["looker"], "role": "admin"})
    allowed(company, names, method, path, team_id=team, **body)


def test_a_team_is_changed_by_its_path_too(company: Company) -> None:
    team = ok(company.post("boss", "/team/new", organization_id=company.acme))["team_id"]
    changed = ok(company.ask("boss", "PATCH", f"/team/{team}", team_alias="patched", max_budget=7))
    assert (changed["data"]["team_alias"], changed["data"]["max_budget"]) == ("patched", 7.0)
    for who in ("lead", "rival", "nobody", "keyonly"):
        no(company.ask(who, "PATCH", f"/team/{team}", team_alias="mine"))
    unknown = company.ask("boss", "PATCH", f"/team/{team}", team_alas="x")
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "team_alas")


def test_an_organizations_admin_makes_and_removes_teams_within_it(company: Company) -> None:
    for who in EVERYBODY:
        answer = company.post(who, "/team/new", organization_id=company.acme)
        assert (answer.status_code == 200) == (who in {"boss", "root"}), who
    no(company.post("boss", "/team/new"), "organization_id")
    no(company.post("boss", "/team/new", organization_id=company.other), "organization_id")
    beyond = company.post("boss", "/team/new", organization_id=company.acme, rpm_limit=1_001)
    assert (beyond.status_code, beyond.json()["error"]["param"]) == (400, "rpm_limit")
    team = ok(company.post("boss", "/team/new", organization_id=company.acme))["team_id"]
    no(company.post("boss", "/team/update", team_id=team, organization_id=company.other), "organization_id")
    no(company.post("boss", "/team/delete", team_ids=[team, company.rivals]), "team_id")
    for who in ("lead", "member", "rival", "viewer", "nobody"):
        no(company.post(who, "/team/delete", team_ids=[team]))
    assert ok(company.post("boss", "/team/delete", team_ids=[team]))["deleted_teams"] == [team]


def test_an_organizations_admin_changes_what_it_is_called_and_who_belongs_to_it(company: Company) -> None:
    for path in ("/organization/update", f"/v2/organization/{company.acme}"):
        named: Any = {"organization_id": company.acme} if path == "/organization/update" else {}
        for who in EVERYBODY:
            answer = company.ask(who, "PATCH", path, **named, metadata={"by": who})
            assert (answer.status_code == 200) == (who in {"boss", "root"}), (who, answer.text)
        limits: dict[str, Any] = {"max_budget": 1, "rpm_limit": None, "models": [], "blocked": False, "spend": 0}
        for field in limits:
            change: Any = {field: limits[field]}
            no(company.ask("boss", "PATCH", path, **named, **change), field)
    member = {"organization_id": company.acme, "member": {"user_id": "newcomer"}}
    for who in EVERYBODY:
        answer = company.post(who, "/organization/member_add", **member)
        assert (answer.status_code == 200) == (who in {"boss", "root"}), who
    no(company.post("boss", "/organization/member_add", **{**member, "organization_id": company.other}))
    change = {"organization_id": company.acme, "user_id": "newcomer"}
    changes: list[tuple[str, str, Any]] = [
        ("PATCH", "/organization/member_update", {"role": "internal_user_viewer"}),
        ("DELETE", "/organization/member_delete", {}),
    ]
    for method, path, more in changes:
        for who in ("lead", "member", "rival", "viewer", "nobody", "keyonly"):
            no(company.ask(who, method, path, **change, **more))
        ok(company.ask("boss", method, path, **change, **more))
    no(company.ask("boss", "DELETE", "/organization/delete", organization_ids=[company.acme]))


def test_everybody_sees_what_is_theirs(company: Company) -> None:
    def teams(who: str) -> set[str]:
        found = {team["team_id"] for team in ok(company.get(who, "/team/list"))}
        paged = ok(company.get(who, "/v2/team/list", page_size=100))
        assert {team["team_id"] for team in paged["teams"]} == found or paged["total"] > 100
        return found & {company.search, company.ads, company.rivals}

    assert teams("lead") == {company.search, company.rivals}
    assert teams("member") == {company.search}
    assert teams("boss") == {company.search, company.ads}
    assert teams("viewer") == teams("root") == {company.search, company.ads, company.rivals}
    assert teams("nobody") == teams("keyonly") == set()
    for who, seen in (("boss", {company.acme}), ("lead", set()), ("keyonly", set())):
        assert {one["organization_id"] for one in ok(company.get(who, "/organization/list"))} == seen
    for who in EVERYBODY:
        for organization, names in ((company.acme, {"boss", "viewer", "root"}), (company.other, {"viewer", "root"})):
            answer = company.get(who, "/organization/info", organization_id=organization)
            assert (answer.status_code == 200) == (who in names), who
            assert (company.post(who, "/organization/info", organizations=[organization]).status_code == 200) == (
                who in names
            )
        answer = company.get(who, "/team/info", team_id=company.search)
        assert (answer.status_code == 200) == (who in {"lead", "member", "boss", "viewer", "root", "looker"}), who
        rights = company.get(who, "/team/permissions_list", team_id=company.search)
        assert rights.status_code == answer.status_code, who
    assert ok(company.get("lead", "/team/available")) == []
    # Whether there is such a team is nobody's business.
    assert company.get("lead", "/team/info", team_id="none").status_code == 403


def test_a_member_sees_its_place_in_the_team(company: Company) -> None:
    mine = ok(company.get("member", f"/team/{company.search}/members/me"))
    assert (mine["user_id"], mine["role"], mine["team_id"]) == (company.ids["member"], "user", company.search)
    for who in ("boss", "rival", "nobody"):
        no(company.get(who, f"/team/{company.search}/members/me"))
    assert company.get("keyonly", f"/team/{company.search}/members/me").status_code == 400


def test_a_viewer_looks_at_everything_and_changes_nothing(company: Company) -> None:
    reads = (
        "/user/list",
        "/key/list",
        "/key/aliases",
        "/spend/logs",
        "/global/spend",
        "/model/info",
        "/audit",
        "/routes",
    )
    for path in (*reads, "/budget/list", "/tag/list", "/customer/list", "/health/backlog"):
        assert company.get("viewer", path).status_code == 200, path
        if path != "/spend/logs":
            no(company.get("keyonly", path))
    assert company.get("viewer", "/user/info", user_id=company.ids["lead"]).status_code == 200
    for path, body in (
        ("/key/generate", {}),
        ("/user/new", {}),
        ("/team/new", {"organization_id": company.acme}),
        ("/team/update", {"team_id": company.search, "team_alias": "x"}),
        ("/budget/new", {"max_budget": 1}),
        ("/global/spend/reset", {}),
        ("/model/new", {"model_name": "x", "litellm_params": {"model": "openai/x"}}),
    ):
        no(company.post("viewer", path, **body))
    no(company.get("viewer", "/credentials"))


def test_what_only_the_proxys_administrators_do(company: Company) -> None:
    for path, body in (
        ("/user/new", {"auto_create_key": False}),
        ("/user/update", {"user_id": company.ids["lead"], "user_role": "proxy_admin"}),
        ("/user/bulk_update", {"all_users": True, "user_updates": {"user_role": "proxy_admin"}}),
        ("/user/delete", {"user_ids": [company.ids["member"]]}),
        ("/team/permissions_bulk_update", {"permissions": ["/key/generate"], "apply_to_all_teams": True}),
        ("/organization/new", {"organization_alias": "mine"}),
        ("/budget/new", {"max_budget": 1}),
        ("/cache/flushall", {}),
    ):
        for who in ("lead", "member", "boss", "rival", "viewer", "nobody", "keyonly"):
            no(company.post(who, path, **body))


def test_a_key_of_a_team_is_good_for_that_team_only(company: Company) -> None:
    bound = company.key(user_id=company.ids["lead"], team_id=company.rivals)
    no(company.post(bound, "/team/update", team_id=company.search, team_alias="x"))
    within = company.key(user_id=company.ids["lead"], team_id=company.search)
    ok(company.post(within, "/team/update", team_id=company.search, team_alias="x"))
    chief = company.key(user_id=company.ids["boss"], team_id=company.search)
    no(company.post(chief, "/team/new", organization_id=company.acme))
    foreign = company.key(user_id=company.ids["boss"], organization_id=company.other)
    no(company.post(foreign, "/team/new", organization_id=company.acme))


def test_routes_that_a_key_is_held_to_hold_for_management(company: Company) -> None:
    user_id = company.ids["lead"]
    change = {"team_id": company.search, "team_alias": "x"}
    for key_type, status in (("llm_api", 403), ("read_only", 403), ("management", 200), ("default", 200)):
        key = company.key(user_id=user_id, key_type=key_type)
        assert company.post(key, "/team/update", **change).status_code == status, key_type
    chosen = company.key(user_id=user_id, allowed_routes=["/team/update"])
    assert company.post(chosen, "/team/update", **change).status_code == 200
    no(company.post(chosen, "/team/permissions_update", team_id=company.search, team_member_permissions=[]))


def test_a_demoted_admin_is_none_at_once(company: Company) -> None:
    team = ok(company.post("root", "/team/new", organization_id=company.acme))["team_id"]
    user = {"user_id": "soon-demoted", "role": "admin"}
    ok(company.post("root", "/team/member_add", team_id=team, member=user))
    key = company.key(user_id="soon-demoted")
    ok(company.post(key, "/team/update", team_id=team, team_alias="a"))
    ok(company.post("root", "/team/member_update", team_id=team, user_id="soon-demoted", role="user"))
    no(company.post(key, "/team/update", team_id=team, team_alias="b"))


@pytest.mark.parametrize("who", ["lead", "boss"])
def test_only_administrators_loosen_what_becomes_of_limits_without_redis(company: Company, who: str) -> None:
    team = ok(company.post("root", "/team/new", organization_id=company.acme))["team_id"]
    company.post("root", "/team/member_add", team_id=team, member={"user_id": company.ids["lead"], "role": "admin"})

    def choose(by: str, choice: str | None) -> httpx.Response:
        return company.post(by, "/team/update", team_id=team, when_gone=choice)

    no(choose(who, "fail_open"), "when_gone")
    ok(choose("root", "fail_open"))
    no(choose(who, None), "when_gone")
    ok(choose(who, "local_share"))
    no(choose(who, "fail_open"), "when_gone")
    ok(choose(who, "fail_closed"))
    assert ok(company.get("root", "/team/info", team_id=team))["team_info"]["when_gone"] == "fail_closed"
    # The same of the team's keys.
    no(company.post(who, "/key/generate", team_id=team, when_gone="fail_open"), "when_gone")
    key = ok(company.post(who, "/key/generate", team_id=team, when_gone="fail_closed"))["key"]
    no(company.post(who, "/key/update", key=key, when_gone=None), "when_gone")
    ok(company.post("root", "/key/update", key=key, when_gone="fail_open"))
    ok(company.post(who, "/key/update", key=key, when_gone="local_share"))
    assert ok(company.get("root", "/key/info", key=key))["info"]["when_gone"] == "local_share"
    bad = company.post("root", "/key/update", key=key, when_gone="open")
    assert bad.status_code == 400, bad.text


def test_an_organizations_admin_tightens_it(company: Company) -> None:
    def choose(by: str, choice: str) -> httpx.Response:
        body = {"organization_id": company.acme, "when_gone": choice}
        return company.ask(by, "PATCH", "/organization/update", **body)

    no(choose("boss", "fail_open"), "when_gone")
    no(choose("lead", "fail_closed"))
    assert ok(choose("boss", "fail_closed"))["when_gone"] == "fail_closed"
    no(choose("boss", "local_share"), "when_gone")
    ok(choose("root", "fail_open"))
    no(company.post("boss", "/team/new", organization_id=company.acme, when_gone="fail_open"), "when_gone")
