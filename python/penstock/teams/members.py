"""Who belongs to a team, as what and with which limits.

Apart from the teams because a member is a scope of its own, and users come and go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.checks import Check, unchecked
from penstock.clock import now_ms
from penstock.errors import ApiError, bad_request
from penstock.keys.service import KeyService
from penstock.keys.under import KeysUnder
from penstock.persistence import Transaction, managed
from penstock.scopes import names
from penstock.scopes.fields import checked_new_id, limits, limits_called
from penstock.scopes.service import ScopeService
from penstock.tables import ALL
from penstock.teams.models import AddMembersRequest, Member, Team, TeamMember, UpdateMemberRequest
from penstock.teams.service import TeamService
from penstock.teams.store import TeamStore
from penstock.users.models import address
from penstock.users.service import UserService

_LIMITS = {
    "max_budget_in_team": "max_budget",
    "budget_duration": "budget_duration",
    "tpm_limit": "tpm_limit",
    "rpm_limit": "rpm_limit",
}


class Added(msgspec.Struct, frozen=True):
    """What became of a request to take somebody in."""

    member: TeamMember
    is_new: bool

    @property
    def scope(self) -> str:
        """The member's name among scopes."""
        return names.member(self.member.team_id, self.member.user_id)


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

    async def of_users(self, ids: Sequence[str]) -> dict[str, list[TeamMember]]:
        """Memberships by user."""
        found: dict[str, list[TeamMember]] = {user_id: [] for user_id in ids}
        for member in await self._store.members.among(self._store.database, "user_id", ids):
            found[member.user_id].append(member)
        return found

    async def teams_of(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Ids of the teams that these users belong to."""
        return {
            user_id: sorted(member.team_id for member in memberships)
            for user_id, memberships in (await self.of_users(ids)).items()
        }

    async def is_member(self, team_id: str, user_id: str | None) -> bool:
        """Whether the user belongs to the team."""
        where = {"team_id": team_id, "user_id": user_id}
        return user_id is not None and await self._store.members.get(self._store.database, where) is not None

    async def add(self, request: AddMembersRequest, actor: str, check: Check = unchecked) -> list[Added]:
        """Take users in; those that do not exist are created. Who is a member already gets role and limits."""
        await self._teams.get(request.team_id)
        limits_of_member(request)

        async def once(tx: Transaction) -> list[Added]:
            await check()
            return await self.add_in(tx, request, actor)

        added = await managed(self._store.database, once)
        scopes = [one.scope for one in added]
        await self._scopes.publish(scopes, relist=scopes)
        return added

    async def add_in(self, tx: Transaction, request: AddMembersRequest, actor: str) -> list[Added]:
        """:meth:`add` in the transaction that also makes the team or the users; their scopes are to be published after it."""
        team = await self._teams.present(tx, request.team_id)
        members = request.member if isinstance(request.member, list) else [request.member]
        if not members:
            raise bad_request("`member` must name at least one user", "member")
        columns, now = limits_of_member(request), now_ms()
        added: list[Added] = []
        for member in members:
            # Somebody new who is named twice is one user, whom the transaction sees by then.
            user_id = await self._users.id_of(member.user_id, member.user_email, create=True, tx=tx)
            added.append(await self._add_one(tx, team, member, user_id, columns, actor, now))
        ids = [one.member.user_id for one in added]
        await self._audit.append(tx, actor, "team.member_add", "team", team.team_id, ids)
        return added

    async def everybody(self) -> list[Member]:
        """All users, to be taken in together."""
        users, _ = await self._users.page(None, None, 1, 100_000)
        return [Member(user_id=user.user_id) for user in users]

    async def update(self, request: UpdateMemberRequest, actor: str, check: Check = unchecked) -> TeamMember:
        """Change a member's role or limits, with effect on the next call."""
        team, member = await self._member(request.team_id, request.user_id, request.user_email)
        name = names.member(team.team_id, member.user_id)
        columns = limits_of_member(request)

        async def once(tx: Transaction) -> TeamMember:
            await check()
            # Read again where nobody else writes: who did not see a demotion must not undo it.
            present = await self._store.members.get(tx, {"team_id": team.team_id, "user_id": member.user_id})
            if present is None:
                raise _no_member(team.team_id, member.user_id)
            if request.role is not UNSET and request.role is not None:
                present.role = request.role
            present.updated_at = now_ms()
            await self._store.members.replace(tx, present)
            await self._scopes.put(tx, name, columns)
            await self._audit.append(tx, actor, "team.member_update", "team", team.team_id, [member.user_id])
            return present

        changed = await managed(self._store.database, once)
        await self._scopes.publish([name])
        return changed

    async def delete(
        self, team_id: str, user_id: str | None, email: str | None, actor: str, check: Check = unchecked
    ) -> TeamMember:
        """Remove a member and its keys within the team, all at once; the user stays."""
        team, member = await self._member(team_id, user_id, email)
        name = names.member(team.team_id, member.user_id)

        async def remove(tx: Transaction) -> list[str]:
            await check()
            if not await self._store.members.delete(tx, {"team_id": team.team_id, "user_id": member.user_id}):
                raise _no_member(team.team_id, member.user_id)
            await self._audit.append(tx, actor, "team.member_delete", "team", team.team_id, [member.user_id])
            return await self._under.tokens_of_member(tx, team.team_id, member.user_id)

        async def remove_scope(tx: Transaction) -> None:
            await self._scopes.remove(tx, name)

        await self._keys.delete_with(remove, actor, remove_scope)
        await self._scopes.publish([name])
        return member

    async def reset_spend(self, team_id: str, user_id: str, actor: str, check: Check = unchecked) -> TeamMember:
        """Regard a member as having spent nothing in the present budget window."""
        team, member = await self._member(team_id, user_id, None)
        await self._scopes.settle()
        name = names.member(team.team_id, user_id)

        async def once(tx: Transaction) -> None:
            await check()
            if await self._store.members.get(tx, {"team_id": team_id, "user_id": user_id}) is None:
                raise _no_member(team_id, user_id)
            await self._scopes.put(tx, name, {"spend": 0})
            await self._audit.append(tx, actor, "team.member_reset_spend", "team", team.team_id, [user_id])

        await managed(self._store.database, once)
        await self._scopes.publish([name])
        return member

    async def forget_user(self, tx: Transaction, user_id: str) -> list[str]:
        """A user is deleted: so are the memberships; returns the scopes that were."""
        gone = []
        for member in await self._store.members.find(tx, {"user_id": user_id}, "team_id", ALL):
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
        scope = names.member(team.team_id, user_id)
        if not is_new:
            await self._store.members.replace(tx, row, frozenset({"created_at"}))
        else:
            checked_new_id(user_id, "user_id")
            if scope.count("/") > 1 and await self._scopes.own(tx, scope) is not None:
                raise bad_request(
                    f"`user_id`: {user_id} of team {team.team_id} is called like a member of another", "user_id"
                )
        # What a member has of its own goes before the team's budget for members.
        own = {**columns, "budget_id": team.member_budget_id}
        await self._scopes.put(tx, scope, own)
        return Added(row, is_new)

    async def _member(self, team_id: str, user_id: str | None, email: str | None) -> tuple[Team, TeamMember]:
        team = await self._teams.get(team_id)
        wanted = await self._users.id_of(user_id, email, create=False)
        member = await self._store.members.get(self._store.database, {"team_id": team_id, "user_id": wanted})
        if member is None:
            raise _no_member(team_id, wanted)
        return team, member


def check_members(members: Sequence[Member]) -> None:
    """Refuse users of a new team who are not named, or named as two things.

    Raises:
        ApiError: 400 naming the field.
    """
    roles: dict[str, str] = {}
    for member in members:
        if member.user_id is None and member.user_email is None:
            raise bad_request("`user_id` or `user_email` must name the user", "user_id")
        name = member.user_id if member.user_id is not None else address(member.user_email or "")
        if member.user_id is not None:
            checked_new_id(member.user_id, "user_id")
        if roles.setdefault(name, member.role) != member.role:
            raise bad_request(f"`members_with_roles`: {name} is named as admin and as user", "members_with_roles")


def _no_member(team_id: str, user_id: str) -> ApiError:
    return ApiError(404, f"User {user_id} is no member of team {team_id}", param="user_id")


def limits_of_member(request: AddMembersRequest | UpdateMemberRequest) -> dict[str, Any]:
    """What a request says of a member's limits, as columns of its scope.

    Raises:
        ApiError: 400 naming the field.
    """
    asked = limits_called(_LIMITS, request)
    if isinstance(request, AddMembersRequest):
        # What it does not say is not kept, either.
        return {name: value for name, value in limits(asked).items() if value is not None}
    return limits(asked)
