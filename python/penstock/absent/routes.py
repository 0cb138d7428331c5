"""Routes that clients of LiteLLM know and this gateway does not have: a typed error instead of a bare 404, never a fake.

Apart from the domains because none of them has anything to do here; a route leaves this table when a domain takes it.
"""

from __future__ import annotations

from typing import Any

from litestar import HttpMethod, Request, get, route
from litestar.handlers import HTTPRouteHandler

from penstock.access import Access
from penstock.errors import ApiError

_GET, _POST, _PUT, _PATCH, _DELETE = (
    HttpMethod.GET,
    HttpMethod.POST,
    HttpMethod.PUT,
    HttpMethod.PATCH,
    HttpMethod.DELETE,
)
_READ, _WRITE = [_GET], [_POST]

_NO_CACHE = "There is no response cache. Prompt caching of the providers works, and `Idempotency-Key` replays answers."
_IN_FILE = "The configuration is a file: change it there, and the gateway reads it again on SIGHUP."
_NO_CALLBACKS = "Keys and teams have no logging callbacks of their own."
_NO_PROJECTS = "There are no projects: a team within an organization has the same limits."
_NO_ACCESS_GROUPS = (
    "Access groups are `model_info.access_groups` of the models; name the group in `models` of a key or a team."
)
_NO_JWT = "Callers authenticate with keys, not with JWTs."
_FALLBACKS = "Fallbacks are `router_settings.fallbacks` in the configuration."
_REPORT = "Use GET /global/spend/report or the daily activity, which has the same figures by model and day."
_EXPORT = "Use the daily activity itself, which is JSON and has every day of the range."
_NO_AGENTS = "User agents are not recorded."
_NO_PASSTHROUGH = "Pass-through endpoints are not configured one by one."
_NO_CONNECTION = "Credentials are values that are stored sealed; nobody signs in to a provider through the gateway."
_PING = "Models are called to see whether they answer only by real calls; see /metrics and the logs."
_LOGS = "Use GET /spend/logs/v2, which has pages and the same filters."
_CUSTOMERS = "Use GET /customer/list, or /customer/daily/activity for what customers spent by day and model."
_FAILURES = "Use GET /metrics, which counts failures by model and kind, or /spend/logs/v2 for single calls."
_LATENCIES = "Use GET /metrics, which has latencies by model."
_COST_MAP = "Prices come with the program and from the configuration; SIGHUP has that read again."
_NO_INVITATIONS = "Nobody is invited: POST /user/new makes a user and, unless told otherwise, a key."
_NO_LOGIN = "Nobody logs in: every request has its key."
_NO_LICENSE = "There is no license: nothing is locked."

