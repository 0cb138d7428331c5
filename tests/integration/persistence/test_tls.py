"""TLS to the database: demanded, verified, and refused when it is not the right server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.persistence import DatabaseUnavailable
from tests.integration.listener.certificates import Authority, needs_openssl
from tests.integration.persistence.conftest import Open
from tests.servers.postgres import Postgres


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    needs_openssl()
    return Authority(tmp_path)


@pytest.fixture
def secure(authority: Authority) -> Iterator[Postgres]:
    """A server that takes TLS connections only."""
    node = Postgres.create()
    certificate, key = authority.issue("server")
    node.use_tls(certificate, key)
    yield node
    node.close()


async def test_the_server_is_verified(
    secure: Postgres, authority: Authority, open_postgres: Open, tmp_path: Path
) -> None:
    trusted = str(authority.certificate)
    database = await open_postgres(secure.url(sslmode="verify-full", sslrootcert=trusted))
    assert await database.fetch_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == {"ssl": True}
    (tmp_path / "other").mkdir()
    other = str(Authority(tmp_path / "other", "other-ca").certificate)
    with pytest.raises(DatabaseUnavailable, match="certificate verify failed"):
        await open_postgres(secure.url(sslmode="verify-full", sslrootcert=other))
    by_other_name = secure.url(sslmode="verify-full", sslrootcert=trusted).replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(DatabaseUnavailable, match="IP address mismatch"):
        await open_postgres(by_other_name)


async def test_a_server_without_tls_is_refused_where_it_is_demanded(postgres: Postgres, open_postgres: Open) -> None:
    with pytest.raises(DatabaseUnavailable, match="SSL"):
        await open_postgres(postgres.url(sslmode="require"))


async def test_a_missing_bundle_is_named(postgres: Postgres, open_postgres: Open, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="sslrootcert"):
        await open_postgres(postgres.url(sslmode="verify-full", sslrootcert=str(tmp_path / "none.pem")))
