"""Addresses of databases, and which setting goes before which."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import Environment
from penstock.config.database import PostgresAddress, database_settings, target_of
from penstock.config.loader import load
from penstock.config.problems import ConfigError


def test_a_file_is_the_default(tmp_path: Path) -> None:
    config = load(None, Environment({})).config
    assert database_settings(config, Environment({}), tmp_path).target == tmp_path / "penstock.db"


@pytest.mark.parametrize(
    "url, path", [("sqlite:///a/b.db", Path("a/b.db")), ("sqlite:////var/b.db", Path("/var/b.db"))]
)
def test_an_address_of_a_file(url: str, path: Path) -> None:
    assert target_of(url) == path


def test_an_address_of_a_server_is_shown_without_its_password() -> None:
    target = target_of(
        "postgres://me:hunter2@one:5433,two/data?sslmode=verify-full&pgbouncer=true&connection_limit=7&pool_timeout=3"
        "&schema=own&sslaccept=strict&target_session_attrs=any"
    )
    assert isinstance(target, PostgresAddress)
    assert target.shown == "postgresql://one:5433,two/data"
    assert "hunter2" not in repr(target)
    dsn = target.dsn.reveal()
    assert dsn == "postgres://me:hunter2@one:5433,two/data?sslmode=verify-full&target_session_attrs=read-write"
    assert (target.is_pooled, target.connections, target.wait_s, target.schema) == (True, 7, 3.0, "own")


@pytest.mark.parametrize(
    "url, words",
    [
        ("mysql://me:hunter2@h/d", "neither PostgreSQL nor SQLite"),
        ("sqlite:///", "neither PostgreSQL nor SQLite"),
        ("postgresql://me:hunter2#x@h/d", "%23"),
        ("postgresql://me:hunter2/x@h/d", "port"),
        ("postgresql://h:99999/d", "port"),
        ("postgresql://me:hunter2@h/d?connection_limit=many", "connection_limit"),
        ("postgresql://me:hunter2@h/d?nonsense", "is not an address"),
    ],
)
def test_an_address_that_cannot_be_used_is_not_repeated(url: str, words: str, tmp_path: Path) -> None:
    config = load(None, Environment({})).config
    with pytest.raises(ConfigError, match=words) as caught:
        database_settings(config, Environment({"DATABASE_URL": url}), tmp_path)
    assert "hunter2" not in str(caught.value)


def test_own_settings_go_before_the_others_and_those_before_the_address(tmp_path: Path) -> None:
    url = "postgresql://h/d?connection_limit=7&pool_timeout=3"
    file = tmp_path / "config.yaml"
    bounds = []
    for text in (
        f"general_settings: {{database_url: '{url}'}}",
        f"general_settings: {{database_url: '{url}', database_connection_pool_limit: 8, database_connection_timeout: 4}}",
        (
            f"general_settings: {{database_url: '{url}', database_connection_pool_limit: 8, database_connection_timeout: 4}}\n"
            "penstock: {database: {pool_size: 1, wait: 500ms, deadline: 2s}}"
        ),
    ):
        file.write_text(text, encoding="utf-8")
        loaded = load(file, Environment({}))
        assert loaded.ok, loaded.problems
        settings = database_settings(loaded.config, Environment({"DATABASE_URL": "postgresql://other/x"}), tmp_path)
        assert settings.place == "postgresql://h/d"
        bounds.append((settings.pool_size, settings.wait_ms, settings.statement_ms))
    assert bounds == [(7, 3_000, 10_000), (8, 4_000, 10_000), (2, 500, 2_000)]


def test_the_check_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("general_settings: {database_url: 'mysql://me:hunter2@h/d'}", encoding="utf-8")
    problems = [problem for problem in load(file, Environment({})).problems if problem.severity == "error"]
    assert [problem.path for problem in problems] == ["general_settings.database_url"]
    assert "hunter2" not in str(problems)