ABSENT: dict[str, tuple[list[HttpMethod], str]] = {
    "/team/daily/activity/aggregated/keys": (_READ, _EXPORT),
    "/team/daily/activity/aggregated/model_top_keys": (_READ, _EXPORT),
    "/team/daily/activity/aggregated/search": (_READ, _EXPORT),
    "/team/daily/activity/export": (_READ, _EXPORT),
    "/team/metadata_schema": (_READ, "A team's `metadata` is any JSON object."),
    "/team/spend/by_user": (_READ, "GET /team/info has the spend of every member in `team_memberships`."),
    "/team/spend/report": (_READ, _REPORT),
    "/team/{team_id:str}/callback": ([_GET, _POST], _NO_CALLBACKS),
    "/team/{team_id:str}/callback/{callback_name:str}": ([_DELETE], _NO_CALLBACKS),
    "/team/{team_id:str}/disable_logging": (_WRITE, _NO_CALLBACKS),
    "/team/{team_id:str}/member/{user_id:str}/reset_budget": (
        _WRITE,
        "Use /team/member_update to give a member other limits, or .../reset_spend for a new start.",
    ),
    "/key/spend/report": (_READ, _REPORT),
    "/user/spend/report": (_READ, _REPORT),
    "/user/password/change": (_WRITE, "Users sign in with their keys, there are no passwords."),
    "/user/daily/activity/aggregated/cache_leakage_keys": (_READ, _NO_CACHE),
    "/user/daily/activity/aggregated/keys": (_READ, _EXPORT),
    "/user/daily/activity/aggregated/model_top_keys": (_READ, _EXPORT),
    "/user/daily/activity/aggregated/search": (_READ, _EXPORT),
    "/user/daily/activity/aggregated/users": (_READ, _EXPORT),
    "/user/daily/activity/export": (_READ, _EXPORT),
    "/organization/daily/activity/aggregated/keys": (_READ, _EXPORT),
    "/organization/daily/activity/aggregated/model_top_keys": (_READ, _EXPORT),
    "/organization/daily/activity/aggregated/search": (_READ, _EXPORT),
    "/organization/daily/activity/export": (_READ, _EXPORT),
    "/organization/spend/report": (_READ, _REPORT),
    "/customer/daily/activity/aggregated/keys": (_READ, _EXPORT),
    "/customer/daily/activity/aggregated/model_top_keys": (_READ, _EXPORT),
    "/customer/daily/activity/aggregated/search": (_READ, _EXPORT),
    "/customer/daily/activity/export": (_READ, _EXPORT),
    "/tag/daily/activity/aggregated/keys": (_READ, _EXPORT),
    "/tag/daily/activity/aggregated/model_top_keys": (_READ, _EXPORT),
    "/tag/daily/activity/aggregated/search": (_READ, _EXPORT),
    "/tag/daily/activity/export": (_READ, _EXPORT),
    "/tag/dau": (_READ, _NO_AGENTS),
    "/tag/wau": (_READ, _NO_AGENTS),
    "/tag/mau": (_READ, _NO_AGENTS),
    "/tag/distinct": (_READ, "Use GET /global/spend/all_tag_names."),
    "/tag/summary": (_READ, _NO_AGENTS),
    "/tag/user-agent/per-user-analytics": (_READ, _NO_AGENTS),
    "/model/deprecations": (_READ, "When providers retire models is not recorded."),
    "/v1/model/deprecations": (_READ, "When providers retire models is not recorded."),
    "/model/{model_id:str}/kubernetes_pods": (_READ, "Models are addresses; what runs behind them is not known."),
    "/model_group/make_public": (_WRITE, "Models are shown to those who have a key: GET /v1/models."),
    "/spend/capture_rate": (_READ, "Every call is in the ledger; what could not be written is in the metrics."),
    "/spend/logs/ui": (_READ, _LOGS),
    "/spend/logs/ui/{request_id:str}": (_READ, _LOGS),
    "/spend/logs/session/ui": (_READ, _LOGS),
    "/global/spend/end_users": (_WRITE, _CUSTOMERS),
    "/global/spend/refresh": (_WRITE, "Nothing needs it: the sums that reports read are kept with every call."),
    "/global/all_end_users": (_READ, _CUSTOMERS),
    "/global/activity/cache_hits": (_READ, _NO_CACHE),
    "/global/activity/exceptions": (_READ, _FAILURES),
    "/global/activity/exceptions/deployment": (_READ, _FAILURES),
    "/model/metrics": (_READ, _LATENCIES),
    "/model/metrics/exceptions": (_READ, _FAILURES),
    "/model/metrics/slow_responses": (_READ, _LATENCIES),
    "/model/streaming_metrics": (_READ, _LATENCIES),
    "/model/settings": (_READ, "What a provider needs is in the documentation of the configuration."),
    "/model/cost_map/source": (_READ, _COST_MAP),
    "/reload/model_cost_map": (_WRITE, _COST_MAP),
    "/schedule/model_cost_map_reload": ([_DELETE, _POST], _COST_MAP),
    "/schedule/model_cost_map_reload/status": (_READ, _COST_MAP),
    "/users/me": (_READ, "Use GET /user/info, which without `user_id` is about the caller."),
    "/invitation/new": (_WRITE, _NO_INVITATIONS),
    "/invitation/update": (_WRITE, _NO_INVITATIONS),
    "/invitation/delete": (_WRITE, _NO_INVITATIONS),
    "/invitation/info": (_READ, _NO_INVITATIONS),
    "/onboarding/get_token": (_READ, _NO_INVITATIONS),
    "/onboarding/claim_token": (_WRITE, _NO_INVITATIONS),
    "/login": (_WRITE, _NO_LOGIN),
    "/v2/login": (_WRITE, _NO_LOGIN),
    "/v3/login": (_WRITE, _NO_LOGIN),
    "/v3/login/exchange": (_WRITE, _NO_LOGIN),
    "/sso/key/generate": (_READ, _NO_LOGIN),
    "/sso/callback": (_READ, _NO_LOGIN),
    "/queue/chat/completions": (_WRITE, "Use POST /v1/chat/completions: there is no queue before it."),
    "/config/update": (_WRITE, _IN_FILE),
    "/config/field/update": (_WRITE, _IN_FILE),
    "/config/field/delete": (_WRITE, _IN_FILE),
    "/config/field/info": (_READ, _IN_FILE),
    "/config/list": (_READ, _IN_FILE),
    "/config/yaml": (_READ, _IN_FILE),
    "/get/config/callbacks": (_READ, _NO_CALLBACKS),
    "/project/new": (_WRITE, _NO_PROJECTS),
    "/project/update": (_WRITE, _NO_PROJECTS),
    "/project/delete": ([_DELETE], _NO_PROJECTS),
    "/project/info": (_READ, _NO_PROJECTS),
    "/project/list": (_READ, _NO_PROJECTS),
    "/credentials/by_model/{model_id:str}": (_READ, "GET /model/info says which credential a stored model has."),
    "/credentials/migrate-encryption": (_WRITE, "Credentials are sealed with one key, which is not changed in place."),
    "/credentials/migrate-encryption/check": (
        _READ,
        "Credentials are sealed with one key, which is not changed in place.",
    ),
    "/credentials/user_connections": (_READ, _NO_CONNECTION),
    "/credentials/{credential_name:str}/jwks": (_READ, _NO_JWT),
    "/credentials/{credential_name:str}/user_connection": ([_DELETE], _NO_CONNECTION),
    "/credentials/{credential_name:str}/user_connection/poll": (_WRITE, _NO_CONNECTION),
    "/credentials/{credential_name:str}/user_connection/start": (_WRITE, _NO_CONNECTION),
    "/cache/delete": (_WRITE, _NO_CACHE),
    "/cache/flushall": (_WRITE, _NO_CACHE),
    "/cache/redis/info": (_READ, _NO_CACHE),
    "/cache/settings": ([_GET, _POST], _NO_CACHE),
    "/cache/settings/test": (_WRITE, _NO_CACHE),
    "/health": (_READ, _PING),
    "/health/deployment_warnings": (_READ, "What the configuration was warned of is in the log of the start."),
    "/health/deployment_warnings/{warning_id:str}": (
        [_PATCH],
        "What the configuration was warned of is in the log of the start.",
    ),
    "/health/drain": (_READ, "SIGTERM drains; /health/readiness answers 503 from then on."),
    "/health/history": (_READ, _PING),
    "/health/latest": (_READ, _PING),
    "/health/license": (_READ, _NO_LICENSE),
    "/health/readiness/details": (_READ, "Use /health/readiness, and /metrics for what is behind it."),
    "/health/services": (_READ, _PING),
    "/health/shared-status": (_READ, _PING),
    "/health/test_connection": (_WRITE, _PING),
    "/access_group/list": (_READ, _NO_ACCESS_GROUPS),
    "/access_group/new": (_WRITE, _NO_ACCESS_GROUPS),
    "/access_group/{access_group:str}/budget": ([_DELETE, _GET, _PUT], _NO_ACCESS_GROUPS),
    "/access_group/{access_group:str}/delete": ([_DELETE], _NO_ACCESS_GROUPS),
    "/access_group/{access_group:str}/info": (_READ, _NO_ACCESS_GROUPS),
    "/access_group/{access_group:str}/update": ([_PUT], _NO_ACCESS_GROUPS),
    "/jwt/key/mapping/new": (_WRITE, _NO_JWT),
    "/jwt/key/mapping/update": (_WRITE, _NO_JWT),
    "/jwt/key/mapping/delete": (_WRITE, _NO_JWT),
    "/jwt/key/mapping/info": (_READ, _NO_JWT),
    "/jwt/key/mapping/list": (_READ, _NO_JWT),
    "/fallback": (_WRITE, _FALLBACKS),
    "/fallback/{model:str}": ([_DELETE, _GET], _FALLBACKS),
    "/utils/dotprompt_json_converter": (_WRITE, "There are no stored prompts."),
    "/utils/model_info": (_READ, "Use GET /model/info or /model_group/info."),
    "/utils/supported_openai_params": (
        _READ,
        "A parameter that a provider cannot express is refused by name when it is used, unless `drop_params` is set.",
    ),
    "/utils/test_policies_and_guardrails": (_WRITE, "There are no guardrails."),
    "/utils/transform_request": (_WRITE, "What goes to a provider is made while it is sent, and is not shown."),
    "/provider/budgets": (_READ, "Budgets are of keys, teams and their like, not of providers."),
    "/cost/estimate": (_WRITE, "Use POST /spend/calculate."),
    "/cost/predict-cache": (_WRITE, "Use POST /spend/calculate."),
    "/callbacks/configs": (_READ, _NO_CALLBACKS),
    "/callbacks/list": (_READ, _NO_CALLBACKS),
    "/config/block_requests_for_models_without_pricing": ([_GET, _PATCH], _IN_FILE),
    "/config/cost_discount_config": ([_GET, _PATCH], _IN_FILE),
    "/config/cost_margin_config": ([_GET, _PATCH], _IN_FILE),
    "/config/pass_through_endpoint": ([_DELETE, _GET, _POST], _NO_PASSTHROUGH),
    "/config/pass_through_endpoint/team/{team_id:str}": (_READ, _NO_PASSTHROUGH),
    "/config/pass_through_endpoint/{endpoint_id:str}": (_WRITE, _NO_PASSTHROUGH),
    "/settings": (_READ, _IN_FILE),
    "/v2/guardrails/list": (_READ, "There are no guardrails."),
}
"""By path: methods, and what to do instead."""
_PING_CACHE = "/cache/ping"
PATHS = frozenset({_PING_CACHE, *(path.replace(":str", "") for path in ABSENT)})
"""As a list of routes has them, which names none of these."""


def _handler(path: str, methods: list[HttpMethod], instead: str) -> HTTPRouteHandler:
    @route(
        path,
        http_method=methods,
        access=Access.ADMIN,
        any_query=True,
        name=f"absent {path}",
        status_code=200,
        include_in_schema=False,
    )
    async def absent(request: Request[Any, Any, Any]) -> None:
        raise ApiError(501, f"{request.url.path} is not available here. {instead}", type="not_implemented_error")

    return absent


@get(_PING_CACHE, access=Access.ADMIN, any_query=True, include_in_schema=False)
async def ping_cache() -> None:
    """LiteLLM's answer when it has no cache: 503 `cache_ping_error`."""
    raise ApiError(503, f"Cache not initialized. {_NO_CACHE}", type="cache_ping_error")


HANDLERS = [ping_cache, *(_handler(path, methods, instead) for path, (methods, instead) in ABSENT.items())]
