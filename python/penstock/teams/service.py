"""Teams: create, change, block, delete; an organization bounds what its teams may have."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.budgets.service import BudgetService
from penstock.checks import Check, unchecked
from penstock.clock import now_ms
from penstock.errors import ApiError, bad_request
from penstock.keys.service import KeyService
from penstock.keys.under import KeysUnder
from penstock.money import dollars, nanos_from_dollars
from penstock.organizations.service import OrganizationService
from penstock.persistence import Conflict, Transaction, managed
from penstock.scopes import names
from penstock.scopes.fields import (
    as_refusal,
    changes,
    checked_depth,
    checked_id,
    checked_new_id,
    given,
    limits_called,
    model_changes,
    stored,
)
from penstock.scopes.service import ScopeService
from penstock.tables import ALL
from penstock.teams.models import (
    PERMISSIONS,
    SPELLINGS,
    STORED_ONLY,
    WITHOUT_EFFECT,
    NewTeamRequest,
    Team,
    TeamFields,
    UpdateTeamRequest,
)
from penstock.teams.store import TeamStore

_MEMBER_FIELDS = {
    "team_member_budget": "max_budget",
    "team_member_budget_duration": "budget_duration",
    "team_member_rpm_limit": "rpm_limit",
    "team_member_tpm_limit": "tpm_limit",
}
ALL_MODELS = "all-proxy-models"


def _not_found(team_id: str) -> ApiError:
    return ApiError(404, f"Team not found, passed team id: {team_id}.", param="team_id")


def checked_permissions(permissions: Sequence[str], field: str) -> list[str]:
    """Permissions by the names that they are known by here, each once.

    Raises:
        ApiError: 400, one is not known.
    """
    found = [SPELLINGS.get(permission, permission) for permission in permissions]
    for permission in found:
        if permission not in PERMISSIONS and permission not in WITHOUT_EFFECT:
            raise bad_request(f"`{field}`: `{permission}` is not one of {', '.join(PERMISSIONS)}", field)
    return list(dict.fromkeys(found))


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
            raise _not_found(team_id)
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

    async def of_organization(self, organization_id: str, tx: Transaction | None = None) -> list[Team]:
        """The teams of an organization, as the transaction sees them or as they are committed."""
        where = {"organization_id": organization_id}
        return await self._store.rows.find(tx or self._store.database, where, "team_id", ALL)

    def drawn_up(self, request: NewTeamRequest, actor: str) -> tuple[Team, dict[str, Any]]:
        """The team that a request is for, and what it says of its scope; nothing is written.

        Raises:
            ApiError: 400 naming the field.
        """
        team_id = request.team_id if isinstance(request.team_id, str) else str(uuid.uuid4())
        checked_new_id(team_id, "team_id")
        now = now_ms()
        team = Team(team_id=team_id, created_at=now, created_by=actor)
        return team, self._apply(request, team, actor, now)

    async def create_in(
        self, tx: Transaction, drawn: Team, columns: Mapping[str, Any], request: NewTeamRequest, actor: str
    ) -> Team:
        """Write what was :meth:`drawn_up`, without members; 400 when the id is taken. Keys made before there was a check of
        owners may name it, so that its scope is to be listed again after the commit."""
        team = msgspec.structs.replace(drawn)
        await self._within_organization(tx, team, columns)
        await self._member_budget(tx, request, team, actor)
        try:
            await self._store.rows.insert(tx, team)
        except Conflict as error:
            raise bad_request(
                f"Team id = {team.team_id} already exists. Please use a different team id.", "team_id"
            ) from error
        await self._scopes.put(tx, names.team(team.team_id), columns, model_changes(request, {}))
        await self._audit.append(tx, actor, "team.new", "team", team.team_id, given(request))
        return team

    async def update(self, request: UpdateTeamRequest, actor: str, check: Check = unchecked) -> Team:
        """Change the given fields, with effect on the next call of the team's keys."""
        seen = await self.get(request.team_id)
        name = names.team(seen.team_id)
        # What is refused is refused before anything is settled.
        if "spend" in self._apply(request, seen, actor, now_ms()):
            await self._scopes.settle()

        async def once(tx: Transaction) -> tuple[Team, list[str], bool]:
            await check()
            # Read again where nobody else writes: what another has changed meanwhile must not be undone.
            team = await self.present(tx, request.team_id)
            organization_id = team.organization_id
            columns = self._apply(request, team, actor, now_ms())
            await self._within_organization(tx, team, columns)
            models = model_changes(request, (await self._scopes.models_of([name], tx)).get(name, {}))
            is_moved = team.organization_id != organization_id
            if is_moved:
                # Keys before scopes, as whoever charges takes them.
                for token in await self._under.move_to_organization(tx, team.team_id, team.organization_id):
                    await self._audit.append(tx, actor, "key.move", "key", token, ["organization_id"])
            touched = await self._member_budget(tx, request, team, actor)
            await self._store.rows.replace(tx, team)
            await self._scopes.put(tx, name, columns, models)
            await self._audit.append(tx, actor, "team.update", "team", team.team_id, given(request))
            return team, touched, models is not None or "budget_id" in columns or is_moved

        team, touched, is_relisted = await managed(self._store.database, once)
        await self._scopes.publish([name, *touched], relist=[name] if is_relisted else [])
        return team

    async def set_blocked(self, team_id: str, blocked: bool, actor: str, check: Check = unchecked) -> Team:
        """Block or unblock every key of the team."""

        async def once(tx: Transaction) -> Team:
            await check()
            team = await self.present(tx, team_id)
            await self._scopes.put(tx, names.team(team_id), {"blocked": blocked})
            action = "team.block" if blocked else "team.unblock"
            await self._audit.append(tx, actor, action, "team", team_id, ["blocked"])
            return team

        team = await managed(self._store.database, once)
        await self._scopes.publish([names.team(team_id)])
        return team

    async def change_models(
        self, team_id: str, add: Sequence[str], remove: Sequence[str], actor: str, check: Check = unchecked
    ) -> Team:
        """Add models to those that the team may call, or take some away."""
        if not add and not remove:
            raise bad_request("`models` must name at least one model", "models")

        async def once(tx: Transaction) -> Team:
            await check()
            team = await self.present(tx, team_id)
            # Read where nobody else writes: of two changes at once, each keeps the other's models.
            scope = await self._scopes.own(tx, names.team(team_id))
            models = list(scope.models) if scope is not None else []
            if remove and not models:
                raise bad_request("The team may call every model: give it a list with /team/update first.", "models")
            changed = [model for model in dict.fromkeys([*models, *add]) if model not in set(remove)]
            if remove and not changed:
                # Nothing left would mean every model.
                changed = ["no-default-models"]
            elif add:
                changed = [model for model in changed if model != "no-default-models"]
                await self._within_organization(tx, team, {"models": changed})
            await self._scopes.put(tx, names.team(team_id), {"models": changed})
            await self._audit.append(tx, actor, "team.update", "team", team_id, ["models"])
            return team

        team = await managed(self._store.database, once)
        await self._scopes.publish([names.team(team_id)])
        return team

    async def set_permissions(
        self, teams: Sequence[str], permissions: Sequence[str], actor: str, *, add: bool, check: Check = unchecked
    ) -> int:
        """What members may do with the keys of these teams: this, or with ``add`` this too; returns how many have changed.

        Raises:
            ApiError: 400, a permission is not known.
        """
        wanted = checked_permissions(permissions, "team_member_permissions" if not add else "permissions")

        async def once(tx: Transaction) -> int:
            await check()
            changed = 0
            for team_id in teams:
                team = await self.present(tx, team_id)
                before = team.member_permissions
                after = list(dict.fromkeys([*before, *wanted])) if add else wanted
                if after == before:
                    continue
                changed += 1
                team.extra = {**team.extra, "team_member_permissions": after}
                team.updated_at, team.updated_by = now_ms(), actor
                await self._store.rows.replace(tx, team)
                await self._audit.append(tx, actor, "team.update", "team", team_id, ["team_member_permissions"])
            return changed

        return await managed(self._store.database, once)

    async def delete(
        self, ids: Sequence[str], actor: str, checks: Mapping[str, Check] = MappingProxyType({})
    ) -> list[str]:
        """Remove teams and their keys; 404 when one does not exist, and then none is removed. ``checks``: by team."""
        teams = list(dict.fromkeys(ids))
        if not teams:
            raise bad_request("`team_ids` must name at least one team", "team_ids")
        for team_id in teams:
            await self.get(team_id)
        for team_id in teams:
            await self._scopes.publish(await self._delete_one(team_id, actor, checks.get(team_id, unchecked)))
        return teams

    async def _delete_one(self, team_id: str, actor: str, check: Check) -> list[str]:
        """A team with its members and its keys, all at once; returns the scopes that were."""
        gone: list[str] = []

        async def remove(tx: Transaction) -> list[str]:
            await check()
            tokens, gone[:] = await self.remove_in(tx, team_id, actor)
            return tokens

        async def remove_scopes(tx: Transaction) -> None:
            for scope in gone:
                await self._scopes.remove(tx, scope)

        await self._keys.delete_with(remove, actor, remove_scopes)
        return gone

    async def remove_in(self, tx: Transaction, team_id: str, actor: str) -> tuple[list[str], list[str]]:
        """Remove a team and its members; returns the tokens of its keys and then its scopes, which are for the caller to
        remove in this order."""
        members = await self._store.members.find(tx, {"team_id": team_id}, "user_id", ALL)
        await self._store.members.delete(tx, {"team_id": team_id})
        await self._store.rows.delete(tx, {"team_id": team_id})
        await self._audit.append(tx, actor, "team.delete", "team", team_id)
        scopes = [names.team(team_id), *(names.member(team_id, member.user_id) for member in members)]
        return await self._under.tokens_of_team(tx, team_id), scopes

    async def present(self, tx: Transaction, team_id: str) -> Team:
        """A team as the transaction sees it, or 404."""
        team = await self._store.rows.get(tx, {"team_id": team_id})
        if team is None:
            raise _not_found(team_id)
        return team

    async def _member_budget(self, tx: Transaction, request: TeamFields, team: Team, actor: str) -> list[str]:
        """Write what the request says of every member's limits into the team's budget for members."""
        budget = limits_called(_MEMBER_FIELDS, request)
        if not given(budget):
            return []
        if team.member_budget_id is not None:
            return (await self._budgets.update_in(tx, team.member_budget_id, budget, actor))[1]
        team.member_budget_id = str(uuid.uuid4())
        await self._budgets.create_in(tx, team.member_budget_id, budget, actor)
        touched = []
        for member in await self._store.members.find(tx, {"team_id": team.team_id}, "user_id", ALL):
            name = names.member(team.team_id, member.user_id)
            await self._scopes.put(tx, name, {"budget_id": team.member_budget_id})
            touched.append(name)
        return touched

    @staticmethod
    def _apply(request: TeamFields, team: Team, actor: str, now: int) -> dict[str, Any]:
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
        elif request.organization_id is not UNSET:
            columns["above"] = None
        team.extra = stored(request, STORED_ONLY, team.extra)
        if isinstance(request.team_member_permissions, list):
            field = "team_member_permissions"
            team.extra = {**team.extra, field: checked_permissions(request.team_member_permissions, field)}
        team.updated_at, team.updated_by = now, actor
        return columns

    async def _within_organization(self, tx: Transaction, team: Team, columns: Mapping[str, Any]) -> None:
        """Refuse limits beyond those of the team's organization, the team's own or those of the budget that it refers to.

        Raises:
            ApiError: 400 naming the field.
        """
        organization_id = team.organization_id
        if organization_id is None:
            return
        if await self._organizations.find(organization_id) is None:
            raise bad_request(
                f"`organization_id`: Organization not found for organization_id={organization_id}", "organization_id"
            )
        name = names.organization(organization_id)
        scope = (await self._scopes.stored([name], tx)).get(name)
        if scope is None:
            return
        before = await self._scopes.own(tx, names.team(team.team_id))
        own = {**(msgspec.structs.asdict(before) if before is not None else {}), **columns}
        budget_id = columns.get("budget_id")
        budget = await self._budgets.find(budget_id) if budget_id is not None else None
        for field, column in (("max_budget", "max_budget"), ("tpm_limit", "tpm"), ("rpm_limit", "rpm")):
            asked, bound, param = columns.get(column), getattr(scope, column), field
            if budget is not None and own.get(column) is None:
                asked, param = getattr(budget, column), "budget_id"
            if asked is not None and bound is not None and asked > bound:
                shown = (dollars(asked), dollars(bound)) if column == "max_budget" else (asked, bound)
                what = f"`{field}` {shown[0]}" if param == field else f"`{param}`: the budget's `{field}` {shown[0]}"
                raise bad_request(f"{what} is above the organization's, which is {shown[1]}", param)
        models = columns.get("models") or []
        beyond = [model for model in models if scope.models and model not in scope.models]
        if beyond:
            raise bad_request(f"`models`: the organization may not call {', '.join(beyond)}", "models")
