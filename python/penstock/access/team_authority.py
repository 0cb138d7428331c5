"""Which teams and organizations a caller may change, and which fields of them.

Apart from members and keys because both ask first whose team it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from penstock.access.bounds import is_as_strict
from penstock.access.rights import VIEWER_ROLE
from penstock.access.sight import Sight, refused
from penstock.scopes import names
from penstock.scopes.fields import given
from penstock.users.models import ADMIN_ROLE

if TYPE_CHECKING:
    from penstock.keys.models import KeyFields
    from penstock.organizations.models import UpdateOrganizationRequest
    from penstock.scopes.models import ScopeFields
    from penstock.teams.models import Team, UpdateTeamRequest

_ABOVE_ALL = frozenset({ADMIN_ROLE, VIEWER_ROLE})
_FOR_TEAM_ADMINS = frozenset(
    {"team_id", "team_alias", "metadata", "tags", "team_member_permissions", "team_member_key_duration"}
    | {"team_member_budget", "team_member_budget_duration", "team_member_rpm_limit", "team_member_tpm_limit"}
    | {"default_team_member_models", "when_gone"}
)
"""What a team's admin may change of it: nothing that the team itself is held to, but to something stricter."""

_FOR_ORGANIZATION_ADMINS = frozenset({"organization_id", "organization_alias", "metadata", "when_gone"})
"""The same for an organization's own admin."""


class TeamAuthority(Sight):
    """Of one caller, over teams and organizations."""

    async def team(self, team_id: str) -> Team:
        """A team that the caller may change.

        Raises:
            ApiError: 403, whether there is such a team or not; 404 for the administrator.
        """
        if self.is_administrator:
            return await self._entities.teams.get(team_id)
        team = await self._entities.teams.find(team_id)
        if team is None or not self.leads(team):
            raise refused(f"You are no admin of team {team_id}, nor of its organization.", "team_id")
        return team

    async def limits_of_team(self, team_id: str) -> Team:
        """A team whose limits the caller may change: for that it takes an admin of its organization.

        Raises:
            ApiError: 403.
        """
        team = await self.team(team_id)
        if not self.is_administrator and team.organization_id not in self._rights.organizations:
            raise refused(f"What team {team_id} is held to is changed by an admin of its organization.", "team_id")
        return team

    async def change_of_team(self, request: UpdateTeamRequest) -> None:
        """Check that the caller may change these fields of the team.

        Raises:
            ApiError: 403 naming the field.
        """
        team = await self.team(request.team_id)
        if self.is_administrator:
            return
        if request.when_gone is not UNSET:
            self.choice(request, await self._chosen(names.team(team.team_id)))
        if team.organization_id in self._rights.organizations:
            if request.organization_id is not UNSET:
                self.organization(request.organization_id, "organization_id")
                await self._not_out_of_a_block(team.organization_id, request.organization_id)
            await self._budget_in_reach(request.budget_id, team.team_id, team.organization_id)
            return
        for field in sorted(given(request) - _FOR_TEAM_ADMINS):
            raise refused(f"`{field}` is changed by an admin of the organization, or the proxy's.", field)

    async def change_of_organization(self, request: UpdateOrganizationRequest) -> None:
        """Check that the caller may change these fields of the organization.

        Raises:
            ApiError: 403 naming the field.
        """
        self.organization(request.organization_id)
        if self.is_administrator:
            return
        for field in sorted(given(request) - _FOR_ORGANIZATION_ADMINS):
            raise refused(f"`{field}` is changed by the proxy's administrators.", field)
        self.choice(request, await self._chosen(names.organization(request.organization_id)))

    async def _chosen(self, name: str) -> str | None:
        scope = (await self._entities.scopes.stored([name])).get(name)
        return scope.when_gone if scope is not None else None

    def choice(self, fields: ScopeFields | KeyFields, before: str | None) -> None:
        """Check that what is to become of limits without Redis becomes no looser than it was: that is for administrators.

        Raises:
            ApiError: 403.
        """
        wanted = fields.when_gone
        if not self.is_administrator and wanted is not UNSET and not is_as_strict(wanted, before):
            raise refused(
                f"`when_gone`: {before or 'where nothing was chosen'} may only become stricter (`fail_closed` always is); the "
                "proxy's administrators may loosen it.",
                "when_gone",
            )

    def organization(self, organization_id: str | None, param: str = "organization_id") -> None:
        """Check that the caller is in charge of an organization.

        Raises:
            ApiError: 403, whether there is such an organization or not.
        """
        if not self.is_administrator and (organization_id is None or organization_id not in self._rights.organizations):
            raise refused(f"You are no admin of organization {organization_id or '(none)'}.", param)

    async def _budget_in_reach(
        self, budget_id: str | None | UnsetType, team_id: str | None, organization_id: str | None
    ) -> None:
        """Budgets are made by the proxy's administrators, and what is in one is between them and whom they gave it to: others
        refer only to those that the team, its organization or another team of that is held to already."""
        if not isinstance(budget_id, str):
            return
        near = [names.team(team_id)] if team_id is not None else []
        if organization_id is not None:
            near.append(names.organization(organization_id))
            teams = await self._entities.teams.of_organization(organization_id)
            near += [names.team(team.team_id) for team in teams]
        found = await self._entities.scopes.stored(dict.fromkeys(near))
        if budget_id not in {scope.budget_id for scope in found.values()}:
            raise refused("`budget_id` must be one that your team or organization has; ask for another.", "budget_id")

    async def _not_out_of_a_block(self, before: str | None, after: str | None) -> None:
        """An organization is blocked by the proxy's administrators: its own do not move things out of it."""
        if before is not None and before != after:
            for _ in await self._entities.scopes.blocked_among([names.organization(before)]):
                raise refused(
                    f"`organization_id`: organization {before} is blocked; what it has stays there.", "organization_id"
                )

    async def _not_of_the_mighty(self, user_id: str | None, param: str) -> None:
        if user_id is None or user_id == self._rights.user_id:
            return
        user = await self._entities.users.find(user_id)
        if user is not None and user.user_role in _ABOVE_ALL:
            raise refused("Keys of the proxy's administrators are theirs and the master key's to change.", param)
