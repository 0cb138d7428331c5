"""Users: create, change, delete; created by the way when a key or a team names one that is not there."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.clock import now_ms
from penstock.errors import ApiError, bad_request
from penstock.money import nanos_from_dollars
from penstock.persistence import Conflict, Transaction, managed
from penstock.scopes import names
from penstock.scopes.fields import as_refusal, changes, checked_depth, checked_id, given, model_changes, stored
from penstock.scopes.service import ScopeService
from penstock.users.models import ADMIN_ROLE, ROLES, STORED_ONLY, User, UserFields, address
from penstock.users.store import UserStore


class UserService:
    """The users domain's public face."""

    def __init__(self, store: UserStore, audit: AuditTrail, scopes: ScopeService) -> None:
        self._store = store
        self._audit = audit
        self._scopes = scopes
        self.default_budget: int | None = None
        """Nano-dollars for users whose request names no budget."""
        self.default_duration: str | None = None

    async def find(self, user_id: str) -> User | None:
        """A user."""
        return await self._store.rows.get(self._store.database, {"user_id": user_id})

    async def get(self, user_id: str) -> User:
        """A user, or 404."""
        user = await self.find(user_id)
        if user is None:
            raise ApiError(404, f"User {user_id} not found", param="user_id")
        return user

    async def by_email(self, email: str) -> User | None:
        """The user with this address, if there is one."""
        return await self._store.rows.get(self._store.database, {"user_email": address(email)})

    async def id_of(
        self, user_id: str | None, email: str | None, *, create: bool, tx: Transaction | None = None
    ) -> str:
        """The id of whom a request names by id or address, as the transaction sees it or as it is committed; ``create``: an
        address that nobody has gets a new id.

        Raises:
            ApiError: 400, neither is given; 404, nobody has the address.
        """
        if user_id is not None:
            checked_id(user_id, "user_id")
            return user_id
        if email is None:
            raise bad_request("`user_id` or `user_email` must name the user", "user_id")
        user = await self._store.rows.get(tx or self._store.database, {"user_email": address(email)})
        if user is None and not create:
            raise ApiError(404, "There is no user with this email address.", param="user_email")
        return user.user_id if user is not None else str(uuid.uuid4())

    async def among(self, ids: Sequence[str]) -> list[User]:
        """Those of these users that exist."""
        return await self._store.rows.among(self._store.database, "user_id", ids)

    async def page(self, role: str | None, email: str | None, page: int, size: int) -> tuple[list[User], int]:
        """One page (from 1), latest first, and the number of users in all."""
        where = {"user_role": role, "user_email": email}
        rows, database = self._store.rows, self._store.database
        found = await rows.find(database, where, "created_at DESC, user_id DESC", size, (page - 1) * size)
        return found, await rows.count(database, where)

    async def is_admin(self, user_id: str | None) -> bool:
        """Whether keys of this user may do what the master key may."""
        user = await self.find(user_id) if user_id is not None else None
        return user is not None and user.user_role == ADMIN_ROLE

    def drawn_up(self, request: UserFields, actor: str) -> tuple[User, dict[str, Any]]:
        """The user that a request is for, and what it says of its scope; nothing is written.

        Raises:
            ApiError: 400 naming the field.
        """
        user_id = request.user_id if isinstance(request.user_id, str) else str(uuid.uuid4())
        checked_id(user_id, "user_id")
        now = now_ms()
        user = User(user_id=user_id, created_at=now, created_by=actor)
        columns = self._apply(request, user, actor, now)
        if columns.get("max_budget") is None and user.user_role != ADMIN_ROLE:
            columns = {**columns, **self._defaults(columns)}
        return user, columns

    async def create_in(
        self, tx: Transaction, user: User, columns: Mapping[str, Any], request: UserFields, actor: str
    ) -> None:
        """Write what was :meth:`drawn_up`; 400 when the id or the address is taken. Keys may have named the user before, so
        that its scope is to be listed again after the commit."""
        try:
            await self._store.rows.insert(tx, user)
        except Conflict as error:
            raise self._conflict(error, user) from error
        await self._scopes.put(tx, names.user(user.user_id), columns, model_changes(request, {}))
        await self._audit.append(tx, actor, "user.new", "user", user.user_id, given(request))

    async def ensure(self, tx: Transaction, user_id: str, actor: str, email: str | None = None) -> bool:
        """The user, created with the default limits when there is none; True when that was so."""
        checked_id(user_id, "user_id")
        now = now_ms()
        user = User(
            user_id=user_id, user_email=email, created_at=now, created_by=actor, updated_at=now, updated_by=actor
        )
        if email is not None:
            owner = await self._store.rows.get(tx, {"user_email": email})
            if owner is not None and owner.user_id != user_id:
                raise bad_request(f"`user_email`: {email} is the address of another user", "user_email")
        if not await self._store.rows.insert(tx, user, keep=True):
            return False
        await self._scopes.put(tx, names.user(user_id), self._defaults({}))
        await self._audit.append(tx, actor, "user.new", "user", user_id)
        return True

    async def update(self, request: UserFields, actor: str) -> User:
        """Change the given fields, with effect on the next call of the user's keys."""
        user = await self._named(request)
        name = names.user(user.user_id)
        # What is refused is refused before anything is settled.
        columns = self._apply(request, user, actor, now_ms())
        if "spend" in columns:
            await self._scopes.settle()

        async def once(tx: Transaction) -> tuple[User, bool]:
            # Read again where nobody else writes: who did not see a demotion must not undo it.
            present = await self._store.rows.get(tx, {"user_id": user.user_id})
            if present is None:
                raise ApiError(404, f"User {user.user_id} not found", param="user_id")
            columns = self._apply(request, present, actor, now_ms())
            models = model_changes(request, (await self._scopes.models_of([name], tx)).get(name, {}))
            await self._store.rows.replace(tx, present)
            await self._scopes.put(tx, name, columns, models)
            await self._audit.append(tx, actor, "user.update", "user", user.user_id, given(request))
            return present, models is not None or "budget_id" in columns

        try:
            changed, is_relisted = await managed(self._store.database, once)
        except Conflict as error:
            raise self._conflict(error, user) from error
        await self._scopes.publish([name], relist=[name] if is_relisted else [])
        return changed

    async def delete(self, tx: Transaction, user: User, actor: str) -> None:
        """Remove a user; what it belongs to is removed by who knows it."""
        await self._store.rows.delete(tx, {"user_id": user.user_id})
        await self._scopes.remove(tx, names.user(user.user_id))
        await self._audit.append(tx, actor, "user.delete", "user", user.user_id)

    def _defaults(self, columns: dict[str, Any]) -> dict[str, Any]:
        if self.default_budget is None or columns.get("budget_id") is not None:
            return {}
        return {"max_budget": self.default_budget, "budget_duration": self.default_duration}

    async def _named(self, request: UserFields) -> User:
        if isinstance(request.user_id, str):
            return await self.get(request.user_id)
        if isinstance(request.user_email, str):
            user = await self.by_email(request.user_email)
            if user is None:
                raise ApiError(404, "There is no user with this email address.", param="user_email")
            return user
        raise bad_request("`user_id` or `user_email` must name the user", "user_id")

    @staticmethod
    def _apply(request: UserFields, user: User, actor: str, now: int) -> dict[str, Any]:
        """Write the request into the row; returns what it says about the scope."""
        checked_depth(request)
        columns = changes(request)
        for field in ("user_alias", "sso_user_id"):
            value = getattr(request, field)
            if value is not UNSET:
                checked_id(value, field)
                setattr(user, field, value)
        if request.user_email is not UNSET:
            email = address(request.user_email) if request.user_email is not None else None
            checked_id(email, "user_email")
            user.user_email = email
        if request.user_role is not UNSET:
            role = request.user_role if request.user_role is not None else User(user_id="").user_role
            if role not in ROLES:
                raise bad_request(f"`user_role` must be one of {', '.join(ROLES)}", "user_role")
            user.user_role = role
        if request.metadata is not UNSET:
            user.metadata = request.metadata or {}
        if request.models is not UNSET:
            columns["models"] = request.models or []
        if request.blocked is not UNSET:
            columns["blocked"] = bool(request.blocked)
        if request.spend is not UNSET:
            try:
                columns["spend"] = 0 if request.spend is None else nanos_from_dollars(request.spend, "spend")
            except ValueError as error:
                raise as_refusal(error) from error
        columns["alias"] = user.user_alias or user.user_email
        user.extra = stored(request, STORED_ONLY, user.extra)
        user.updated_at, user.updated_by = now, actor
        return columns

    @staticmethod
    def _conflict(error: Conflict, user: User) -> ApiError:
        if "email" in str(error):
            return bad_request(f"User with email {user.user_email} already exists in DB.", "user_email")
        return bad_request(f"User with id {user.user_id} already exists.", "user_id")
