"""`/model/info` and its relatives, in LiteLLM's shapes. No secret and no upstream address is in them."""

from __future__ import annotations

import math
from typing import Annotated, Any

from litestar import get
from litestar.params import FromQuery, QueryParameter

from penstock.access import Access
from penstock.engine.current import CurrentRuntime
from penstock.errors import ApiError
from penstock.models.service import entries, groups


@get(["/model/info", "/v1/model/info"], access=Access.ADMIN)
async def model_info(runtime: CurrentRuntime, litellm_model_id: FromQuery[str | None] = None) -> dict[str, Any]:
    """Every deployment, or the one with this id."""
    found = entries(runtime.snapshot)
    if litellm_model_id is not None:
        found = [entry for entry in found if entry["model_info"]["id"] == litellm_model_id]
        if not found:
            raise ApiError(404, f"No deployment has the id `{litellm_model_id}`.", param="litellm_model_id")
    return {"data": found}


@get("/v2/model/info", access=Access.ADMIN)
async def model_info_paged(
    runtime: CurrentRuntime,
    model: FromQuery[str | None] = None,
    page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
    size: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """Deployments a page at a time, or those of one group."""
    found = [entry for entry in entries(runtime.snapshot) if model in (None, entry["model_name"])]
    return {
        "data": found[(page - 1) * size : page * size],
        "total_count": len(found),
        "current_page": page,
        "total_pages": math.ceil(len(found) / size),
        "size": size,
    }


@get("/model_group/info", access=Access.ADMIN)
async def model_group_info(runtime: CurrentRuntime, model_group: FromQuery[str | None] = None) -> dict[str, Any]:
    """Every group, or one."""
    return {"data": [entry for entry in groups(runtime.snapshot) if model_group in (None, entry["model_group"])]}


HANDLERS = [model_info, model_info_paged, model_group_info]
