"""What a caller who is not the administrator is shown: what is its user's own, and of teams and organizations what that is
in charge of.

Apart from the authority to change things because nearly everybody sees something, and few change anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from penstock.access.concealed import concealed
from penstock.access.policy import Caller, Role
from penstock.access.standing import caller_with
from penstock.clock import now_ms
from penstock.errors import ApiError

if TYPE_CHECKING:
    from penstock.engine.entities import Entities
    from penstock.keys.models import KeyFilter, VirtualKey
    from penstock.keys.service import KeyService
    from penstock.teams.models import Team


_T = TypeVar("_T")


def refused(message: str, param: str | None = None) -> ApiError:
    """403 in the shape of the guard's."""
    return ApiError(403, message, type="auth_error", param=param)


class Sight:
    """Of one caller."""

    def __init__(self, caller: Caller, entities: Entities, keys: KeyService) -> None:
        self._caller = caller
        self._rights = caller.rights
        self._entities = entities
        self._keys = keys

    async def standing(self) -> Self:
        """The same caller as it is now: demoted, removed or blocked meanwhile it may do less.

        Raises:
            ApiError: 401 or 403, its key is no longer in force.
        """
        key = self._caller.key
        if key is None:
            return self
        present = await self._keys.find(key.token)
        if present is None:
            raise refused("Your key has been changed at the same moment.")
        caller = await caller_with(present, self._entities, now=now_ms(), with_rights=True)
        return type(self)(caller, self._entities, self._keys)

    @property
    def is_administrator(self) -> bool:
        """Nothing is forbidden."""
        return self._caller.role is Role.MASTER

    @property
    def sees_everything(self) -> bool:
        """Everything is shown."""
        return self._caller.sees_everything

    def shown(self, answer: _T) -> _T:
        """An answer as the caller may see it: secrets are for administrators only, of whatever they are a setting."""
        return answer if self.is_administrator else concealed(answer)

    def leads(self, team: Team) -> bool:
        """The caller is in charge of the team, or of its organization."""
        return (
            self.is_administrator
            or team.team_id in self._rights.leads
            or (team.organization_id is not None and team.organization_id in self._rights.organizations)
        )

    async def visible_teams(self, teams: Iterable[Team]) -> list[Team]:
        """Those that the caller belongs to or is in charge of."""
        if self.sees_everything:
            return list(teams)
        own = self._caller.key.team_id if self._caller.key is not None else None
        return [team for team in teams if team.team_id in (own, *self._rights.member_of) or self.leads(team)]

    async def may(self, permission: str, team_id: str) -> bool:
        """The caller leads the team, or the team lets its members do this."""
        if self.sees_everything or permission in self._rights.member_of.get(team_id, ()):
            return True
        team = await self._entities.teams.find(team_id)
        return team is not None and self.leads(team)

    # Keys and spending

    async def sees_key(self, key: VirtualKey) -> bool:
        """The caller may look at a key: it is itself, one of its user's, or one of a team or an organization of its."""
        own = self._caller.key
        if self.sees_everything or (own is not None and own.token == key.token):
            return True
        if own is not None and own.user_id is not None and key.user_id == own.user_id and _is_within(key, own):
            return True
        if key.team_id is not None:
            return await self.may("/key/info", key.team_id)
        return key.org_id is not None and key.org_id in self._rights.organizations

    async def listed_keys(self, where: KeyFilter) -> KeyFilter:
        """The filter of a list of keys, narrowed to what the caller sees: of its user, unless it names a team or an
        organization that the caller is in charge of.

        Raises:
            ApiError: 403 naming the field.
        """
        own = self._caller.key
        if self.sees_everything or own is None:
            return where
        if where.team_id is not None and await self.may("/key/list", where.team_id):
            return where
        if where.org_id is not None and where.org_id in self._rights.organizations:
            return where
        if own.user_id is None:
            raise refused("This key has no user whose keys could be listed.")
        if where.user_id not in (None, own.user_id):
            raise refused("`user_id` must be your own, or be left out.", "user_id")
        where = msgspec.structs.replace(where, user_id=own.user_id)
        for field, param, bound in (("team_id", "team_id", own.team_id), ("org_id", "organization_id", own.org_id)):
            if bound is not None:
                if getattr(where, field) not in (None, bound):
                    raise refused(f"`{param}`: this key sees nothing there.", param)
                where = msgspec.structs.replace(where, **{field: bound})
        return where

    async def accounts(self, kind: str, wanted: list[str] | None, param: str) -> list[str] | None:
        """Whose spending the caller is shown, of those it asks about: its user's, of teams that it leads or that let their
        members look, of organizations that it is in charge of. None: everybody's.

        Raises:
            ApiError: 403 naming the parameter.
        """
        own = self._caller.key
        if self.sees_everything or own is None:
            return wanted
        if kind == "team":
            asked = wanted if wanted is not None else list(self._rights.member_of)
            seen = [team_id for team_id in asked if await self.may("/team/daily/activity", team_id)]
        elif kind == "org":
            asked = wanted if wanted is not None else sorted(self._rights.organizations)
            seen = [organization_id for organization_id in asked if organization_id in self._rights.organizations]
        else:
            # A key of a team or of an organization shows nothing of what its user has elsewhere.
            is_free = own.user_id is not None and own.team_id is None and own.org_id is None
            asked = wanted if wanted is not None else [own.user_id or ""]
            seen = [name for name in asked if kind == "user" and is_free and name == own.user_id]
        if not seen or len(seen) < len(asked):
            raise refused(f"`{param}` must name what is yours, or what you are in charge of.", param)
        return seen

    async def calls(self, api_key: str | None, user_id: str | None) -> tuple[str | None, str | None, str | None]:
        """Whose calls the caller is shown, as key, user and team: of its user, or of a key of a team whose calls it may look
        at; without either its own. A team: the key is seen for that team's sake, and was perhaps another's before.

        Raises:
            ApiError: 403 naming the parameter.
        """
        own = self._caller.key
        if self.sees_everything or own is None:
            return api_key, user_id, None
        if api_key is not None:
            key = await self._keys.find(api_key)
            if key is None or not await self.sees_key(key):
                raise refused("This is no key that you may see.", "api_key")
            if key.token == own.token or (own.user_id is not None and key.user_id == own.user_id):
                return api_key, user_id, None
            # To look at a key is less than to look at every call with it.
            if key.team_id is not None and not await self.may("/spend/logs", key.team_id):
                raise refused("The team does not let its members see the calls of its keys.", "api_key")
            return api_key, user_id, key.team_id
        if user_id not in (None, own.user_id):
            raise refused("`user_id` must be your own, or be left out.", "user_id")
        if own.user_id is None or own.team_id is not None or own.org_id is not None:
            return own.token, None, None
        return None, own.user_id, None


def _is_within(key: VirtualKey, own: VirtualKey) -> bool:
    """A key of a team, or of an organization, shows nothing of what its user has elsewhere."""
    return own.team_id in (None, key.team_id) and (own.team_id is not None or own.org_id in (None, key.org_id))
