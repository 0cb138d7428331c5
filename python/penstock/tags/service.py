"""Tags: create, change, delete. A label without a row here costs nothing and limits nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import UNSET

from penstock.audit import AuditTrail
from penstock.clock import now_ms
from penstock.errors import ApiError, bad_request
from penstock.persistence import Conflict, Transaction, managed
from penstock.scopes import names
from penstock.scopes.fields import changes, checked_depth, checked_id, given, model_changes, stored
from penstock.scopes.service import ScopeService
from penstock.tags.models import Tag, TagFields
from penstock.tags.store import TagStore


def _not_found(name: str) -> ApiError:
    return ApiError(404, f"Tag {name} not found", param="name")


class TagService:
    """The tags domain's public face."""

    def __init__(
        self, store: TagStore, audit: AuditTrail, scopes: ScopeService, changed: Callable[[], Awaitable[None]]
    ) -> None:
        """`changed`: the data plane may have to begin (or may cease) to ask for the tags of requests."""
        self._store = store
        self._audit = audit
        self._scopes = scopes
        self._changed = changed

    async def get(self, name: str) -> Tag:
        """A tag, or 404."""
        tag = await self._store.rows.get(self._store.database, {"name": name})
        if tag is None:
            raise _not_found(name)
        return tag

    async def among(self, wanted: Sequence[str]) -> list[Tag]:
        """Those of these tags that exist."""
        return await self._store.rows.among(self._store.database, "name", wanted)

    async def all(self) -> list[Tag]:
        """Every tag, by name."""
        return await self._store.rows.find(self._store.database, {}, "name")

    async def create(self, request: TagFields, actor: str) -> Tag:
        """A new tag; 400 when there is one of this name."""
        checked_id(request.name, "name")
        now = now_ms()
        tag = Tag(name=request.name, created_at=now, created_by=actor)
        columns = self._apply(request, tag, actor, now)

        async def once(tx: Transaction) -> None:
            await self._store.rows.insert(tx, tag)
            await self._scopes.put(tx, names.tag(tag.name), columns, model_changes(request, {}))
            await self._audit.append(tx, actor, "tag.new", "tag", tag.name, given(request))

        try:
            await managed(self._store.database, once)
        except Conflict as error:
            raise bad_request(f"Tag {request.name} already exists", "name") from error
        await self._tell(tag.name)
        return tag

    async def update(self, request: TagFields, actor: str) -> Tag:
        """Change the given fields, with effect on the next call."""
        await self.get(request.name)
        name = names.tag(request.name)

        async def once(tx: Transaction) -> Tag:
            # Read again where nobody else writes: what another has changed meanwhile must not be undone.
            tag = await self._store.rows.get(tx, {"name": request.name})
            if tag is None:
                raise _not_found(request.name)
            columns = self._apply(request, tag, actor, now_ms())
            models = model_changes(request, (await self._scopes.models_of([name], tx)).get(name, {}))
            await self._store.rows.replace(tx, tag)
            await self._scopes.put(tx, name, columns, models)
            await self._audit.append(tx, actor, "tag.update", "tag", tag.name, given(request))
            return tag

        tag = await managed(self._store.database, once)
        await self._tell(tag.name)
        return tag

    async def delete(self, name: str, actor: str) -> None:
        """Remove a tag; keys keep the label."""
        await self.get(name)

        async def once(tx: Transaction) -> None:
            await self._store.rows.delete(tx, {"name": name})
            await self._scopes.remove(tx, names.tag(name))
            await self._audit.append(tx, actor, "tag.delete", "tag", name)

        await managed(self._store.database, once)
        await self._tell(name)

    async def _tell(self, name: str) -> None:
        await self._scopes.publish([names.tag(name)], relist=[names.tag(name)])
        await self._changed()

    @staticmethod
    def _apply(request: TagFields, tag: Tag, actor: str, now: int) -> dict[str, Any]:
        """Write the request into the row; returns what it says about the scope."""
        checked_depth(request)
        columns = changes(request)
        if request.description is not UNSET:
            tag.description = request.description
        if request.models is not UNSET:
            tag.models = request.models or []
        if request.model_info is not UNSET:
            tag.model_info = request.model_info or {}
        if request.blocked is not UNSET:
            columns["blocked"] = bool(request.blocked)
        tag.extra = stored(request, ("tpd_limit",), tag.extra)
        tag.updated_at, tag.updated_by = now, actor
        return columns
