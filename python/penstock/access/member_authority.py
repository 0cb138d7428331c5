"""Whom a caller may take into a team or an organization, change there and remove.

Apart from the teams themselves because a user is somebody without them: with budgets, keys and perhaps rights of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.access.sight import refused
from penstock.access.team_authority import TeamAuthority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.organizations.models import OrganizationMemberInput
    from penstock.teams.models import AddMembersRequest, Member, NewTeamRequest


class MemberAuthority(TeamAuthority):
    """Of one caller, over who belongs to teams and organizations."""

    async def new_team(self, request: NewTeamRequest) -> None:
        """Check that the caller may make the team, with the members that it is to have.

        Raises:
            ApiError: 403 naming the field.
        """
        if not self.is_administrator:
            if isinstance(request.team_id, str):
                raise refused("`team_id` is chosen by the proxy's administrators only: leave it out.", "team_id")
            organization_id = request.organization_id if isinstance(request.organization_id, str) else None
            self.organization(organization_id)
            self.choice(request, None)
            await self._budget_in_reach(request.budget_id, None, organization_id)
            await self._may_take_in(request.everybody(), organization_id, None)

    async def new_members(self, request: AddMembersRequest) -> None:
        """Check that the caller may take these users into the team.

        Raises:
            ApiError: 403 naming the field.
        """
        team = await self.team(request.team_id)
        if not self.is_administrator:
            members = request.member if isinstance(request.member, list) else [request.member]
            await self._may_take_in(members, team.organization_id, team.team_id)
            # Who is a member already gets role and limits anew.
            if team.organization_id not in self._rights.organizations:
                await self._not_of_oneself(members)

    async def member(self, team_id: str, user_id: str, *, is_limited: bool = False) -> None:
        """Check that the caller may change a user's place in a team, or remove the user with its keys there.

        Raises:
            ApiError: 403 naming the field.
        """
        team = await self.team(team_id)
        if self.is_administrator:
            return
        await self._not_of_the_mighty(user_id, "user_id")
        if is_limited and user_id == self._rights.user_id and team.organization_id not in self._rights.organizations:
            raise refused("`user_id`: your own limits are changed by who stands above you.", "user_id")

    async def new_members_of_organization(
        self, organization_id: str, members: Sequence[OrganizationMemberInput]
    ) -> None:
        """Check that the caller may take these users into the organization.

        Raises:
            ApiError: 403 naming the field.
        """
        self.organization(organization_id)
        if not self.is_administrator:
            await self._may_take_in(members, organization_id, None)

    async def member_of_organization(self, organization_id: str, user_id: str) -> None:
        """Check that the caller may remove a user with its keys from an organization.

        Raises:
            ApiError: 403 naming the field.
        """
        self.organization(organization_id)
        if not self.is_administrator:
            await self._not_of_the_mighty(user_id, "user_id")

    async def _may_take_in(
        self, members: Sequence[Member | OrganizationMemberInput], organization_id: str | None, team_id: str | None
    ) -> None:
        """Users are taken in without being asked, and what is called in their name counts against their budgets: those of
        another organization are for the proxy's administrators to add."""
        for member in members:
            user_id, param = member.user_id, "user_id"
            if user_id is None and member.user_email is not None:
                user, param = await self._entities.users.by_email(member.user_email), "user_email"
                user_id = user.user_id if user is not None else None
            if user_id is None or user_id == self._rights.user_id or await self._entities.users.find(user_id) is None:
                continue
            if team_id is not None and await self._entities.members.is_member(team_id, user_id):
                continue
            found = await self._organizations_of(user_id)
            if found and organization_id not in found:
                raise refused(
                    f"`{param}`: users of another organization are added by the proxy's administrators.", param
                )

    async def _not_of_oneself(self, members: Sequence[Member]) -> None:
        for member in members:
            user_id = member.user_id
            if user_id is None and member.user_email is not None:
                user = await self._entities.users.by_email(member.user_email)
                user_id = user.user_id if user is not None else None
            if user_id is not None and user_id == self._rights.user_id:
                raise refused("`user_id`: your own limits are changed by who stands above you.", "user_id")

    async def _organizations_of(self, user_id: str) -> set[str]:
        """Those that the user belongs to, itself or by a team."""
        found = set(await self._entities.organizations.of_user(user_id))
        teams = (await self._entities.members.teams_of([user_id]))[user_id]
        return found | {
            team.organization_id for team in await self._entities.teams.among(teams) if team.organization_id
        }
