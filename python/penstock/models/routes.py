"""`/model/...` in LiteLLM's shapes: what is served, and the models that are kept in the database.

No secret is in any answer. `/model/info` and its relatives show no upstream address either.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from litestar import Request, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from penstock.access import Access, caller_of
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import ApiError, bad_request
from penstock.models.models import (
    BlockModelRequest,
    DeleteModelRequest,
    JsonObject,
    ModelChange,
    NewModelRequest,
    UpdateModelRequest,
)
from penstock.models.service import entries, groups

AnyRequest = Request[Any, Any, Any]
SortColumn = Literal["model_name", "created_at", "updated_at"]


async def _entries(runtime: Runtime) -> list[JsonObject]:
    return entries(runtime.snapshot, await runtime.models.shown(), runtime.models.ids)


@get(["/model/info", "/v1/model/info"], access=Access.VIEWER)
async def model_info(runtime: CurrentRuntime, litellm_model_id: FromQuery[str | None] = None) -> dict[str, Any]:
    """Every deployment, or the one with this id."""
    found = await _entries(runtime)
    if litellm_model_id is not None:
        found = [entry for entry in found if entry["model_info"]["id"] == litellm_model_id]
        if not found:
            raise ApiError(404, f"No deployment has the id `{litellm_model_id}`.", param="litellm_model_id")
    return {"data": found}


@get("/v2/model/info", access=Access.VIEWER)
async def model_info_paged(
    runtime: CurrentRuntime,
    model: FromQuery[str | None] = None,
    model_id: Annotated[str | None, QueryParameter(name="modelId")] = None,
    search: FromQuery[str | None] = None,
    page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
    size: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
    sort_by: Annotated[SortColumn | None, QueryParameter(name="sortBy")] = None,
    sort_order: Annotated[Literal["asc", "desc"], QueryParameter(name="sortOrder")] = "asc",
) -> dict[str, Any]:
    """Deployments a page at a time: of one group (`model`), with one id, or with a part of a name (`search`)."""
    found = [
        entry
        for entry in await _entries(runtime)
        if model in (None, entry["model_name"])
        and model_id in (None, entry["model_info"]["id"])
        and (search is None or search.lower() in entry["model_name"].lower())
    ]
    if sort_by is not None:
        # Models of the file have no times and come first.
        found.sort(
            key=lambda entry: str(entry[sort_by] if sort_by == "model_name" else entry["model_info"].get(sort_by, "")),
            reverse=sort_order == "desc",
        )
    return {
        "data": found[(page - 1) * size : page * size],
        "total_count": len(found),
        "current_page": page,
        "total_pages": math.ceil(len(found) / size),
        "size": size,
    }


@get("/model_group/info", access=Access.VIEWER)
async def model_group_info(runtime: CurrentRuntime, model_group: FromQuery[str | None] = None) -> dict[str, Any]:
    """Every group, or one."""
    return {"data": [entry for entry in groups(runtime.snapshot) if model_group in (None, entry["model_group"])]}


@post("/model/new", access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[NewModelRequest]) -> dict[str, Any]:
    """Store a model and serve it from the next call on. `warnings` names what has no effect."""
    return await runtime.models.create(data, caller_of(request).actor)


@post("/model/update", access=Access.ADMIN, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[UpdateModelRequest]) -> dict[str, Any]:
    """Change the model that `model_info.id` names. What is absent or null stays."""
    model_id = (data.model_info or {}).get("id")
    if not isinstance(model_id, str):
        raise bad_request("`model_info.id` must name the model to change", "model_info.id")
    return await runtime.models.update(model_id, data, caller_of(request).actor)


@patch("/model/{model_id:str}/update", access=Access.ADMIN)
async def update_named(
    request: AnyRequest, runtime: CurrentRuntime, model_id: FromPath[str], data: JSONBody[ModelChange]
) -> dict[str, Any]:
    """Change the model in the path. What is absent or null stays."""
    return await runtime.models.update(model_id, data, caller_of(request).actor)


@post("/model/delete", access=Access.ADMIN, status_code=200)
async def delete(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[DeleteModelRequest]) -> dict[str, Any]:
    """Remove a model; calls in flight end as they began."""
    await runtime.models.delete(data.id, caller_of(request).actor)
    return {"message": f"Model: {data.id} deleted successfully"}


@post("/model/block", access=Access.ADMIN, status_code=200)
async def block(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[BlockModelRequest]) -> dict[str, Any]:
    """Stop serving a model until it is unblocked; others of its group go on."""
    return await runtime.models.set_blocked(data.model_id, True, caller_of(request).actor)


@post("/model/unblock", access=Access.ADMIN, status_code=200)
async def unblock(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[BlockModelRequest]) -> dict[str, Any]:
    """Undo a block."""
    return await runtime.models.set_blocked(data.model_id, False, caller_of(request).actor)


HANDLERS = [
    model_info,
    model_info_paged,
    model_group_info,
    new,
    update,
    update_named,
    delete,
    block,
    unblock,
]
