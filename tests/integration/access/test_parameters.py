"""Nothing that a management request says is passed over: it has an effect, or the answer says that it has none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.access.people import Company
from tests.integration.access.test_rights import ok
from tests.integration.access.test_standing import new


@pytest.mark.parametrize(
    "method, path, hint",
    [
        ("GET", "/key/list?sise=5", "`size`"),
        ("GET", "/team/list?org=x", "organization_id"),
        ("GET", "/customer/info?end_user=x", "`end_user_id`"),
        ("GET", "/spend/logs?key=sk-x", "api_key"),
        ("GET", "/global/spend/tags?tag=a", "`tags`"),
        ("GET", "/team/available?user=1", "Take it out"),
        ("POST", "/key/generate?max_budget=1", "Take it out"),
        ("GET", "/key/info?runtime=1", "key"),
    ],
)
def test_a_parameter_that_nobody_reads_is_refused(company: Company, method: str, path: str, hint: str) -> None:
    name = path.partition("?")[2].partition("=")[0]
    answer = company.ask("root", method, path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), answer.text
    assert hint in answer.json()["error"]["message"]


def test_a_parameter_is_given_once(company: Company) -> None:
    answer = company.ask("root", "GET", f"/team/list?organization_id={company.acme}&organization_id={company.other}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "organization_id"), answer.text


def test_probes_and_absent_routes_keep_their_answers(company: Company) -> None:
    assert company.ask("root", "GET", "/health/liveliness?from=balancer").status_code == 200
    assert company.ask("root", "GET", "/callbacks/list?x=1").status_code == 501


def test_what_is_missing_is_named(company: Company) -> None:
    absent = company.get("root", "/customer/info")
    assert (absent.status_code, absent.json()["error"]["param"]) == (400, "end_user_id"), absent.text
    headers = {"authorization": f"Bearer {company.keys['root']}", "content-type": "application/json"}
    for body in (b"", b"null", b"[]", b"1"):
        answer = company.managed.client.post("/team/new", headers=headers, content=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "request_body"), answer.text
        assert "JSON object" in answer.json()["error"]["message"]


UNHEEDED: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("POST", "/key/generate", {"project_id": "p", "enable_prompt_caching": True, "max_budget": 1}, {"project_id"}),
    ("POST", "/key/generate", {"allowed_routes": ["openai_route", "/v1/models", "info_routes"]}, {"allowed_routes"}),
    ("POST", "/team/new", {"model_aliases": {"a": "b"}, "tags": ["x"], "guardrails": ["g"]}, {"model_aliases", "tags"}),
    ("POST", "/user/new", {"guardrails": ["g"], "send_invite_email": True}, {"guardrails", "send_invite_email"}),
    ("POST", "/user/new", {"auto_create_key": False, "key_alias": "a", "duration": "1d"}, {"key_alias", "duration"}),
    ("POST", "/user/new", {"user_role": "org_admin"}, {"user_role"}),
    ("POST", "/organization/new", {"organization_alias": "a", "tpd_limit": 5}, {"tpd_limit"}),
    ("POST", "/customer/new", {"user_id": "*", "default_model": "m"}, {"default_model"}),
    ("POST", "/tag/new", {"name": "*", "models": ["m"]}, {"models"}),
    (
        "POST",
        "/budget/new",
        {"budget_reset_at": "2030-01-01T00:00:00Z", "tpd_limit": 1},
        {"budget_reset_at", "tpd_limit"},
    ),
]


@pytest.mark.parametrize("method, path, body, fields", UNHEEDED)
def test_what_has_no_effect_is_said(
    company: Company, method: str, path: str, body: dict[str, Any], fields: set[str]
) -> None:
    named: dict[str, Any] = {name: new("w") if value == "*" else value for name, value in body.items()}
    made = ok(company.ask("root", method, path, **named))
    words = made["warnings"]
    for field in fields:
        assert any(word.startswith(f"`{field}`") for word in words), words
    assert not any("max_budget" in word for word in words)


def test_requests_without_such_fields_are_not_warned_of(company: Company) -> None:
    for path, body in (
        ("/key/generate", {"allowed_routes": ["llm_api_routes", "openai_routes", "management_routes", "/v1/*"]}),
        ("/key/generate", {"soft_budget": 1, "model_rpm_limit": {"priced": 5}, "send_invite_email": False}),
        ("/team/new", {"team_member_permissions": ["/key/info"], "metadata": {"a": 1}, "guardrails": []}),
        ("/user/new", {"metadata": {"a": 1}, "user_alias": "a"}),
        ("/budget/new", {"max_budget": 1}),
    ):
        assert "warnings" not in ok(company.post("root", path, **body)), path


def test_changes_of_many_keys_are_warned_of_too(company: Company) -> None:
    key = company.key(team_id=company.search)
    (done,) = ok(company.post("root", "/key/bulk_update", keys=[{"key": key, "agent_id": "a"}]))["successful_updates"]
    assert done["warnings"] == ["`agent_id` is stored but has no effect in this version"]


def test_a_users_organizations_are_not_changed_in_passing(company: Company) -> None:
    user = new("u")
    ok(company.post("root", "/user/new", user_id=user, auto_create_key=False))
    changes: list[dict[str, Any]] = [{"organization_id": company.acme}, {"organizations": [company.acme]}]
    for change in changes:
        answer = company.post("root", "/user/update", user_id=user, **change)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(change))), answer.text
        assert "/organization/member_add" in answer.json()["error"]["message"]


def test_filters_hold_together(company: Company) -> None:
    one, other = (f"{new('mail')}@example.org" for _ in "ab")
    ids = [
        ok(company.post("root", "/user/new", user_email=mail, auto_create_key=False))["user_id"]
        for mail in (one, other)
    ]
    found = ok(company.get("root", "/user/list", user_ids=",".join(ids), user_email=one.upper()))
    assert [user["user_id"] for user in found["users"]] == ids[:1]
    days = {"start_date": "2026-01-01", "end_date": "2026-01-02"}
    answer = company.get("root", "/spend/logs", cursor="x", **days)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "cursor"), answer.text


def test_no_text_has_a_nul(company: Company) -> None:
    """Not every database keeps it: what is stored under another name is somebody else's, or cannot be opened again."""
    nul = "a\x00b"
    requests: list[tuple[str, dict[str, Any], str]] = [
        ("/team/new", {"team_alias": nul}, "team_alias"),
        ("/team/new", {"metadata": {"deep": [1, {"x": nul}]}}, "metadata.deep.1.x"),
        ("/team/new", {"metadata": {nul: 1}}, "metadata"),
        ("/customer/new", {"user_id": nul}, "user_id"),
        ("/customer/block", {"user_ids": ["a", nul]}, "user_ids.1"),
        ("/credentials", {"credential_name": nul, "credential_values": {"api_key": "k"}}, "credential_name"),
        ("/model/new", {"model_name": nul, "litellm_params": {"model": "openai/x"}}, "model_name"),
        ("/tag/new", {"name": nul}, "name"),
    ]
    for path, body, param in requests:
        answer = company.post("root", path, **body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    for path, query in (("/team/info", "team_id"), ("/user/list", "team"), ("/key/info", "key"), ("/audit", "action")):
        answer = company.get("root", path, **{query: nul})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, query), answer.text
    # Two backslashes are a backslash, and what comes after them is text.
    shown = ok(company.post("root", "/team/new", team_alias="a\\u0000b", metadata={"x": "\\\\u0000"}))
    assert (shown["team_alias"], shown["metadata"]) == ("a\\u0000b", {"x": "\\\\u0000"})
    assert company.post("root", "/tag/new", name=new("t"), description="still well").status_code == 200


