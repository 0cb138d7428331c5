"""`/audit`: who changed what, in LiteLLM's field names. Values are not kept, so `before_value` and `updated_values` have none."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from penstock.access import Access
from penstock.audit.service import Entry, EntryFilter
from penstock.durations import iso
from penstock.engine.current import CurrentRuntime
from penstock.errors import ApiError
from penstock.spend.models import moment


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "updated_at": iso(entry.at),
        "changed_by": entry.actor,
        "changed_by_api_key": entry.actor,
        "action": entry.action,
        "table_name": entry.object_type,
        "object_id": entry.object_id,
        "changed_fields": entry.fields,
        "before_value": None,
        "updated_values": None,
    }


@get("/audit", access=Access.VIEWER)
async def entries(
    runtime: CurrentRuntime,
    changed_by: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    table_name: FromQuery[str | None] = None,
    object_id: FromQuery[str | None] = None,
    start_date: FromQuery[str | None] = None,
    end_date: FromQuery[str | None] = None,
    cursor: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)] = None,
    page_size: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """Changes, latest first; `next_cursor` is the `cursor` of the next page, null after the last.

    `action` is e.g. `key.update`, `table_name` what was changed (`key`, `team`, `user`, ...). A bare `end_date` takes in the
    whole day.
    """
    where = EntryFilter(
        actor=changed_by,
        action=action,
        object_type=table_name,
        object_id=object_id,
        start=moment(start_date, "start_date"),
        end=moment(end_date, "end_date", end_of_day=True),
    )
    found = await runtime.audit.page(where, cursor, page_size + 1)
    shown, has_more = found[:page_size], len(found) > page_size
    return {
        "audit_logs": [_shown(entry) for entry in shown],
        "page_size": page_size,
        "has_more": has_more,
        "next_cursor": shown[-1].id if has_more else None,
    }


@get("/audit/{id:str}", access=Access.VIEWER)
async def entry(runtime: CurrentRuntime, id: FromPath[str]) -> dict[str, Any]:
    """One change."""
    found = await runtime.audit.entry(int(id)) if id.isascii() and id.isdigit() and len(id) < 19 else None
    if found is None:
        raise ApiError(404, f"There is no change with the id {id}.", param="id")
    return _shown(found)


HANDLERS = [entries, entry]
