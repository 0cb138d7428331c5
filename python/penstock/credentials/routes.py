"""`/credentials`, in LiteLLM's shapes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from litestar import Request, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from penstock.access import Access, caller_of
from penstock.config.problems import ConfigError
from penstock.credentials.models import CreateCredentialRequest, Credential, UpdateCredentialRequest
from penstock.engine.current import CurrentRuntime
from penstock.engine.runtime import Runtime
from penstock.errors import ApiError, bad_request
from penstock.persistence import DatabaseUnavailable


async def _take_effect(runtime: Runtime, change: Awaitable[object]) -> None:
    """Make a change and build the models with it."""
    try:
        await change
    except (DatabaseUnavailable, asyncio.CancelledError):
        # It may be committed all the same.
        runtime.models.is_stale = True
        raise
    try:
        await runtime.recompile()
    except ConfigError as error:
        raise bad_request(
            f"The credential is stored, but the models cannot be built with it: {error}", "credential_values"
        ) from error


@get("/credentials", access=Access.ADMIN)
async def list_credentials(runtime: CurrentRuntime) -> dict[str, Any]:
    """Every stored credential, values masked."""
    return {"success": True, "credentials": await runtime.credentials.list()}


@get("/credentials/by_name/{credential_name:str}", access=Access.ADMIN)
async def credential(runtime: CurrentRuntime, credential_name: FromPath[str]) -> Credential:
    """One stored credential, values masked."""
    for found in await runtime.credentials.list():
        if found.credential_name == credential_name:
            return found
    raise ApiError(404, f"There is no credential `{credential_name}`.", param="credential_name")


@post("/credentials", access=Access.ADMIN, status_code=200)
async def create_credential(
    request: Request[Any, Any, Any], runtime: CurrentRuntime, data: JSONBody[CreateCredentialRequest]
) -> dict[str, Any]:
    """Seal and keep a credential."""
    await _take_effect(runtime, runtime.credentials.create(data, caller_of(request).actor))
    return {"success": True, "message": "Credential created successfully"}


@patch("/credentials/{credential_name:str}", access=Access.ADMIN)
async def update_credential(
    request: Request[Any, Any, Any],
    runtime: CurrentRuntime,
    credential_name: FromPath[str],
    data: JSONBody[UpdateCredentialRequest],
) -> dict[str, Any]:
    """Replace some of a credential's values."""
    await _take_effect(runtime, runtime.credentials.update(credential_name, data, caller_of(request).actor))
    return {"success": True, "message": "Credential updated successfully"}


@delete("/credentials/{credential_name:str}", access=Access.ADMIN, status_code=200)
async def delete_credential(
    request: Request[Any, Any, Any], runtime: CurrentRuntime, credential_name: FromPath[str]
) -> dict[str, Any]:
    """Remove a credential."""
    await _take_effect(runtime, runtime.credentials.delete(credential_name, caller_of(request).actor))
    return {"success": True, "message": "Credential deleted successfully"}


HANDLERS = [list_credentials, credential, create_credential, update_credential, delete_credential]