WRONG: list[tuple[str, str, dict[str, Any], str, str]] = [
    (
        "POST",
        "/user/new",
        {"teams": [{"team_id": "SEARCH", "max_budget_in_team": "x"}]},
        "teams[0].max_budget_in_team",
        "",
    ),
    (
        "POST",
        "/user/new",
        {"teams": [{"team_id": "SEARCH", "max_budget_in_team": -1}]},
        "max_budget_in_team",
        "negative",
    ),
    ("POST", "/user/new", {"teams": [{"team_id": "SEARCH", "role": "admin"}]}, "role", "Unknown field"),
    ("POST", "/user/new", {"duration": "soon"}, "duration", "30d"),
    (
        "POST",
        "/team/new",
        {"members_with_roles": [{"role": "boss", "user_id": "a"}]},
        "members_with_roles[0].role",
        "user",
    ),
    ("POST", "/team/new", {"members_with_roles": [{"role": "user"}]}, "user_id", "user_email"),
    ("POST", "/team/new", {"admins": ["a"], "members": ["a"]}, "members_with_roles", "named as admin and as user"),
    ("POST", "/team/update", {"team_id": "SEARCH", "team_member_budget": -1}, "team_member_budget", "negative"),
    (
        "POST",
        "/team/member_add",
        {"team_id": "SEARCH", "member": {"user_id": "a"}, "max_budget_in_team": -1},
        "max_budget_in_team",
        "",
    ),
    ("POST", "/team/member_update", {"team_id": "SEARCH", "user_id": "a", "role": "x"}, "role", "admin, user"),
    (
        "POST",
        "/team/bulk_member_add",
        {"team_id": "SEARCH", "members": [{"user_id": "a"}], "all_users": True},
        "members",
        "either",
    ),
    ("POST", "/team/model/add", {"team_id": "SEARCH", "models": []}, "models", "at least one"),
    ("POST", "/v2/key/info", {"keys": []}, "keys", "at least one"),
    ("POST", "/key/x/regenerate", {"key": "sk-other"}, "key", "path"),
    ("POST", "/organization/new", {}, "organization_alias", "missing"),
    (
        "POST",
        "/credentials",
        {"credential_name": "a/b", "credential_values": {"api_key": "k"}},
        "credential_name",
        "paths",
    ),
    ("POST", "/credentials", {"credential_name": "a", "credential_values": {}}, "credential_values", "api_key"),
    (
        "POST",
        "/spend/calculate",
        {"model": "priced", "completion_response": {"usage": {"prompt_tokens": -1}}},
        "completion_response",
        "",
    ),
    (
        "POST",
        "/spend/calculate",
        {"model": "priced", "messages": [], "completion_response": {}},
        "messages",
        "one of them",
    ),
    ("POST", "/global/spend/reset", {"team_id": "a"}, "request_body", "no body"),
    ("GET", "/key/list?sort_by=x", {}, "sort_by", "created_at"),
    ("GET", "/v2/model/info?sortOrder=x", {}, "sortOrder", "asc, desc"),
    ("GET", "/user/list?role=king", {}, "role", "internal_user"),
    ("GET", "/spend/logs/v2?start_date=2026-01-02&end_date=2026-01-01", {}, "start_date", "after"),
    ("GET", "/team/daily/activity?team_ids=,", {}, "team_ids", "left out"),
]


