"""SIGHUP's half in the runtime: the configuration is read again, or stays as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penstock.config import ConfigError, Environment, Problem
from penstock.engine.runtime import Runtime
from penstock.persistence import DatabaseUnavailable
from penstock.settings import Flags, prepare

CONFIG = """
model_list:
  - model_name: {name}
    litellm_params: {{model: openai_like/x, api_base: 'http://127.0.0.1:9/v1'}}
penstock: {{demo: false, limits: {{key_table_capacity: {capacity}}}}}
"""

Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> None:
        (tmp_path / "config.yaml").write_text(text)

    written(CONFIG.format(name="first", capacity=100))
    return written


@pytest.fixture
async def runtime(tmp_path: Path, write: Write) -> AsyncIterator[Runtime]:
    flags = Flags(config=tmp_path / "config.yaml", data_dir=tmp_path / "data", port=0)
    opened = await Runtime.open(prepare(flags, Environment({})))
    yield opened
    await opened.close()


def names(runtime: Runtime) -> list[str]:
    return [group.name for group in runtime.snapshot.groups]


async def test_a_changed_configuration_becomes_the_snapshot(runtime: Runtime, write: Write) -> None:
    write(CONFIG.format(name="second", capacity=100))
    assert await runtime.reload()
    assert names(runtime) == ["second"]
    assert runtime.snapshot.version == runtime.status().snapshot_version == 2


@pytest.mark.parametrize("text", ["model_list: 7", "penstock: {nonsense: 1}", "a: [", "model_list: [{model_name: x}]"])
async def test_one_that_cannot_be_used_leaves_the_former_in_force(
    runtime: Runtime, write: Write, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(text)
    assert not await runtime.reload()
    assert names(runtime) == ["first"]
    assert "the former one stays in force" in caplog.text


BUDGETS = CONFIG + "litellm_settings: {{max_budget: {budget}, max_end_user_budget: {budget}}}\n"


async def test_budgets_of_the_file_are_asked_about_from_the_first_snapshot_on(runtime: Runtime, write: Write) -> None:
    assert [runtime.snapshot.settings.customers] == [False]
    write(BUDGETS.format(name="first", capacity=100, budget=5))
    assert await runtime.reload()
    assert [runtime.snapshot.settings.customers] == [True]
    stored = await runtime.entities.scopes.find("global:proxy")
    assert stored is not None
    assert stored.max_budget == 5_000_000_000


async def test_without_a_database_all_of_the_former_stays_in_force(
    runtime: Runtime, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(BUDGETS.format(name="second", capacity=100, budget=5))

    async def fail() -> None:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(runtime.entities.scopes, "put_proxy", fail)
        assert not await runtime.reload()
    assert names(runtime) == ["first"]
    assert runtime.status().snapshot_version == 1
    assert runtime.entities.scopes.defaults.proxy_budget is None
    assert not runtime.config.litellm_settings.max_budget
    assert "the former one stays in force" in caplog.text
    assert await runtime.reload()
    assert names(runtime) == ["second"]


async def test_a_file_that_cannot_be_compiled_changes_no_budget(
    runtime: Runtime, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(BUDGETS.format(name="second", capacity=100, budget=5))

    def fail(*_: object, **__: object) -> None:
        raise ConfigError([Problem(severity="error", path="model_list", message="no")])

    monkeypatch.setattr("penstock.engine.compile.compile_snapshot", fail)
    assert not await runtime.reload()
    assert await runtime.entities.scopes.find("global:proxy") is None
    assert runtime.entities.scopes.defaults.proxy_budget is None


async def test_what_waits_for_the_next_start_is_said(
    runtime: Runtime, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write(CONFIG.format(name="first", capacity=200))
    assert await runtime.reload()
    waiting = [record.__dict__["what"] for record in caplog.records if "waits" in record.message]
    assert waiting == ["penstock.listener, grpc, limits, ledger or upstream"]


async def test_changes_of_others_are_shown_again_until_they_were_taken_up(runtime: Runtime) -> None:
    async with runtime.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO audit (at, origin, actor, action, object_type, object_id, fields)"
            " VALUES (1, 'other', 'a', 'key.delete', 'key', 'k', '[]')"
        )

    async def fail_to_take_up() -> None:
        async with runtime.audit.foreign_changes():
            raise DatabaseUnavailable

    with pytest.raises(DatabaseUnavailable):
        await fail_to_take_up()
    async with runtime.audit.foreign_changes() as changes:
        assert [change.object_id for change in changes] == ["k"]
    async with runtime.audit.foreign_changes() as changes:
        assert changes == []
