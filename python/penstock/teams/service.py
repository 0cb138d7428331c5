"""Teams: create, change, block, delete; an organization bounds what its teams may have."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.budgets.service import BudgetService
from penstock.errors import ApiError, bad_request
from penstock.keys.service import KeyService, now_ms
from penstock.keys.under import KeysUnder
from penstock.money import dollars, nanos_from_dollars
from penstock.organizations.service import OrganizationService
from penstock.persistence import Conflict, Transaction
from penstock.scopes import names
from penstock.scopes.fields import as_refusal, changes, checked_depth, checked_id, given, model_changes, stored
from penstock.scopes.models import BudgetFields
from penstock.scopes.service import ScopeService
from penstock.teams.models import STORED_ONLY, NewTeamRequest, Team, TeamFields, UpdateTeamRequest
from penstock.teams.store import TeamStore

_MEMBER_FIELDS = {
    "team_member_budget": "max_budget",
    "team_member_budget_duration": "budget_duration",
    "team_member_rpm_limit": "rpm_limit",
    "team_member_tpm_limit": "tpm_limit",
}
ALL_MODELS = "all-proxy-models"


class TeamService:
    """The teams domain's public face; members are in :mod:`penstock.teams.members`."""

    def __init__(
        self,
        store: TeamStore,
        audit: AuditTrail,
        scopes: ScopeService,
        budgets: BudgetService,
        organizations: OrganizationService,
        keys: KeyService,
        under: KeysUnder,
    ) -> None:
        self._store = store
        self._audit = audit
        self._scopes = scopes
        self._budgets = budgets
        self._organizations = organizations
        self._keys = keys
        self._under = under

    async def find(self, team_id: str) -> Team | None:
        """A team."""
        return await self._store.rows.get(self._store.database, {"team_id": team_id})

    async def get(self, team_id: str) -> Team:
        """A team, or 404."""
        team = await self.find(team_id)
        if team is None:
            raise ApiError(404, f"Team not found, passed team id: {team_id}.", param="team_id")
        return team

    async def among(self, ids: Sequence[str]) -> list[Team]:
        """Those of these teams that exist."""
        return await self._store.rows.among(self._store.database, "team_id", ids)

    async def page(
        self, organization_id: str | None, alias: str | None, page: int, size: int
    ) -> tuple[list[Team], int]:
        """One page (from 1), latest first, and the number of teams in all."""
        where = {"organization_id": organization_id, "team_alias": alias}
        rows, database = self._store.rows, self._store.database
        found = await rows.find(database, where, "created_at DESC, team_id DESC", size, (page - 1) * size)
        return found, await rows.count(database, where)

    async def of_organization(self, organization_id: str) -> list[Team]:
        """The teams of an organization."""
        return await self._store.rows.find(self._store.database, {"organization_id": organization_id}, "team_id")

    async def create(self, request: NewTeamRequest, actor: str) -> Team:
        """A new team without members; 400 when the id is taken."""
        team_id = request.team_id if isinstance(request.team_id, str) else str(uuid.uuid4())
        checked_id(team_id, "team_id")
        now = now_ms()
        team = Team(team_id=team_id, created_at=now, created_by=actor)
        columns = await self._apply(request, team, actor, now)
        try:
            async with self._store.database.transaction() as tx:
                await self._member_budget(tx, request, team, actor)
                await self._store.rows.insert(tx, team)
                await self._scopes.put(tx, names.team(team_id), columns, model_changes(request, {}))
                await self._audit.append(tx, actor, "team.new", "team", team_id, given(request))
        except Conflict as error:
            raise bad_request(
                f"Team id = {team_id} already exists. Please use a different team id.", "team_id"
            ) from error
        # Keys made before there was such a check may name it.
        await self._scopes.publish([], relist=[names.team(team_id)])
        return team

    async def update(self, request: UpdateTeamRequest, actor: str) -> Team:
        """Change the given fields, with effect on the next call of the team's keys."""
        team = await self.get(request.team_id)
        organization_id = team.organization_id
        name = names.team(team.team_id)
        columns = await self._apply(request, team, actor, now_ms())
        models = model_changes(request, (await self._scopes.models_of([name])).get(name, {}))
        if "spend" in columns:
            await self._scopes.settle()
        is_moved = team.organization_id != organization_id
        tokens = await self._under.tokens(name) if is_moved else []
        async with self._store.database.transaction() as tx:
            touched = await self._member_budget(tx, request, team, actor)
            await self._store.rows.replace(tx, team)
            await self._scopes.put(tx, name, columns, models)
            if is_moved:
                await self._under.move_to_organization(tx, team.team_id, team.organization_id)
                for token in tokens:
                    await self._audit.append(tx, actor, "key.move", "key", token, ["organization_id"])
            await self._audit.append(tx, actor, "team.update", "team", team.team_id, given(request))
        is_relisted = models is not None or "budget_id" in columns or is_moved
        await self._scopes.publish([name, *touched], relist=[name] if is_relisted else [])
        return team

    async def set_blocked(self, team_id: str, blocked: bool, actor: str) -> Team:
        """Block or unblock every key of the team."""
        team = await self.get(team_id)
        async with self._store.database.transaction() as tx:
            await self._scopes.put(tx, names.team(team_id), {"blocked": blocked})
            action = "team.block" if blocked else "team.unblock"
            await self._audit.append(tx, actor, action, "team", team_id, ["blocked"])
        await self._scopes.publish([names.team(team_id)])
        return team

    async def change_models(self, team_id: str, add: Sequence[str], remove: Sequence[str], actor: str) -> Team:
        """Add models to those that the team may call, or take some away."""
        team = await self.get(team_id)
        scope = await self._scopes.find(names.team(team_id))
        models = list(scope.models) if scope is not None else []
        if remove and not models:
            raise bad_request("The team may call every model: give it a list with /team/update first.", "models")
        changed = [model for model in dict.fromkeys([*models, *add]) if model not in set(remove)]
        if remove and not changed:
            # Nothing left would mean every model.
            changed = ["no-default-models"]
        elif add:
            changed = [model for model in changed if model != "no-default-models"]
        async with self._store.database.transaction() as tx:
            await self._scopes.put(tx, names.team(team_id), {"models": changed})
            await self._audit.append(tx, actor, "team.update", "team", team_id, ["models"])
        await self._scopes.publish([names.team(team_id)])
        return team

    async def delete(self, ids: Sequence[str], actor: str) -> list[str]:
        """Remove teams and their keys; 404 when one does not exist, and then none is removed."""
        teams = list(dict.fromkeys(ids))
        if not teams:
            raise bad_request("`team_ids` must name at least one team", "team_ids")
        for team_id in teams:
            await self.get(team_id)
        for team_id in teams:
            name = names.team(team_id)
            await self._delete_keys(name, actor)
            members = await self._store.members.find(self._store.database, {"team_id": team_id}, "user_id")
            gone = [name, *(names.member(team_id, member.user_id) for member in members)]
            async with self._store.database.transaction() as tx:
                await self._store.members.delete(tx, {"team_id": team_id})
                await self._store.rows.delete(tx, {"team_id": team_id})
                for scope in gone:
                    await self._scopes.remove(tx, scope)
                await self._audit.append(tx, actor, "team.delete", "team", team_id)
            # Made while the others were being deleted.
            await self._delete_keys(name, actor)
            await self._scopes.publish(gone)
        return teams

    async def _delete_keys(self, scope: str, actor: str) -> None:
        tokens = await self._under.tokens(scope)
        if tokens:
            await self._keys.delete(tokens, actor)

    async def _member_budget(self, tx: Transaction, request: TeamFields, team: Team, actor: str) -> list[str]:
        """Write what the request says of every member's limits into the team's budget for members."""
        asked = {
            field: getattr(request, name)
            for name, field in _MEMBER_FIELDS.items()
            if getattr(request, name) is not UNSET
        }
        if not asked:
            return []
        budget = BudgetFields(**asked)
        if team.member_budget_id is not None:
            return (await self._budgets.update_in(tx, team.member_budget_id, budget, actor))[1]
        team.member_budget_id = str(uuid.uuid4())
        await self._budgets.create_in(tx, team.member_budget_id, budget, actor)
        touched = []
        for member in await self._store.members.find(tx, {"team_id": team.team_id}, "user_id"):
            name = names.member(team.team_id, member.user_id)
            await self._scopes.put(tx, name, {"budget_id": team.member_budget_id})
            touched.append(name)
        return touched

    async def _apply(self, request: TeamFields, team: Team, actor: str, now: int) -> dict[str, Any]:
        """Write the request into the row; returns what it says about the scope."""
        checked_depth(request)
        columns = changes(request)
        if request.team_alias is not UNSET:
            checked_id(request.team_alias, "team_alias")
            team.team_alias = request.team_alias
        if request.organization_id is not UNSET:
            checked_id(request.organization_id, "organization_id")
            team.organization_id = request.organization_id
        if request.metadata is not UNSET:
            team.metadata = request.metadata or {}
        if request.model_aliases is not UNSET:
            team.model_aliases = request.model_aliases or {}
        if request.models is not UNSET:
            columns["models"] = [] if ALL_MODELS in (request.models or []) else request.models or []
        if request.blocked is not UNSET:
            columns["blocked"] = bool(request.blocked)
        if request.spend is not UNSET:
            try:
                columns["spend"] = 0 if request.spend is None else nanos_from_dollars(request.spend, "spend")
            except ValueError as error:
                raise as_refusal(error) from error
        columns["alias"] = team.team_alias
        if team.organization_id is not None:
            columns["above"] = names.organization(team.organization_id)
            await self._within_organization(team.organization_id, columns)
        elif request.organization_id is not UNSET:
            columns["above"] = None
        team.extra = stored(request, STORED_ONLY, team.extra)
        team.updated_at, team.updated_by = now, actor
        return columns

    async def _within_organization(self, organization_id: str, columns: Mapping[str, Any]) -> None:
        """Refuse limits beyond those of the organization.

        Raises:
            ApiError: 400 naming the field.
        """
        if await self._organizations.find(organization_id) is None:
            raise bad_request(
                f"`organization_id`: Organization not found for organization_id={organization_id}", "organization_id"
            )
        scope = await self._scopes.find(names.organization(organization_id))
        if scope is None:
            return
        bounds = msgspec.structs.asdict(scope)
        for field, column in (("max_budget", "max_budget"), ("tpm_limit", "tpm"), ("rpm_limit", "rpm")):
            asked, bound = columns.get(column), bounds[column]
            if asked is not None and bound is not None and asked > bound:
                shown = (dollars(asked), dollars(bound)) if column == "max_budget" else (asked, bound)
                raise bad_request(f"`{field}` {shown[0]} is above the organization's, which is {shown[1]}", field)
        models = columns.get("models") or []
        beyond = [model for model in models if scope.models and model not in scope.models]
        if beyond:
            raise bad_request(f"`models`: the organization may not call {', '.join(beyond)}", "models")
