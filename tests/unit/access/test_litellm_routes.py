"""Every management route of LiteLLM has an answer: what it does there, or the word that and why there is none here."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.absent.routes import ABSENT
from tests.conftest import FakeApp

ROUTES = (Path(__file__).parent / "litellm_routes.txt").read_text(encoding="utf-8").split("\n")[:-1]
ON_THE_DATA_PLANE = {"/models", "/models/{model_id}"}


async def test_every_route_of_litellm_is_known(fake_app: FakeApp) -> None:
    missing, absent = [], set()
    for line in ROUTES:
        method, path = line.split(" ")
        if path in ON_THE_DATA_PLANE or method == "OPTIONS":
            continue
        answer = await fake_app.client.request(method, re.sub(r"{[^}]+}", "x", path), headers=fake_app.admin)
        if answer.status_code in (404, 405) and "detail" in answer.json():
            missing.append(line)
        if answer.status_code == 501:
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("not_implemented_error", "501"), line
            assert error["message"].count(". ") >= 1, "it must say what to do instead"
            absent.add(re.sub(r"{[^}]+}", "{}", path))
    assert missing == []
    assert absent == {re.sub(r"{[^}]+}", "{}", path) for path in ABSENT}


async def test_what_is_absent_is_not_among_the_routes(fake_app: FakeApp) -> None:
    listed = (await fake_app.client.get("/routes", headers=fake_app.admin)).json()["routes"]
    paths = {entry["path"] for entry in listed}
    assert "/key/generate" in paths
    assert "/team/{team_id}/member/{user_id}/reset_spend" in paths
    assert not {path.replace(":str", "") for path in ABSENT} & paths


async def test_there_is_no_cache_to_ping(fake_app: FakeApp) -> None:
    answer = await fake_app.client.get("/cache/ping", headers=fake_app.admin)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "cache_ping_error")
