"""Messages requests as a client of OpenAI's API would write them, and a form in which both can be compared.

A small converter of the tests' own: what the gateway makes of its output must be the request that it was made from.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

_NATIVE = ("thinking", "output_format", "output_config", "context_management", "mcp_servers", "container", "top_k")


def _blocks(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def is_expressible(request: Json) -> bool:
    """Whether it has the shape that the Messages API documents."""
    return "max_tokens" in request and all(isinstance(message, dict) for message in request.get("messages", [None]))


def _is_direct(call: Json) -> bool:
    """The model made the call itself, as it does when nothing is said."""
    return bool((call.get("caller") or {}).get("type", "direct") == "direct")


def _part(block: Json) -> Json:
    source = block.get("source") or {}
    if block["type"] == "image":
        url = source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"
        return {**{k: v for k, v in block.items() if k != "source"}, "type": "image_url", "image_url": {"url": url}}
    return block


def _assistant(content: list[Json]) -> Json:
    message: Json = {"role": "assistant", "content": None}
    own = []
    texts = []
    for block in content:
        match block["type"]:
            case "text":
                texts.append(block)
            case "thinking" | "redacted_thinking":
                message.setdefault("thinking_blocks", []).append(block)
            case "tool_use":
                function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                call = {"id": block["id"], "type": "function", "function": function}
                if not _is_direct(block):
                    call["provider_specific_fields"] = {"caller": block["caller"]}
                message.setdefault("tool_calls", []).append(call)
            case _:
                own.append(block)
    if own:
        message["provider_specific_fields"] = {"content_blocks": own}
    if texts:
        message["content"] = texts
    return message


def _user(content: list[Json]) -> list[Json]:
    messages = []
    rest = []
    for block in content:
        if block["type"] == "tool_result":
            message = {"role": "tool", "tool_call_id": block["tool_use_id"]}
            message["content"] = [_part(part) for part in _blocks(block.get("content"))]
            messages.append({**message, **{k: block[k] for k in ("is_error", "cache_control") if block.get(k)}})
        else:
            rest.append(_part(block))
    return [*messages, {"role": "user", "content": rest}] if rest else messages


def _tool(tool: Json) -> Json:
    if tool.get("type", "custom") != "custom":
        return tool
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {name: tool[name] for name in ("description", "strict") if name in tool}
    rest = {k: v for k, v in tool.items() if k not in {"name", "input_schema", "description", "strict", "type"}}
    return {"type": "function", "function": function, **rest}


def _choice(choice: Json) -> Any:
    match choice["type"]:
        case "tool":
            return {"type": "function", "function": {"name": choice["name"]}}
        case "any":
            return "required"
        case other:
            return other


def to_chat(request: Json, model: str) -> Json:
    """The same request in OpenAI's terms, and Anthropic's own where OpenAI has none."""
    messages: list[Json] = []
    if request.get("system"):
        messages.append({"role": "system", "content": _blocks(request["system"])})
    for message in request["messages"]:
        blocks = _blocks(message["content"])
        messages += [_assistant(blocks)] if message["role"] == "assistant" else _user(blocks)
    chat: Json = {"model": model, "messages": messages, "max_completion_tokens": request["max_tokens"]}
    chat |= {name: request[name] for name in ("temperature", "top_p", "stream") if name in request}
    chat |= {name: request[name] for name in _NATIVE if name in request}
    if "tools" in request:
        chat["tools"] = [_tool(tool) for tool in request["tools"]]
    if "tool_choice" in request:
        chat["tool_choice"] = _choice(request["tool_choice"])
        if request["tool_choice"].get("disable_parallel_tool_use"):
            chat["parallel_tool_calls"] = False
    if "stop_sequences" in request:
        chat["stop"] = request["stop_sequences"]
    if "service_tier" in request:
        chat["service_tier"] = {"standard_only": "default"}.get(request["service_tier"], request["service_tier"])
    return chat


def _plain(value: Any) -> Any:
    """Without members that say nothing: null, and marks of tool results that are false."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None and not (k == "is_error" and not v)}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _place(block: Json) -> int:
    """An assistant's message in OpenAI's terms keeps no order among text, calls and what only Anthropic has."""
    match block["type"]:
        case "thinking" | "redacted_thinking":
            return 0
        case "text":
            return 2
        case "tool_use":
            return 3
        case _:
            return 1


def normal(request: Json) -> Json:
    """A Messages request with everything spelled out that has a short form, and without what says the default."""
    found: Json = {name: value for name, value in request.items() if value is not None}
    found["stream"] = bool(request.get("stream"))
    found["system"] = _blocks(request.get("system"))
    found["messages"] = []
    for message in request["messages"]:
        content = _blocks(message["content"])
        content = [
            {**block, "content": _blocks(block.get("content"))} if block["type"] == "tool_result" else block
            for block in content
        ]
        if message["role"] == "assistant":
            content = [{k: v for k, v in block.items() if k != "caller" or not _is_direct(block)} for block in content]
            content.sort(key=_place)
        found["messages"].append({"role": message["role"], "content": _plain(content)})
    if "tools" in found:
        said = (("type", "custom"), ("strict", False))
        found["tools"] = [{k: v for k, v in tool.items() if (k, v) not in said} for tool in found["tools"]]
    return found
