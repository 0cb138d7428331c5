"""The Litestar application: every route of the control plane, and the second door to the data plane.

`create_app` is what Granian runs, embedded by `penstock serve` or on its own
(`granian --interface asgi --factory penstock.app:create_app`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar import Litestar, Request, Response, Router, asgi
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from penstock import __version__, logs
from penstock.absent import routes as absent_routes
from penstock.access import Access, guard, refuse_unasked
from penstock.audit import routes as audit_routes
from penstock.budgets import routes as budget_routes
from penstock.credentials import routes as credential_routes
from penstock.credentials.service import CredentialSealed
from penstock.customers import routes as customer_routes
from penstock.engine.bridge import BrokenAnswer
from penstock.engine.routes import HOT_ROUTES, HotRoute
from penstock.engine.runtime import Runtime
from penstock.errors import EXCEPTION_HANDLERS, ApiError, refusal
from penstock.health import routes as health_routes
from penstock.keys import bulk_routes as key_bulk_routes
from penstock.keys import routes as key_routes
from penstock.metrics import routes as metrics_routes
from penstock.models import routes as model_routes
from penstock.nul import refuse_nul
from penstock.organizations import routes as organization_routes
from penstock.queries import refuse_unknown
from penstock.spend import activity_routes, report_routes
from penstock.spend import routes as spend_routes
from penstock.tags import routes as tag_routes
from penstock.teams import permission_routes as team_permission_routes
from penstock.teams import routes as team_routes
from penstock.tokens import routes as token_routes
from penstock.users import routes as user_routes

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Receive, Scope, Send

    from penstock.settings import Prepared

logger = logging.getLogger("penstock.http")

_MAX_ADMIN_BODY = 4 * 1024 * 1024


class _App(Litestar):
    """With the plugins that it needs, and not with those of every library that happens to be installed: pydantic's was a third of
    the time of a start."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_app(runtime: Runtime | None = None) -> Litestar:
    """The application of a runtime that was started.

    Without one everything comes from the environment when the application starts, as when Granian calls this.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    prepared: Prepared | None = None
    if runtime is None:
        from penstock.config import Environment
        from penstock.settings import Flags, prepare

        prepared = prepare(Flags(), Environment())
        logs.configure(prepared.settings.log_level)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        running = runtime
        if running is None:
            assert prepared is not None
            running = await Runtime.open(prepared)
        app.state.runtime = running
        try:
            await running.start()
            running.get_ready()
            if runtime is None:
                # The port is about to be opened by a server that says nothing to its app.
                running.announce_when_reachable()
            yield
            await running.drain(running.settings.grace_ms)
        finally:
            await running.close()

    return _App(
        route_handlers=[
            *health_routes.HANDLERS,
            *metrics_routes.HANDLERS,
            *key_routes.HANDLERS,
            *key_bulk_routes.HANDLERS,
            *spend_routes.HANDLERS,
            *report_routes.HANDLERS,
            *activity_routes.HANDLERS,
            *model_routes.HANDLERS,
            *team_routes.HANDLERS,
            *team_permission_routes.HANDLERS,
            *user_routes.HANDLERS,
            *organization_routes.HANDLERS,
            *customer_routes.HANDLERS,
            *budget_routes.HANDLERS,
            *tag_routes.HANDLERS,
            *token_routes.HANDLERS,
            *credential_routes.HANDLERS,
            *audit_routes.HANDLERS,
            *absent_routes.HANDLERS,
            *(_door(route) for route in HOT_ROUTES),
        ],
        dependencies={"runtime": Provide(_runtime, sync_to_thread=False)},
        exception_handlers={**EXCEPTION_HANDLERS, CredentialSealed: _sealed},
        guards=[guard],
        before_request=_check,
        before_send=[refuse_unasked],
        lifespan=[lifespan],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Penstock",
            version=__version__,
            description="Administration of the gateway. The inference routes follow OpenAI's and Anthropic's own documents.",
            # Only the document itself: the viewers that Litestar offers load their code from other hosts.
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
            openapi_router=Router("/schema", route_handlers=[], opt={"access": Access.PUBLIC}),
        ),
        request_max_body_size=_MAX_ADMIN_BODY,
    )


async def _check(request: Request[Any, Any, Any]) -> None:
    """What holds for every request, whatever it is about."""
    await refuse_unknown(request)
    await refuse_nul(request)


def _runtime(state: State) -> Runtime:
    runtime: Runtime = state.runtime
    return runtime


def _sealed(_: Request[Any, Any, Any], error: CredentialSealed) -> Response[Any]:
    """Something that is stored cannot be opened: no change can be put into force before that is mended."""
    logger.error("a stored credential cannot be opened", extra={"event": "credential.sealed", "reason": str(error)})
    return refusal(ApiError(409, f"No change can be put into force: {error}", type="conflict_error"))


def _door(route: HotRoute) -> ASGIRouteHandler:
    """A hot route's ASGI handler: no parsing, the data plane does everything."""
    allowed = ", ".join(sorted(route.methods))

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        # A mount also matches longer names (`/filesx`), and takes its own path off `path`; `raw_path` is whole.
        rest = unquote(scope["raw_path"].decode("latin-1"))[len(route.path) :]
        if (rest and not rest.startswith("/")) or (not route.itself and rest in ("", "/")):
            raise NotFoundException
        if scope["type"] != ScopeType.HTTP or scope["method"] not in route.methods:
            raise MethodNotAllowedException(headers={"allow": allowed})
        runtime: Runtime = scope["litestar_app"].state.runtime
        try:
            await runtime.bridge.run(scope, receive, send)
        except BrokenAnswer:
            raise
        except Exception:
            # The framework hides what fails after the head was sent, so it is told here.
            logger.exception("call failed in the bridge", extra={"event": "bridge.error", "route": route.path})
            raise

    return asgi(route.path, is_mount=route.subtree, copy_scope=False, access=Access.DATA_PLANE)(door)
