"""`penstock key ...`: the keys service on the database itself; a running gateway follows through the audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock.cli.database import open_database, prepared_for
from penstock.cli.failure import explained
from penstock.durations import iso
from penstock.errors import bad_request, explain
from penstock.keys.changes import KeySource
from penstock.keys.models import GenerateKeyRequest, KeyFilter
from penstock.keys.service import KeyService
from penstock.keys.store import KeyStore
from penstock.money import dollars, dollars_or_none

_ACTOR = "command-line"
_PAGE = 500


def _with_service(config: Path | None, data_dir: Path | None, work: Callable[[KeyService], Awaitable[None]]) -> None:
    from penstock import _core
    from penstock.audit import AuditTrail
    from penstock.engine.assembly import local_secrets
    from penstock.engine.entities import beside

    async def run() -> None:
        prepared = prepared_for(config, data_dir)
        pepper = local_secrets(prepared).pepper
        async with open_database(prepared) as database:
            source = KeySource(_core.generate_key, lambda key: _core.key_digest(pepper, key))
            audit = AuditTrail(database)
            service = KeyService(KeyStore(database), audit, source)
            beside(database, audit, service, prepared.config)
            await work(service)

    with explained():
        asyncio.run(run())


def run_create(fields: dict[str, Any], config: Path | None, data_dir: Path | None) -> None:
    """Create and print one key."""

    async def work(service: KeyService) -> None:
        try:
            request = msgspec.convert(fields, GenerateKeyRequest)
        except msgspec.ValidationError as error:
            raise bad_request(*explain(str(error), GenerateKeyRequest)) from error
        secret, key = await service.generate(request, _ACTOR)
        click.echo(secret)
        click.echo(f"token {key.token}; the key is not shown again", err=True)

    _with_service(config, data_dir, work)


def run_list(as_json: bool, config: Path | None, data_dir: Path | None) -> None:
    """Print every key, latest first."""

    async def work(service: KeyService) -> None:
        page = 1
        while True:
            keys, total = await service.page(KeyFilter(), "created_at", True, page, _PAGE)
            for key in keys:
                fields = {
                    "token": key.token,
                    "key_name": key.key_name,
                    "key_alias": key.key_alias,
                    "spend": dollars(key.spend),
                    "max_budget": dollars_or_none(key.max_budget),
                    "expires": iso(key.expires_at),
                    "blocked": key.blocked,
                }
                if as_json:
                    click.echo(msgspec.json.encode(fields).decode())
                else:
                    state = "blocked" if key.blocked else "active"
                    click.echo(
                        f"{key.token}  {key.key_name}  {key.key_alias or '-'}  ${dollars(key.spend):.6f}  {state}"
                    )
            if page * _PAGE >= total:
                return
            page += 1

    _with_service(config, data_dir, work)


def run_revoke(identifier: str, config: Path | None, data_dir: Path | None) -> None:
    """Delete one key, named by token, secret or alias."""

    async def work(service: KeyService) -> None:
        found = await service.find(identifier)
        tokens = [found.token] if found else await service.aliases_to_tokens([identifier])
        deleted = await service.delete(tokens, _ACTOR)
        if not deleted:
            raise click.ClickException("no key has this token, alias or secret")
        click.echo(f"revoked {deleted[0]}")

    _with_service(config, data_dir, work)
