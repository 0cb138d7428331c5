"""A team is changed when its organization's budget window is over and nobody has begun the next one yet."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from penstock.audit import AuditTrail
from penstock.clock import now_ms
from penstock.config.schema import Config
from penstock.engine.entities import Entities, beside
from penstock.keys.changes import KeySource
from penstock.keys.service import KeyService
from penstock.keys.store import KeyStore
from penstock.organizations.models import NewOrganizationRequest
from penstock.persistence import Database
from penstock.scopes import names
from penstock.teams.models import NewTeamRequest, UpdateTeamRequest


@pytest.fixture
def entities(database: Database) -> Entities:
    """On a database of their own, without a data plane."""
    audit = AuditTrail(database)
    keys = KeyService(KeyStore(database), audit, KeySource(lambda: "sk-x", lambda secret: secret))
    return beside(database, audit, keys, Config())


async def test_a_change_within_an_ended_window_keeps_nobody_waiting(entities: Entities, database: Database) -> None:
    made = NewOrganizationRequest(organization_alias="o", max_budget=Decimal(5), budget_duration="30d")
    organization = await entities.organizations.create(made, "root")
    team = await entities.create_team(
        NewTeamRequest(team_alias="t", organization_id=organization.organization_id), "root"
    )
    async with database.transaction() as tx:
        name = names.organization(organization.organization_id)
        await tx.execute("UPDATE scopes SET budget_reset_at = ? WHERE name = ?", (now_ms() - 10, name))
    change = UpdateTeamRequest(team_id=team.team_id, tpm_limit=6)
    await asyncio.wait_for(entities.teams.update(change, "root"), 20)
    async with asyncio.timeout(20), database.transaction():
        pass
