"""Health in LiteLLM's shapes and in Penstock's own, the front page, and the list of routes.

The data plane answers the health routes itself on its own port; these are for the other door.
"""

from __future__ import annotations

from typing import Any

from litestar import HttpMethod, Request, Response, get, route
from litestar.routes import HTTPRoute

from penstock import __version__
from penstock.absent.routes import PATHS as ABSENT_PATHS
from penstock.access import Access
from penstock.engine.current import CurrentRuntime
from penstock.engine.routes import HOT_ROUTES

_READ = [HttpMethod.GET, HttpMethod.HEAD]


@get(["/health/liveliness", "/health/liveness"], access=Access.PUBLIC)
async def liveliness() -> Response[bytes]:
    """The process answers, with a JSON string."""
    return Response(b'"I\'m alive!"', media_type="application/json")


@get("/health/readiness", access=Access.PUBLIC)
async def readiness(runtime: CurrentRuntime) -> Response[dict[str, Any]]:
    """200 while calls are taken, 503 while draining or without a database."""
    connected = await runtime.database_answers()
    healthy = runtime.is_ready and connected
    body = {
        "status": "healthy" if healthy else "unhealthy",
        "db": "connected" if connected else "Not connected",
        "penstock_version": __version__,
    }
    return Response(body, status_code=200 if healthy else 503)


@get("/health/backlog", access=Access.VIEWER)
async def backlog(runtime: CurrentRuntime) -> dict[str, int]:
    """Calls that are in flight in this process."""
    return {"in_flight_requests": runtime.status().in_flight}


@route("/_health/live", http_method=_READ, access=Access.PUBLIC)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@route("/_health/ready", http_method=_READ, access=Access.PUBLIC)
async def ready(runtime: CurrentRuntime) -> Response[dict[str, str]]:
    """200 while calls are taken, else 503."""
    return Response(
        {"status": "ready" if runtime.is_ready else "not ready"}, status_code=200 if runtime.is_ready else 503
    )


@get("/", access=Access.PUBLIC)
async def front_page() -> dict[str, Any]:
    """What this is."""
    return {
        "name": "Penstock",
        "version": __version__,
        "links": {
            "openapi": "/schema/openapi.json",
            "health": "/_health/ready",
            "models": "/v1/models",
            "metrics": "/metrics",
        },
    }


@get("/routes", access=Access.VIEWER)
async def routes(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Every route of both planes; those that only say what this gateway does not have are left out."""
    listed = [
        {"path": known.path_format, "methods": sorted(handler_methods), "name": known.path_format}
        for known in request.app.routes
        if isinstance(known, HTTPRoute) and known.path_format not in ABSENT_PATHS
        for handler_methods in [{str(method) for method in known.methods} - {"OPTIONS"}]
    ]
    hot = [
        {
            "path": hot_route.path + ("/{rest}" if hot_route.subtree else ""),
            "methods": sorted(hot_route.methods),
            "name": hot_route.path,
        }
        for hot_route in HOT_ROUTES
    ]
    return {"routes": sorted(listed + hot, key=lambda entry: str(entry["path"]))}


HANDLERS = [liveliness, readiness, backlog, live, ready, front_page, routes]
