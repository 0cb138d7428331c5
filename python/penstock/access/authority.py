"""What a caller who is not the administrator may change: in its teams and its organizations.

A team's `admin` has the team's keys and members, and what the team is called; an organization's `org_admin` has its teams
with everything in them, within the organization's own limits. Limits are changed by whoever stands above them, never by who
is held to them. A key that one of them makes or changes stays within the team or the organization, and never becomes a key
of somebody with more rights: whoever knows a key is its user.

Apart from the guard because it decides about objects, which only the handlers know, and from what a caller sees because
more may be looked at than changed. The rooms: teams and organizations (`team_authority`), who belongs to them
(`member_authority`), keys (`key_authority`), and what a key is held to whoever changes it (`narrowing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from penstock.access.key_authority import KeyAuthority
from penstock.access.member_authority import MemberAuthority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from penstock.checks import Check


class Authority(MemberAuthority, KeyAuthority):
    """Of one caller."""

    was_asked = False
    """Somebody wanted to know what the caller may change, whatever the answer was."""

    async def sure(self, ask: Callable[[Self], Awaitable[object]]) -> Check:
        """Ask what the caller must be allowed to, now; returns what asks it again of the caller as it is by then, in the
        transaction that writes.

        Raises:
            ApiError: 403 and what else ``ask`` raises.
        """
        self.was_asked = True
        await ask(self)

        async def again() -> None:
            await ask(await self.standing())

        return again
