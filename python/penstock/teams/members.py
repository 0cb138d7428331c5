"""Who belongs to a team, as what and with which limits.

Apart from the teams because a member is a scope of its own, and users come and go with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.errors import ApiError, bad_request
from penstock.keys.service import KeyService, now_ms
from penstock.keys.under import KeysUnder
from penstock.persistence import Transaction
from penstock.scopes import names
from penstock.scopes.fields import checked_id, limits
from penstock.scopes.models import BudgetFields
from penstock.scopes.service import ScopeService
from penstock.teams.models import AddMembersRequest, Member, Team, TeamMember, UpdateMemberRequest
from penstock.teams.service import TeamService
from penstock.teams.store import TeamStore
from penstock.users.service import UserService


class Added(msgspec.Struct, frozen=True):
    """What became of a request to take somebody in."""

    member: TeamMember
    is_new: bool


class MemberService:
    """Members of teams."""

    def __init__(
        self,
        store: TeamStore,
        audit: AuditTrail,
        scopes: ScopeService,
        teams: TeamService,
        users: UserService,
        keys: KeyService,
        under: KeysUnder,
    ) -> None:
        self._store = store
        self._audit = audit
        self._scopes = scopes
        self._teams = teams
        self._users = users
        self._keys = keys
        self._under = under

    async def of_teams(self, ids: Sequence[str]) -> dict[str, list[TeamMember]]:
        """Members by team, in the order in which they came."""
        found: dict[str, list[TeamMember]] = {team_id: [] for team_id in ids}
        for member in await self._store.members.among(self._store.database, "team_id", ids):
            found[member.team_id].append(member)
        for members in found.values():
            members.sort(key=lambda member: (member.created_at, member.user_id))
        return found

    async def teams_of(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Ids of the teams that these users belong to."""
        found: dict[str, list[str]] = {user_id: [] for user_id in ids}
        for member in await self._store.members.among(self._store.database, "user_id", ids):
            found[member.user_id].append(member.team_id)
        return {user_id: sorted(teams) for user_id, teams in found.items()}

    async def is_member(self, team_id: str, user_id: str | None) -> bool:
        """Whether the user belongs to the team."""
        where = {"team_id": team_id, "user_id": user_id}
        return user_id is not None and await self._store.members.get(self._store.database, where) is not None

    async def add(self, request: AddMembersRequest, actor: str) -> list[Added]:
        """Take users in; those that do not exist are created. Who is a member already gets role and limits."""
        team = await self._teams.get(request.team_id)
        members = request.member if isinstance(request.member, list) else [request.member]
        if not members:
            raise bad_request("`member` must name at least one user", "member")
        columns = _limits(request)
        ids = [await self._user_id(member.user_id, member.user_email, create=True) for member in members]
        now = now_ms()
        added: list[Added] = []
        async with self._store.database.transaction() as tx:
            for member, user_id in zip(members, ids, strict=True):
                added.append(await self._add_one(tx, team, member, user_id, columns, actor, now))
            await self._audit.append(tx, actor, "team.member_add", "team", team.team_id, ids)
        scopes = [names.member(team.team_id, user_id) for user_id in ids]
        await self._scopes.publish(scopes, relist=scopes)
        return added

    async def everybody(self) -> list[Member]:
        """All users, to be taken in together."""
        users, _ = await self._users.page(None, None, 1, 100_000)
        return [Member(user_id=user.user_id) for user in users]

    async def update(self, request: UpdateMemberRequest, actor: str) -> TeamMember:
        """Change a member's role or limits, with effect on the next call."""
        team, member = await self._member(request.team_id, request.user_id, request.user_email)
        name = names.member(team.team_id, member.user_id)
        columns = _limits(request)
        if request.role is not UNSET and request.role is not None:
            member.role = request.role
        member.updated_at = now_ms()
        async with self._store.database.transaction() as tx:
            await self._store.members.replace(tx, member)
            await self._scopes.put(tx, name, columns)
            await self._audit.append(tx, actor, "team.member_update", "team", team.team_id, [member.user_id])
        await self._scopes.publish([name])
        return member

    async def delete(self, team_id: str, user_id: str | None, email: str | None, actor: str) -> TeamMember:
        """Remove a member and its keys within the team; the user stays."""
        team, member = await self._member(team_id, user_id, email)
        name = names.member(team.team_id, member.user_id)
        tokens = await self._under.tokens(name)
        if tokens:
            await self._keys.delete(tokens, actor)
        async with self._store.database.transaction() as tx:
            await self._store.members.delete(tx, {"team_id": team.team_id, "user_id": member.user_id})
            await self._scopes.remove(tx, name)
            await self._audit.append(tx, actor, "team.member_delete", "team", team.team_id, [member.user_id])
        await self._scopes.publish([name])
        return member

    async def reset_spend(self, team_id: str, user_id: str, actor: str) -> TeamMember:
        """Regard a member as having spent nothing in the present budget window."""
        team, member = await self._member(team_id, user_id, None)
        await self._scopes.settle()
        name = names.member(team.team_id, user_id)
        async with self._store.database.transaction() as tx:
            await self._scopes.put(tx, name, {"spend": 0})
            await self._audit.append(tx, actor, "team.member_reset_spend", "team", team.team_id, [user_id])
        await self._scopes.publish([name])
        return member

    async def forget_user(self, tx: Transaction, user_id: str) -> list[str]:
        """A user is deleted: so are the memberships; returns the scopes that were."""
        gone = []
        for member in await self._store.members.find(tx, {"user_id": user_id}, "team_id"):
            gone.append(names.member(member.team_id, user_id))
            await self._scopes.remove(tx, gone[-1])
        await self._store.members.delete(tx, {"user_id": user_id})
        return gone

    async def _add_one(
        self,
        tx: Transaction,
        team: Team,
        member: Member,
        user_id: str,
        columns: dict[str, Any],
        actor: str,
        now: int,
    ) -> Added:
        email = member.user_email.strip().lower() if member.user_email else None
        await self._users.ensure(tx, user_id, actor, email)
        row = TeamMember(team_id=team.team_id, user_id=user_id, role=member.role, created_at=now, updated_at=now)
        is_new = await self._store.members.insert(tx, row, keep=True)
        if not is_new:
            await self._store.members.replace(tx, row, frozenset({"created_at"}))
        # What a member has of its own goes before the team's budget for members.
        own = {**columns, "budget_id": team.member_budget_id}
        await self._scopes.put(tx, names.member(team.team_id, user_id), own)
        return Added(row, is_new)

    async def _member(self, team_id: str, user_id: str | None, email: str | None) -> tuple[Team, TeamMember]:
        team = await self._teams.get(team_id)
        wanted = await self._user_id(user_id, email, create=False)
        member = await self._store.members.get(self._store.database, {"team_id": team_id, "user_id": wanted})
        if member is None:
            raise ApiError(404, f"User {wanted} is no member of team {team_id}", param="user_id")
        return team, member

    async def _user_id(self, user_id: str | None, email: str | None, *, create: bool) -> str:
        if user_id is not None:
            checked_id(user_id, "user_id")
            return user_id
        if email is None:
            raise bad_request("`user_id` or `user_email` must name the user", "user_id")
        user = await self._users.by_email(email)
        if user is None and not create:
            raise ApiError(404, "There is no user with this email address.", param="user_email")
        return user.user_id if user is not None else str(uuid.uuid4())


def _limits(request: AddMembersRequest | UpdateMemberRequest) -> dict[str, Any]:
    absent = UNSET if isinstance(request, UpdateMemberRequest) else None
    asked: dict[str, Any] = {
        "max_budget": request.max_budget_in_team,
        "budget_duration": request.budget_duration,
        "tpm_limit": request.tpm_limit,
        "rpm_limit": request.rpm_limit,
    }
    return limits(BudgetFields(**{name: value for name, value in asked.items() if value is not absent}))
