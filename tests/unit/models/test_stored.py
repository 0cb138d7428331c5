"""A change of a stored model is stored and applied, or neither."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.audit import AuditTrail
from penstock.config.env import Environment
from penstock.config.problems import ConfigError, Problem
from penstock.config.schema import Config, GeneralSettings, LitellmSettings
from penstock.engine.compile import compile_snapshot
from penstock.engine.deployment import StoredDeployments
from penstock.engine.snapshot import Snapshot
from penstock.errors import ApiError
from penstock.models.entry import Basis, build_model
from penstock.models.models import ModelChange, NewModelRequest
from penstock.models.store import ModelStore
from penstock.models.stored import StoredModels
from penstock.persistence import DatabaseUnavailable, SqliteDatabase, Transaction

_PARAMS = {"model": "openai/sim", "api_base": "http://h/v1", "api_key": "k"}


def cipher(key: bytes, text: bytes, aad: bytes) -> bytes:
    """Its own reverse; the additional data goes into it."""
    stream = hashlib.shake_256(key + aad).digest(len(text))
    return bytes(a ^ b for a, b in zip(text, stream, strict=True))


class Installed:
    """Compiles for real and applies to nothing; ``refuses`` is what a data plane would say."""

    def __init__(self) -> None:
        self.config = Config(general_settings=GeneralSettings(store_model_in_db=True), from_file=True)
        self.snapshot = Snapshot(version=0, deployments=[], groups=[])
        self.refuses = False
        self.environment = Environment({})

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Basis]:
        yield Basis(self.config, self.environment)

    def install(self, basis: Basis, stored: Iterable[StoredDeployments]) -> None:
        if self.refuses:
            raise ConfigError([Problem(severity="error", message="no", path="snapshot")])
        self.snapshot = compile_snapshot(
            basis.config,
            basis.environment,
            version=self.snapshot.version + 1,
            master_token="",
            demo_base_url=None,
            stored=stored,
        )

    @property
    def names(self) -> list[str]:
        """Of the groups served."""
        return [group.name for group in self.snapshot.groups]


class Failing(SqliteDatabase):
    """Says at every commit, when told to, that it is gone."""

    fails = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as tx:
            yield tx
            if self.fails:
                raise DatabaseUnavailable("gone")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Failing]:
    opened = await Failing.open(tmp_path / "penstock.db")
    assert isinstance(opened, Failing)
    yield opened
    await opened.close()


def made(database: Failing, installed: Installed) -> StoredModels:
    """The service on them."""
    return StoredModels(ModelStore(database), AuditTrail(database), b"k" * 32, cipher, cipher, installed)


def request(name: str, **params: Any) -> NewModelRequest:
    """To add a model."""
    return NewModelRequest(name, {**_PARAMS, **params})


async def test_a_commit_that_fails_takes_the_model_out_again(database: Failing) -> None:
    installed = Installed()
    models = made(database, installed)
    kept = (await models.create(request("kept"), "me"))["model_id"]
    database.fails = True
    for change in (
        models.create(request("new"), "me"),
        models.update(kept, ModelChange(model_name="renamed"), "me"),
        models.set_blocked(kept, True, "me"),
        models.delete(kept, "me"),
    ):
        with pytest.raises(DatabaseUnavailable):
            await change
        assert installed.names == ["kept"]
    database.fails = False
    assert [model["model_name"] for model in await models.shown()] == ["kept"]
    await models.delete(kept, "me")
    assert installed.names == []


async def test_a_snapshot_that_the_data_plane_refuses_stores_nothing(database: Failing) -> None:
    installed = Installed()
    models = made(database, installed)
    installed.refuses = True
    with pytest.raises(ApiError, match="cannot be served"):
        await models.create(request("new"), "me")
    assert await models.shown() == []
    await models.refresh()  # goes on with what is in force
    installed.refuses = False
    await models.create(request("new"), "me")
    assert installed.names == ["new"]


async def test_the_audit_trail_names_fields_and_no_values(database: Failing) -> None:
    models = made(database, Installed())
    model = await models.create(request("a", api_key="swordfish"), "me")
    await models.update(model["model_id"], ModelChange(litellm_params={"rpm": 5}), "you")
    await models.set_blocked(model["model_id"], True, "me")
    await models.delete(model["model_id"], "me")
    rows = await database.fetch_all("SELECT actor, action, object_type, object_id, fields FROM audit ORDER BY id")
    assert [row["action"] for row in rows] == ["model.new", "model.update", "model.block", "model.delete"]
    assert {row["object_id"] for row in rows} == {model["model_id"]}
    assert {row["object_type"] for row in rows} == {"model"}
    assert rows[1]["fields"] == '["litellm_params.rpm"]'
    assert "swordfish" not in str([dict(row) for row in rows])


async def test_a_model_that_no_longer_fits_is_left_out_and_named(database: Failing) -> None:
    installed = Installed()
    models = made(database, installed)
    await models.create(request("good"), "me")
    bad = (await models.create(request("bad"), "me"))["model_id"]
    async with database.transaction() as tx:
        await tx.execute("UPDATE models SET sealed_params = ? WHERE model_id = ?", (b"x", bad))
    await models.refresh()
    assert installed.names == ["good"]
    assert "cannot be opened" in models.unusable[bad]
    await models.create(request("another"), "me")
    assert installed.names == ["good", "another"]


async def test_a_change_builds_the_model_it_is_about(database: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = Installed()
    models = made(database, installed)
    ids = [(await models.create(request(f"m{n}"), "me"))["model_id"] for n in range(5)]
    built: list[str] = []

    def counted(model_id: str, *rest: Any) -> Any:
        built.append(model_id)
        return build_model(model_id, *rest)

    monkeypatch.setattr("penstock.models.stored.build_model", counted)
    await models.update(ids[0], ModelChange(litellm_params={"rpm": 1}), "me")
    assert set(built) == {ids[0]}
    built.clear()
    installed.config = Config(
        general_settings=GeneralSettings(store_model_in_db=True), litellm_settings=LitellmSettings(drop_params=True)
    )
    await models.refresh()
    assert set(built) == set(ids), "another configuration makes others of all"
    assert all(one.drop_params for one in installed.snapshot.deployments if one.id in ids)
    await models.delete(ids[1], "me")
    assert "m1" not in installed.names
