"""Models in the database through the public port: they answer, change, go, and survive a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.integration.managed import Managed, nanos, until
from tests.integration.models.conftest import STORED, Models


def test_a_new_model_answers_the_next_call_and_a_deleted_one_does_not(models: Models) -> None:
    name = models.name()
    assert models.asked(name).status_code == 404
    model_id = models.created(name)
    answer = models.asked(name)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-penstock-deployment"] == model_id
    assert name in {one["id"] for one in models.managed.get("/v1/models").json()["data"]}
    assert models.managed.post("/model/delete", id=model_id).json() == {
        "message": f"Model: {model_id} deleted successfully"
    }
    assert models.asked(name).status_code == 404
    assert models.managed.post("/model/delete", id=model_id).status_code == 404
    assert models.managed.get("/model/info", litellm_model_id=model_id).status_code == 404


def test_an_update_takes_effect_on_the_next_call_and_keeps_the_rest(models: Models) -> None:
    name = models.name()
    model_id = models.created(name, {"notes": "kept"}, input_cost_per_token=0.000001, output_cost_per_token=0.00001)
    key = models.managed.key()
    assert models.managed.chat(key, model=name).status_code == 200
    # An answer is out a moment before its call is settled.
    before = until(lambda: nanos(models.managed.info(key)["spend"]), what="the first call's cost")
    changed = models.managed.post(
        "/model/update", model_info={"id": model_id}, litellm_params={"input_cost_per_token": 0, "rpm": None}
    )
    assert changed.status_code == 200, changed.text
    assert models.managed.chat(key, model=name).status_code == 200
    after = until(lambda: nanos(models.managed.info(key)["spend"]) - before, what="the second call's cost")
    assert after == 4 * 10_000, "only the output costs now"
    entry = models.entry(model_id)
    assert entry["model_info"]["notes"] == "kept"
    other = models.name()
    path = f"/model/{model_id}/update"
    renamed = models.managed.client.patch(path, headers=models.managed.admin, json={"model_name": other})
    assert renamed.status_code == 200, renamed.text
    assert (models.asked(name).status_code, models.asked(other).status_code) == (404, 200)


def test_limits_of_a_stored_deployment_hold(models: Models) -> None:
    name = models.name()
    models.created(name, rpm=2)
    assert [models.asked(name).status_code for _ in range(4)] == [200, 200, 429, 429]


def test_a_stored_model_joins_the_group_of_the_file(models: Models) -> None:
    model_id = models.created("other", {"access_groups": ["tier-x"]}, weight=1_000_000)
    try:
        served = {models.asked("other").headers["x-penstock-deployment"] for _ in range(5)}
        assert served == {model_id}
        key = models.managed.key(models=["tier-x"])
        assert models.managed.chat(key, model="other").status_code == 200
    finally:
        models.managed.post("/model/delete", id=model_id)


def test_blocking_takes_a_model_out_and_unblocking_back_in(models: Models) -> None:
    name = models.name()
    model_id = models.created(name)
    blocked = models.managed.post("/model/block", model_id=model_id)
    assert blocked.json()["model_info"]["blocked"] is True
    assert models.asked(name).status_code == 404
    assert models.entry(model_id)["model_info"]["blocked"] is True
    assert models.managed.post("/model/unblock", model_id=model_id).status_code == 200
    assert models.asked(name).status_code == 200
    born = models.created(models.name(), {"blocked": True})
    assert models.entry(born)["model_info"]["blocked"] is True


def test_a_restart_keeps_models_and_another_key_of_sealing_leaves_them_out(
    start_managed: Callable[..., Managed], simulator_url: str
) -> None:
    first = start_managed(config=STORED)
    kept = Models(first).created("kept")
    assert first.gateway.process.stop() == 0
    with started(first, simulator_url) as second:
        answer = second.chat(second.gateway.admin_key, model="kept")
        assert (answer.status_code, answer.headers["x-penstock-deployment"]) == (200, kept)
    # Whoever lost the sealing key still has a gateway, and reads why a model is not served.
    with started(first, simulator_url, {"PENSTOCK_SECRET_KEY": "x" * 40}) as third:
        assert third.chat(third.gateway.admin_key, model="kept").status_code == 404
        assert third.chat(third.gateway.admin_key).status_code == 200
        assert "models.left_out" in third.gateway.process.output()
        assert third.post("/model/delete", id=kept).status_code == 200


@contextmanager
def started(first: Managed, simulator_url: str, environment: dict[str, str] | None = None) -> Iterator[Managed]:
    """Another gateway on the same data."""
    gateway = Gateway(first.gateway.directory, simulator_url, config=STORED, environment=environment)
    managed = Managed(gateway)
    try:
        yield managed
    finally:
        managed.client.close()
        gateway.close()


def test_what_the_database_refuses_is_not_served(models: Models) -> None:
    database = models.managed.gateway.data_dir / "penstock.db"
    name = models.name()
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON models BEGIN SELECT RAISE(ABORT, 'no'); END")
        try:
            assert models.new(name).status_code >= 400
            assert models.asked(name).status_code == 404
        finally:
            other.execute("DROP TRIGGER refuse")
    models.created(name)
    assert models.asked(name).status_code == 200


def test_what_another_process_stores_is_served_within_the_interval(models: Models) -> None:
    name = models.name()
    model_id = models.created(name)
    database = models.managed.gateway.data_dir / "penstock.db"
    with sqlite3.connect(database, timeout=10) as other:
        other.execute("UPDATE models SET blocked = 1 WHERE model_id = ?", (model_id,))
        other.execute(
            "INSERT INTO audit (at, origin, actor, action, object_type, object_id, fields)"
            " VALUES (0, 'another', 'master-key', 'model.block', 'model', ?, '[]')",
            (model_id,),
        )
    until(lambda: models.asked(name).status_code == 404, what="the other process's block")


def test_many_changes_at_once_are_all_served(models: Models) -> None:
    names = [models.name() for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(models.created, names))
    assert len(set(ids)) == 12
    assert {models.asked(name).status_code for name in names} == {200}
    with ThreadPoolExecutor(6) as pool:
        gone = list(pool.map(lambda model_id: models.managed.post("/model/delete", id=model_id).status_code, ids))
    assert set(gone) == {200}
    assert {models.asked(name).status_code for name in names} == {404}


def test_credentials_of_the_database_serve_stored_models(models: Models) -> None:
    name, credential = models.name(), f"credential-{models.name()}"
    params: dict[str, Any] = {"model": "openai/sim", "litellm_credential_name": credential}
    refused = models.managed.post("/model/new", model_name=name, litellm_params=params)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "litellm_params.litellm_credential_name"
    values = {"api_key": "sk-in-a-credential", "api_base": models.upstream}
    made = models.managed.post("/credentials", credential_name=credential, credential_values=values)
    assert made.status_code == 200, made.text
    created = models.managed.post("/model/new", model_name=name, litellm_params=params)
    assert created.status_code == 200, created.text
    assert models.asked(name).status_code == 200
    gone = models.managed.client.delete(f"/credentials/{credential}", headers=models.managed.admin)
    assert gone.status_code == 200
    assert models.asked(name).status_code == 404, "left out, and everything else goes on"
    assert models.asked("priced").status_code == 200


def test_without_the_setting_nothing_is_stored(start_managed: Callable[..., Managed]) -> None:
    managed = start_managed()
    answer = Models(managed).new("off")
    assert answer.status_code == 400
    assert "store_model_in_db" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/model/new", "/model/update", "/model/delete", "/model/block", "/model/unblock"])
def test_only_the_master_key_may(models: Models, path: str) -> None:
    key = models.managed.key()
    for headers, status in (({"x-api-key": key}, 403), ({}, 401)):
        assert models.managed.client.post(path, headers=headers, json={}).status_code == status
