"""Organizations: create, change, delete, and who belongs to them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.checks import Check, unchecked
from penstock.clock import now_ms
from penstock.errors import ApiError, bad_request
from penstock.money import nanos_from_dollars
from penstock.organizations.models import (
    ROLES,
    STORED_ONLY,
    NewOrganizationRequest,
    Organization,
    OrganizationFields,
    OrganizationMember,
    OrganizationMemberInput,
    UpdateOrganizationRequest,
)
from penstock.organizations.store import OrganizationStore
from penstock.persistence import Conflict, Transaction, managed
from penstock.scopes import names
from penstock.scopes.fields import (
    as_refusal,
    changes,
    checked_depth,
    checked_id,
    checked_new_id,
    given,
    model_changes,
    stored,
)
from penstock.scopes.service import ScopeService
from penstock.users.service import UserService


class OrganizationService:
    """The organizations domain's public face."""

    def __init__(self, store: OrganizationStore, audit: AuditTrail, scopes: ScopeService, users: UserService) -> None:
        self._store = store
        self._audit = audit
        self._scopes = scopes
        self._users = users

    async def find(self, organization_id: str) -> Organization | None:
        """An organization."""
        return await self._store.rows.get(self._store.database, {"organization_id": organization_id})

    async def get(self, organization_id: str) -> Organization:
        """An organization, or 404."""
        organization = await self.find(organization_id)
        if organization is None:
            raise _not_found(organization_id)
        return organization

    async def among(self, ids: Sequence[str]) -> list[Organization]:
        """Those of these organizations that exist."""
        return await self._store.rows.among(self._store.database, "organization_id", ids)

    async def all(self) -> list[Organization]:
        """Every organization, by id."""
        return await self._store.rows.find(self._store.database, {}, "organization_id")

    async def members(self, ids: Sequence[str]) -> dict[str, list[OrganizationMember]]:
        """Who belongs to these organizations."""
        found: dict[str, list[OrganizationMember]] = {organization_id: [] for organization_id in ids}
        for member in await self._store.members.among(self._store.database, "organization_id", ids):
            found[member.organization_id].append(member)
        return found

    async def administered_by(self, user_id: str) -> list[str]:
        """Ids of the organizations whose `org_admin` the user is."""
        where = {"user_id": user_id, "user_role": "org_admin"}
        found = await self._store.members.find(self._store.database, where, "organization_id")
        return [member.organization_id for member in found]

    async def of_user(self, user_id: str) -> list[str]:
        """Ids of the organizations that the user belongs to."""
        found = await self._store.members.find(self._store.database, {"user_id": user_id}, "organization_id")
        return [member.organization_id for member in found]

    async def is_member(self, organization_id: str | None, user_id: str) -> bool:
        """Whether the user belongs to the organization."""
        where = {"organization_id": organization_id, "user_id": user_id}
        return organization_id is not None and await self._store.members.get(self._store.database, where) is not None

    async def create(self, request: NewOrganizationRequest, actor: str) -> Organization:
        """A new organization; 400 when the id is taken."""
        given_id = request.organization_id
        organization_id = given_id if isinstance(given_id, str) else str(uuid.uuid4())
        checked_new_id(organization_id, "organization_id")
        now = now_ms()
        organization = Organization(
            organization_id=organization_id, organization_alias="", created_at=now, created_by=actor
        )
        columns = self._apply(request, request.organization_alias, organization, actor, now)

        async def once(tx: Transaction) -> None:
            await self._store.rows.insert(tx, organization)
            await self._scopes.put(tx, names.organization(organization_id), columns, model_changes(request, {}))
            await self._audit.append(tx, actor, "organization.new", "organization", organization_id, given(request))

        try:
            await managed(self._store.database, once)
        except Conflict as error:
            raise bad_request(f"Organization with id {organization_id} already exists.", "organization_id") from error
        return organization

    async def update(self, request: UpdateOrganizationRequest, actor: str, check: Check = unchecked) -> Organization:
        """Change the given fields, with effect on the next call."""
        organization = await self.get(request.organization_id)
        name = names.organization(organization.organization_id)
        # What is refused is refused before anything is settled.
        columns = self._apply(request, request.organization_alias, organization, actor, now_ms())
        if "spend" in columns:
            await self._scopes.settle()

        async def once(tx: Transaction) -> tuple[Organization, bool]:
            await check()
            # Read again where nobody else writes: what another has changed meanwhile must not be undone.
            organization = await self._present(tx, request.organization_id)
            columns = self._apply(request, request.organization_alias, organization, actor, now_ms())
            models = model_changes(request, (await self._scopes.models_of([name], tx)).get(name, {}))
            await self._store.rows.replace(tx, organization)
            await self._scopes.put(tx, name, columns, models)
            await self._audit.append(
                tx, actor, "organization.update", "organization", organization.organization_id, given(request)
            )
            return organization, models is not None or "budget_id" in columns

        organization, is_relisted = await managed(self._store.database, once)
        await self._scopes.publish([name], relist=[name] if is_relisted else [])
        return organization

    async def remove_in(self, tx: Transaction, organization_id: str, actor: str) -> None:
        """Remove an organization, its memberships and its limits; its teams and keys are removed before by who calls this."""
        await self._present(tx, organization_id)
        await self._store.members.delete(tx, {"organization_id": organization_id})
        await self._store.rows.delete(tx, {"organization_id": organization_id})
        await self._scopes.remove(tx, names.organization(organization_id))
        await self._audit.append(tx, actor, "organization.delete", "organization", organization_id)

    async def add_members(
        self,
        organization_id: str,
        members: Sequence[OrganizationMemberInput],
        actor: str,
        check: Check = unchecked,
    ) -> list[OrganizationMember]:
        """Take users in; those that do not exist are created. Who is a member already gets the role."""
        await self.get(organization_id)
        if not members:
            raise bad_request("`member` must name at least one user", "member")
        for member in members:
            _check_role(member.role)

        async def once(tx: Transaction) -> list[OrganizationMember]:
            await check()
            return await self.add_members_in(tx, organization_id, members, actor)

        return await managed(self._store.database, once)

    async def add_members_in(
        self, tx: Transaction, organization_id: str, members: Sequence[OrganizationMemberInput], actor: str
    ) -> list[OrganizationMember]:
        """:meth:`add_members` in the transaction that also makes who is taken in."""
        await self._present(tx, organization_id)
        now = now_ms()
        added: list[OrganizationMember] = []
        for member in members:
            user_id = await self._users.id_of(member.user_id, member.user_email, create=True, tx=tx)
            email = member.user_email.strip().lower() if member.user_email else None
            await self._users.ensure(tx, user_id, actor, email)
            row = OrganizationMember(
                organization_id=organization_id,
                user_id=user_id,
                user_role=member.role,
                created_at=now,
                updated_at=now,
            )
            if not await self._store.members.insert(tx, row, keep=True):
                await self._store.members.replace(tx, row, frozenset({"created_at"}))
            added.append(row)
        users = [member.user_id for member in added]
        await self._audit.append(tx, actor, "organization.member_add", "organization", organization_id, users)
        return added

    async def update_member(
        self,
        organization_id: str,
        user_id: str | None,
        email: str | None,
        role: str,
        actor: str,
        check: Check = unchecked,
    ) -> OrganizationMember:
        """Give a member another role."""
        _check_role(role)
        member = await self.member(organization_id, user_id, email)
        member.user_role, member.updated_at = role, now_ms()

        async def once(tx: Transaction) -> None:
            await check()
            if not await self._store.members.replace(tx, member):
                raise _no_member(organization_id, member.user_id)
            await self._audit.append(tx, actor, "organization.member_update", "organization", organization_id)

        await managed(self._store.database, once)
        return member

    async def delete_member(self, tx: Transaction, member: OrganizationMember, actor: str) -> None:
        """Remove a member; the user stays, and the keys are removed by who knows them."""
        where = {"organization_id": member.organization_id, "user_id": member.user_id}
        if not await self._store.members.delete(tx, where):
            raise _no_member(member.organization_id, member.user_id)
        await self._audit.append(tx, actor, "organization.member_delete", "organization", member.organization_id)

    async def forget_user(self, tx: Transaction, user_id: str) -> None:
        """A user is deleted: so are the memberships."""
        await self._store.members.delete(tx, {"user_id": user_id})

    async def member(self, organization_id: str, user_id: str | None, email: str | None) -> OrganizationMember:
        """A member by id or address, or 404."""
        await self.get(organization_id)
        wanted = await self._users.id_of(user_id, email, create=False)
        where = {"organization_id": organization_id, "user_id": wanted}
        member = await self._store.members.get(self._store.database, where)
        if member is None:
            raise _no_member(organization_id, wanted)
        return member

    async def _present(self, tx: Transaction, organization_id: str) -> Organization:
        organization = await self._store.rows.get(tx, {"organization_id": organization_id})
        if organization is None:
            raise _not_found(organization_id)
        return organization

    @staticmethod
    def _apply(
        request: OrganizationFields, alias: Any, organization: Organization, actor: str, now: int
    ) -> dict[str, Any]:
        """Write the request into the row; returns what it says about the scope."""
        checked_depth(request)
        columns = changes(request)
        if alias is not UNSET and alias is not None:
            checked_id(alias, "organization_alias")
            organization.organization_alias = alias
        if request.metadata is not UNSET:
            organization.metadata = request.metadata or {}
        if request.models is not UNSET:
            columns["models"] = request.models or []
        if request.blocked is not UNSET:
            columns["blocked"] = bool(request.blocked)
        if request.spend is not UNSET:
            try:
                columns["spend"] = 0 if request.spend is None else nanos_from_dollars(request.spend, "spend")
            except ValueError as error:
                raise as_refusal(error) from error
        columns["alias"] = organization.organization_alias
        organization.extra = stored(request, STORED_ONLY, organization.extra)
        organization.updated_at, organization.updated_by = now, actor
        return columns


def _not_found(organization_id: str) -> ApiError:
    return ApiError(404, f"Organization not found for organization_id={organization_id}", param="organization_id")


def _no_member(organization_id: str, user_id: str) -> ApiError:
    return ApiError(404, f"User {user_id} is no member of organization {organization_id}", param="user_id")


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise bad_request(f"`role` must be one of {', '.join(ROLES)}", "role")
