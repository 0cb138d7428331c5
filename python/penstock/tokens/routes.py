"""`POST /utils/token_counter`, in LiteLLM's shape."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import post
from litestar.params import JSONBody

from penstock.access import Access
from penstock.engine.current import CurrentRuntime
from penstock.errors import bad_request
from penstock.models.service import resolve


class TokenCountRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Either `prompt` or `messages`."""

    model: str
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    """Counted together with `messages`."""


@post("/utils/token_counter", access=Access.KEY, group="openai_routes", status_code=200)
async def token_counter(runtime: CurrentRuntime, data: JSONBody[TokenCountRequest]) -> dict[str, Any]:
    """Prompt tokens, equal to what admission would count for the same request."""
    from penstock import _core

    if data.prompt is None and data.messages is None:
        raise bad_request("`prompt` or `messages` must be given", "messages")
    resolution = resolve(runtime.snapshot, data.model)
    upstream = data.model
    if resolution.deployments:
        upstream = resolution.deployments[0].model.replace("*", resolution.wildcard)
    body: dict[str, Any] = {"model": data.model}
    if data.messages is not None:
        body["messages"] = data.messages
        if data.tools is not None:
            body["tools"] = data.tools
    else:
        body["prompt"] = data.prompt
    try:
        total = _core.count_request_tokens(msgspec.json.encode(body), upstream)
    except ValueError as error:
        raise bad_request(f"The tokens cannot be counted: {error}", "messages") from error
    return {
        "total_tokens": total,
        "request_model": data.model,
        "model_used": upstream,
        "tokenizer_type": "openai_tokenizer",
    }


HANDLERS = [token_counter]
