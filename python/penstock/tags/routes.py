"""`/tag/...` in LiteLLM's shapes."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.params import JSONBody

from penstock.access import Access, caller_of
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import bad_request
from penstock.scopes import names
from penstock.scopes.shown import budget_table, limits, stamps, warnings
from penstock.tags.models import Tag, TagFields, TagIdentifier, TagsIdentifier

AnyRequest = Request[Any, Any, Any]

_WITHOUT_EFFECT = ("tpd_limit", "models")


async def _shown(runtime: Runtime, tags: list[Tag]) -> list[dict[str, Any]]:
    scopes = runtime.entities.scopes
    wanted = [names.tag(tag.name) for tag in tags]
    found, models = await scopes.find_many(wanted), await scopes.models_of(wanted)
    return [
        {
            **tag.extra,
            **limits(found.get(name), models.get(name)),
            "name": tag.name,
            "description": tag.description,
            "models": tag.models,
            "model_info": tag.model_info,
            "blocked": found[name].blocked if name in found else False,
            "litellm_budget_table": budget_table(found.get(name)),
            **stamps(tag),
        }
        for tag, name in zip(tags, wanted, strict=True)
    ]


@post("/tag/new", access=Access.ADMIN, status_code=200)
async def new(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[TagFields]) -> dict[str, Any]:
    """Give a tag limits and a description."""
    tag = await runtime.entities.tags.create(data, caller_of(request).actor)
    shown = (await _shown(runtime, [tag]))[0]
    return {"message": f"Tag {tag.name} created successfully", "tag": shown, **warnings(data, _WITHOUT_EFFECT)}


@post("/tag/update", access=Access.ADMIN, status_code=200)
async def update(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[TagFields]) -> dict[str, Any]:
    """Change the given fields of a tag, with effect on the next call."""
    tag = await runtime.entities.tags.update(data, caller_of(request).actor)
    shown = (await _shown(runtime, [tag]))[0]
    return {"message": f"Tag {tag.name} updated successfully", "tag": shown, **warnings(data, _WITHOUT_EFFECT)}


@post("/tag/info", access=Access.VIEWER, status_code=200)
async def info(runtime: CurrentRuntime, data: JSONBody[TagsIdentifier]) -> dict[str, Any]:
    """Several tags by name; 404 when none of them exists."""
    if not data.names:
        raise bad_request("`names` must name at least one tag", "names")
    await runtime.entities.scopes.settle()
    found = await runtime.entities.tags.among(data.names)
    if not found:
        await runtime.entities.tags.get(data.names[0])
    return {tag["name"]: tag for tag in await _shown(runtime, found)}


@get("/tag/list", access=Access.VIEWER)
async def list_tags(runtime: CurrentRuntime) -> list[dict[str, Any]]:
    """Every tag that was created."""
    await runtime.entities.scopes.settle()
    return await _shown(runtime, await runtime.entities.tags.all())


@post("/tag/delete", access=Access.ADMIN, status_code=200)
async def delete(request: AnyRequest, runtime: CurrentRuntime, data: JSONBody[TagIdentifier]) -> dict[str, Any]:
    """Remove a tag and its limits."""
    await runtime.entities.tags.delete(data.name, caller_of(request).actor)
    return {"message": f"Tag {data.name} deleted successfully"}


HANDLERS = [new, update, info, list_tags, delete]
