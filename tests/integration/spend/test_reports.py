"""Reports through the public port: LiteLLM's shapes, and sums that are those of the calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.integration.managed import ASKED, CONFIG, Managed, cost_of_priced, nanos, until


class Office:
    """A gateway on which two teams have made calls, and nobody else."""

    def __init__(self, managed: Managed) -> None:
        self.managed = managed
        self.today = datetime.now(UTC).strftime("%Y-%m-%d")
        fields: list[dict[str, Any]] = [
            {
                "team_id": "red",
                "user_id": "ann",
                "organization_id": "acme",
                "tags": ["prod", "chat"],
                "key_alias": "k0",
            },
            {"team_id": "red", "user_id": "bob", "organization_id": "acme", "tags": ["prod"]},
            {"team_id": "blue", "user_id": "ann"},
        ]
        made = [
            managed.post("/organization/new", organization_id="acme", organization_alias="Acme"),
            managed.post("/team/new", team_id="red", organization_id="acme"),
            managed.post("/team/new", team_id="blue"),
        ]
        assert {answer.status_code for answer in made} == {200}, [answer.text for answer in made]
        self.keys = [managed.key(**one) for one in fields]
        for index, key in enumerate(self.keys):
            for _ in range(index + 1):
                assert managed.chat(key, user="customer-1").status_code == 200
            assert managed.chat(key, model="claude", user="customer-2").status_code == 200
            assert managed.chat(key, sim={"status": 400}).status_code == 400
            assert managed.chat(key, model="nothing").status_code == 404
        self.rows = self.all_rows()
        assert len(self.rows) == 15

    def all_rows(self) -> list[dict[str, Any]]:
        """Every call, by pages of four."""
        rows: list[dict[str, Any]] = []
        query: dict[str, Any] = {"page_size": 4}
        while True:
            page = self.managed.get("/spend/logs/v2", **query).json()
            rows += page["data"]
            assert page["has_more"] is (page["next_cursor"] is not None)
            if not page["has_more"]:
                return rows
            query["cursor"] = page["next_cursor"]

    def cost(self, **fields: Any) -> int:
        """Nano-dollars of the calls that have these values."""
        return sum(
            row["metadata"]["cost_nanodollars"]
            for row in self.rows
            if all(row[name] == value for name, value in fields.items())
        )

    def get(self, path: str, **query: Any) -> Any:
        """An answer, decoded."""
        answer = self.managed.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def range(self) -> dict[str, str]:
        """Dates of yesterday and today, so that midnight does not matter."""
        yesterday = datetime.now(UTC) - timedelta(days=1)
        return {"start_date": yesterday.strftime("%Y-%m-%d"), "end_date": datetime.now(UTC).strftime("%Y-%m-%d")}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Office]:
    gateway = Gateway(tmp_path_factory.mktemp("office"), simulator_url, config=CONFIG)
    managed = Managed(gateway)
    try:
        yield Office(managed)
    finally:
        managed.client.close()
        gateway.close()


def exactly(found: dict[str, float]) -> dict[str, int]:
    """Dollars as nano-dollars."""
    return {name: nanos(value) for name, value in found.items()}


def test_every_call_is_in_the_sum_of_everything(office: Office) -> None:
    assert nanos(office.get("/global/spend")["spend"]) == office.cost()
    days = office.get("/global/spend/logs")
    assert sum(nanos(day["spend"]) for day in days) == office.cost()
    activity = office.get("/global/activity", **office.range)
    assert (
        activity["sum_api_requests"] == len(office.rows) == sum(day["api_requests"] for day in activity["daily_data"])
    )
    assert activity["sum_total_tokens"] == sum(row["total_tokens"] for row in office.rows)
    by_model = {one["model"]: one for one in office.get("/global/activity/model", **office.range)}
    for model, one in by_model.items():
        assert one["sum_api_requests"] == sum(row["model_group"] == model for row in office.rows)
    key = office.managed.info(office.keys[2])["token"]
    series = office.get("/global/spend/logs", api_key=office.keys[2])
    assert {day["api_key"] for day in series} == {key}
    assert sum(nanos(day["spend"]) for day in series) == office.cost(api_key=key)


def test_summaries_by_day_and_calls_without(office: Office) -> None:
    rows = office.get("/spend/logs", **office.range)
    assert set(rows[0]) == {"startTime", "spend", "users", "models"}
    assert sum(nanos(row["spend"]) for row in rows) == office.cost()
    users = {name for row in rows for name in row["users"]}
    assert users == {"ann", "bob"}
    assert sum(nanos(row["users"]["ann"]) for row in rows) == office.cost(user="ann")
    assert sum(nanos(row["models"]["claude"]) for row in rows) == office.cost(model_group="claude")
    mine = office.get("/spend/logs", api_key=office.keys[0], **office.range)
    token = office.managed.info(office.keys[0])["token"]
    assert sum(nanos(row["models"]["priced"]) for row in mine) == office.cost(api_key=token, model_group="priced")
    bob = office.get("/spend/logs", user_id="bob", **office.range)
    assert sum(nanos(row["spend"]) for row in bob) == office.cost(user="bob")
    assert [row["user"] for row in office.get("/spend/logs", user_id="bob", summarize=False, **office.range)] == [
        "bob"
    ] * 5
    refused = office.managed.get("/spend/logs", api_key=office.keys[0], user_id="ann", **office.range)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "user_id")


def test_lists_by_what_was_spent(office: Office) -> None:
    keys = office.get("/spend/keys")
    assert [key["spend"] for key in keys] == sorted((key["spend"] for key in keys), reverse=True)
    assert exactly({key["token"]: key["spend"] for key in keys}) == {
        token: office.cost(api_key=token) for token in {row["api_key"] for row in office.rows}
    }
    users = office.get("/spend/users")
    assert exactly({user["user_id"]: user["spend"] for user in users}) == {
        "ann": office.cost(user="ann"),
        "bob": office.cost(user="bob"),
    }
    assert [user["user_id"] for user in office.get("/spend/users", user_id="bob")] == ["bob"]
    assert office.get("/spend/users", user_id="nobody")[0]["spend"] == 0
    top = office.get("/global/spend/keys", limit=2)
    assert len(top) == 2
    assert nanos(top[0]["total_spend"]) == office.cost(api_key=top[0]["api_key"])
    aliases = {key["key_alias"] for key in office.get("/global/spend/keys")}
    assert "k0" in aliases
    models = exactly({one["model"]: one["total_spend"] for one in office.get("/global/spend/models")})
    assert models == {model: office.cost(model_group=model) for model in models}
    assert {"priced", "claude"} <= models.keys()
    providers = exactly({one["provider"]: one["spend"] for one in office.get("/global/spend/provider")})
    assert providers == {one: office.cost(custom_llm_provider=one) for one in ("openai", "anthropic")}


def test_tags(office: Office) -> None:
    def of(tag: str) -> list[dict[str, Any]]:
        return [row for row in office.rows if tag in row["request_tags"]]

    found = {one["individual_request_tag"]: one for one in office.get("/spend/tags")}
    assert found.keys() == {"prod", "chat"}
    for tag, one in found.items():
        assert one["log_count"] == len(of(tag))
        assert nanos(one["total_spend"]) == sum(row["metadata"]["cost_nanodollars"] for row in of(tag))
    named = office.get("/global/spend/tags", tags="chat,unknown")["spend_per_tag"]
    assert [(one["name"], one["log_count"]) for one in named] == [("chat", len(of("chat"))), ("unknown", 0)]
    assert office.get("/global/spend/all_tag_names") == {"tag_names": ["chat", "prod"]}


def test_teams_and_reports(office: Office) -> None:
    teams = office.get("/global/spend/teams")
    assert exactly({one["team_id"]: one["total_spend"] for one in teams["total_spend_per_team"]}) == {
        team: office.cost(team_id=team) for team in ("red", "blue")
    }
    assert set(teams["teams"]) == {"red", "blue"}
    assert sum(nanos(day["red"]) for day in teams["daily_spend"]) == office.cost(team_id="red")
    days = office.get("/global/spend/report", **office.range)
    red = [team for day in days for team in day["teams"] if team["team_name"] == "red"]
    assert sum(nanos(team["total_spend"]) for team in red) == office.cost(team_id="red")
    by_model = [one for team in red for one in team["metadata"] if one["model"] == "claude"]
    assert sum(nanos(one["spend"]) for one in by_model) == office.cost(team_id="red", model_group="claude")
    assert days[0]["group_by_day"].endswith("T00:00:00+00:00")
    customers = office.get("/global/spend/report", group_by="customer", **office.range)
    second = [one for day in customers for one in day["customers"] if one["customer"] == "customer-2"]
    assert sum(nanos(one["total_spend"]) for one in second) == office.cost(end_user="customer-2")
    keys = {one["api_key"]: one for one in office.get("/global/spend/report", group_by="api_key", **office.range)}
    token = office.managed.info(office.keys[1])["token"]
    assert nanos(keys[token]["total_cost"]) == office.cost(api_key=token)
    details = {one["model"]: one for one in keys[token]["model_details"]}
    assert nanos(details["claude"]["total_cost"]) == office.cost(api_key=token, model_group="claude")
    only = office.get("/global/spend/report", api_key=office.keys[1], **office.range)
    assert only == [keys[token]]
    blue = office.get("/global/spend/report", team_id="blue", **office.range)
    assert {team["team_name"] for day in blue for team in day["teams"]} == {"blue"}
    ann = office.get("/global/spend/report", internal_user_id="ann", **office.range)
    assert exactly({one["model"]: one["spend"] for one in ann}) == {
        one["model"]: office.cost(user="ann", model_group=one["model"]) for one in ann
    }


ENTITIES: dict[str, tuple[str, str, str]] = {
    # path: (the query's name, an entity, the column of a call)
    "user": ("user_id", "ann", "user"),
    "team": ("team_ids", "red", "team_id"),
    "organization": ("organization_ids", "acme", "organization_id"),
    "customer": ("end_user_ids", "customer-1", "end_user"),
    "end_user": ("end_user_ids", "customer-2", "end_user"),
}


@pytest.mark.parametrize("path", ENTITIES)
@pytest.mark.parametrize("whole", [True, False])
def test_daily_activity_of_an_entity(office: Office, path: str, whole: bool) -> None:
    named_by, name, column = ENTITIES[path]
    url = f"/{path}/daily/activity" + ("/aggregated" if whole else "")
    answer = office.get(url, **{named_by: name}, **office.range)
    rows = [row for row in office.rows if row[column] == name]
    told = answer["metadata"]
    assert nanos(told["total_spend"]) == office.cost(**{column: name})
    assert told["total_api_requests"] == len(rows)
    assert told["total_failed_requests"] == sum(row["status"] == "failure" for row in rows)
    assert told["total_tokens"] == sum(row["total_tokens"] for row in rows)
    assert (told["page"], told["has_more"]) == (1, False)
    days = answer["results"]
    assert sum(nanos(day["metrics"]["spend"]) for day in days) == office.cost(**{column: name})
    for model in {row["model_group"] for row in rows if row["model_group"]}:
        shown = [day["breakdown"]["models"].get(model) for day in days]
        spent = sum(nanos(one["metrics"]["spend"]) for one in shown if one)
        assert spent == office.cost(**{column: name, "model_group": model})
    assert {entity for day in days for entity in day["breakdown"]["entities"]} == {name}


def test_daily_activity_of_everybody(office: Office) -> None:
    answer = office.get("/user/daily/activity", **office.range)
    assert answer["metadata"]["total_api_requests"] == len(office.rows)
    breakdown = answer["results"][0]["breakdown"]
    assert {"models", "providers", "api_keys", "entities"} <= breakdown.keys()
    teams = office.get("/team/daily/activity", **office.range)
    assert nanos(teams["metadata"]["total_spend"]) == office.cost()
    assert {name for day in teams["results"] for name in day["breakdown"]["entities"]} == {"red", "blue"}
    both = office.get("/team/daily/activity", team_ids="red,blue", **office.range)
    assert both["metadata"] == teams["metadata"]
    tags = office.get("/tag/daily/activity", tags="chat", **office.range)
    assert tags["metadata"]["total_api_requests"] == sum("chat" in row["request_tags"] for row in office.rows)
    page = office.get("/user/daily/activity", page=5, page_size=1, **office.range)
    assert page["results"] == []


REFUSED: list[tuple[str, dict[str, str], str]] = [
    ("/spend/tags", {"start_date": "yesterday"}, "start_date"),
    ("/spend/tags", {"start_date": "2026-01-02", "end_date": "2026-01-01"}, "start_date"),
    ("/global/activity", {"start_date": "2026-01-01T05:00:00Z"}, "start_date"),
    ("/global/spend/report", {"start_date": "2026-01-01"}, "end_date"),
    ("/global/spend/report", {"group_by": "moon", "start_date": "2026-01-01", "end_date": "2026-01-02"}, "group_by"),
    (
        "/global/spend/report",
        {"team_id": "a", "customer_id": "b", "start_date": "2026-01-01", "end_date": "2026-01-02"},
        "customer_id",
    ),
    ("/global/spend/keys", {"limit": "0"}, "limit"),
    ("/spend/logs/v2", {"team_id": "red"}, "team_id"),
    ("/spend/logs/v2", {"status_filter": "failure"}, "status_filter"),
    ("/spend/logs/v2", {"status_filter": "odd"}, "status_filter"),
    ("/spend/logs/v2", {"cursor": "nonsense"}, "cursor"),
    ("/spend/logs/v2", {"page_size": "1001"}, "page_size"),
    ("/spend/logs/v2", {"api_key": "x", "min_spend": "-1"}, "min_spend"),
    ("/team/daily/activity", {"start_date": "soon"}, "start_date"),
    ("/team/daily/activity", {"page_size": "0"}, "page_size"),
]


@pytest.mark.parametrize("path,query,param", REFUSED)
def test_what_does_not_fit_is_refused_by_name(office: Office, path: str, query: dict[str, str], param: str) -> None:
    answer = office.managed.get(path, **query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_filters_of_the_paged_list(office: Office) -> None:
    def ids(**query: Any) -> set[str]:
        return {row["request_id"] for row in office.get("/spend/logs/v2", page_size=1000, **query)["data"]}

    def expected(**fields: Any) -> set[str]:
        return {row["request_id"] for row in office.rows if all(row[name] == value for name, value in fields.items())}

    assert ids(team_id="red", **office.range) == expected(team_id="red")
    assert ids(end_user="customer-2", **office.range) == expected(end_user="customer-2")
    assert ids(user_id="ann", status_filter="failure") == expected(user="ann", status="failure")
    assert ids(user_id="ann", model="claude") == expected(user="ann", model_group="claude")
    cheap = {row["request_id"] for row in office.rows if row["spend"] == 0}
    assert ids(max_spend=0, **office.range) == cheap
    assert ids(min_spend=0.000000001, **office.range) == expected() - cheap


def test_only_the_master_key_sees_and_resets(office: Office) -> None:
    for path in ("/spend/keys", "/global/spend", "/global/spend/report", "/team/daily/activity", "/global/activity"):
        assert office.managed.client.get(path, headers={"x-api-key": office.keys[0]}).status_code == 403
        assert office.managed.client.get(path).status_code == 401
    assert office.managed.client.post("/global/spend/reset", headers={"x-api-key": office.keys[0]}).status_code == 403


def test_a_reset_counts_from_nothing_and_leaves_the_ledger(start_managed: Any) -> None:
    managed: Managed = start_managed()
    assert managed.post("/team/new", team_id="sharing", max_budget=1).status_code == 200
    key, other = managed.key(max_budget=0.0003), managed.key(team_id="sharing")

    def of_the_team() -> float:
        return float(managed.get("/team/info", team_id="sharing").json()["team_info"]["spend"])

    spent = 0
    while managed.chat(key).status_code == 200:
        spent += 1
    assert managed.chat(other).status_code == 200
    assert spent > 1
    assert managed.chat(key).status_code == 422, "over its budget"
    before = managed.get("/global/spend").json()
    until(lambda: of_the_team() > 0, what="the team's spend")
    answer = managed.client.post("/global/spend/reset", headers=managed.admin)
    assert answer.json()["status"] == "success"
    info = managed.info(key)
    assert (info["spend"], managed.info(other)["spend"]) == (0, 0)
    assert of_the_team() == 0
    assert info["total_spend"] > 0
    assert managed.get("/global/spend").json() == before
    assert managed.chat(key).status_code == 200, "the data plane knows at once"
    cost = cost_of_priced(ASKED, 4)
    until(lambda: nanos(managed.info(key)["spend"]) == cost, what="the next call's cost alone")
    assert nanos(managed.info(key)["total_spend"]) == nanos(info["total_spend"]) + cost
    with sqlite3.connect(managed.gateway.data_dir / "penstock.db") as database:
        rows = database.execute("SELECT actor, object_id FROM audit WHERE action = 'spend.reset'").fetchall()
    database.close()
    assert rows == [("master-key", "all")]