@pytest.mark.parametrize("method, path, body, param, words", WRONG)
def test_wrong_input_is_told_by_field_and_fix(
    company: Company, method: str, path: str, body: dict[str, Any], param: str, words: str
) -> None:
    named: dict[str, Any] = {name: company.search if value == "SEARCH" else value for name, value in body.items()}
    if isinstance(named.get("teams"), list):
        named["teams"] = [{**team, "team_id": company.search} for team in named["teams"]]
    answer = company.ask("root", method, path, **named)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert words in answer.json()["error"]["message"]


def test_a_refused_request_has_made_nothing(company: Company) -> None:
    alias, user = new("taken"), new("u")
    company.key(key_alias=alias)
    for wrong in (
        {"key_alias": alias},
        {"duration": "soon"},
        {"teams": [{"team_id": company.search, "max_budget_in_team": -1}]},
    ):
        asked: dict[str, Any] = {"user_id": user, **wrong}
        assert company.post("root", "/user/new", **asked).status_code == 400
        assert company.get("root", "/user/info", user_id=user).status_code == 404
    team = new("team")
    for members in ([{"role": "admin"}], [{"user_id": "a/b"}]):
        assert company.post("root", "/team/new", team_id=team, members_with_roles=members).status_code == 400
        assert company.get("root", "/team/info", team_id=team).status_code == 404
    ok(company.post("root", "/team/new", team_id=team))
    count = len(ok(company.get("boss", "/team/list")))
    stranger = company.post("boss", "/team/new", organization_id=company.acme, members=[company.ids["rival"]])
    assert (stranger.status_code, stranger.json()["error"]["param"]) == (403, "user_id")
    assert len(ok(company.get("boss", "/team/list"))) == count
