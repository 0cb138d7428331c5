"""One error type for the control plane, and the one table that turns every failure into a response.

Exception
+-- ApiError            refused by the gateway, on purpose, with words for the client
+-- litestar's HTTPException
    +-- NotFoundException, MethodNotAllowedException   no such route: LiteLLM's `{"detail": ...}`
    +-- ValidationException, SerializationException    the body or the query does not fit
"""

from __future__ import annotations

import difflib
import logging
import re
from typing import Any, get_args

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)
from litestar.params import ParameterKwarg

from penstock.choices import choices_at
from penstock.persistence import DatabaseUnavailable

logger = logging.getLogger("penstock.http")

_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]+)`")
_ABSENT_FIELD = re.compile(r"missing required field `([^`]+)`")
_NO_CHOICE = re.compile(r"^Invalid enum value ('[^']*'|\S+)")
_FIELD_PATH = re.compile(r"\s*-\s*at `\$\.?([^`]*)`$")
_BODY = "request_body"
_WANTED = "The request must have a JSON object as its body"
_NO_BODY = "'data'"
"""What the framework says when a handler wants a body and there is none."""
_ABSENT_PARAMETER = re.compile(r"Missing required query parameter '([^']+)'")
_TYPES = {401: "auth_error", 403: "permission_error", 404: "not_found_error", 429: "throttling_error"}


class ApiError(Exception):
    """A refusal in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, `code` being the status as text."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or _TYPES.get(status, "invalid_request_error" if status < 500 else "internal_server_error")
        self.param = param
        self.headers = headers or {}


def bad_request(message: str, param: str | None = None) -> ApiError:
    """400 with the offending field's name."""
    return ApiError(400, message, param=param)


def error_body(status: int, message: str, type: str, param: str | None = None) -> dict[str, Any]:
    """The JSON object that OpenAI's and LiteLLM's clients parse."""
    return {"error": {"message": message, "type": type, "param": param, "code": str(status)}}


def refusal(error: ApiError) -> Response[Any]:
    """The answer that an error becomes."""
    return Response(
        error_body(error.status, error.message, error.type, error.param),
        status_code=error.status,
        headers=error.headers,
        media_type=MediaType.JSON,
    )


def _detail(status: int, text: str, headers: dict[str, str] | None = None) -> Response[Any]:
    return Response({"detail": text}, status_code=status, headers=headers or {}, media_type=MediaType.JSON)


def _body_kind(request: Request[Any, Any, Any]) -> Any:
    field = request.route_handler.parsed_data_field
    return None if field is None else field.annotation


def _known_fields(kind: Any) -> tuple[str, ...]:
    for annotation in (kind, *get_args(kind)):
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return annotation.__struct_encode_fields__
    return ()


def explain(message: str, kind: Any, at: str = "", called: str | None = None) -> tuple[str, str | None]:
    """msgspec's words about a value of a type, with the field's path as `param`, and what would do: a misspelt or missing field's
    name, what there is to choose from. ``at`` and ``called``: where the value is and its `param`, when the words do not say."""
    path = _FIELD_PATH.search(message)
    param = (path[1] or called) if path else called
    text = _FIELD_PATH.sub("", message)
    if (unknown := _UNKNOWN_FIELD.search(message)) is not None:
        name = unknown[1]
        near = difflib.get_close_matches(name, _known_fields(kind), n=1)
        return f"Unknown field `{name}`." + (f" Did you mean `{near[0]}`?" if near else ""), name
    if (absent := _ABSENT_FIELD.search(message)) is not None:
        name = f"{param}.{absent[1]}" if param else absent[1]
        return f"`{name}` is missing: add it", name
    if (choice := _NO_CHOICE.search(message)) is not None and (choices := choices_at(kind, path[1] if path else at)):
        text = f"must be one of {', '.join(choices)}, not {choice[1]}"
    return (f"`{param}`: {text}" if param else text), param


def _fault(request: Request[Any, Any, Any], message: str, key: str | None) -> tuple[str, str | None]:
    """Words and `param` for one of the framework's complaints; `key` is a parameter, a place in the body, or `data` for all of it."""
    if message == _NO_BODY:
        return _WANTED, _BODY
    asked = request.route_handler.parsed_fn_signature.parameters.get(key) if key not in (None, "data") else None
    if asked is not None:
        named = asked.kwarg_definition.name if isinstance(asked.kwarg_definition, ParameterKwarg) else None
        return explain(message, asked.annotation, "", named or key)
    place = key if key != "data" else None
    text, param = explain(message, _body_kind(request), place or "", place)
    return (text, param) if param is not None or key is None else (f"{_WANTED}: {text}", _BODY)


def _validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    items = [item for item in error.extra if isinstance(item, dict)] if isinstance(error.extra, list) else []
    faults = [_fault(request, str(item.get("message", "")), item.get("key")) for item in items]
    messages = [text for text, _ in faults]
    first = next((param for _, param in faults if param is not None), None)
    absent = _ABSENT_PARAMETER.search(error.detail)
    if not messages and absent is not None:
        first = absent[1]
        messages.append(f"`{first}` is missing: add it to the query")
    return refusal(bad_request("; ".join(messages) or "The request does not fit this endpoint.", first))


def _not_found(_: Request[Any, Any, Any], __: NotFoundException) -> Response[Any]:
    return _detail(404, "Not Found")


def _not_allowed(_: Request[Any, Any, Any], error: MethodNotAllowedException) -> Response[Any]:
    allow = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return _detail(405, "Method Not Allowed", allow)


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, SerializationException | msgspec.DecodeError):
        return _serialization(request, cause)
    status = error.status_code
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "internal_server_error")
    return refusal(ApiError(status, error.detail or "The request cannot be answered.", type=kind))


def _serialization(request: Request[Any, Any, Any], error: BaseException) -> Response[Any]:
    cause = error.__cause__ if isinstance(error, SerializationException) else error
    if isinstance(cause, msgspec.ValidationError):
        return refusal(bad_request(*explain(str(cause), _body_kind(request))))
    return refusal(bad_request(f"Invalid JSON payload: {cause or error}", _BODY))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    logger.error(
        "unhandled error",
        exc_info=error,
        extra={"event": "http.error", "route": request.url.path, "method": request.method},
    )
    return refusal(ApiError(500, "Internal error; the gateway's log has the details."))


def _unavailable(_: Request[Any, Any, Any], error: DatabaseUnavailable) -> Response[Any]:
    logger.error("the database does not answer", extra={"event": "http.database", "reason": str(error)})
    return refusal(ApiError(503, "The database does not answer; try again.", headers={"retry-after": "1"}))


def _too_deep(_: Request[Any, Any, Any], __: RecursionError) -> Response[Any]:
    # Nothing here recurses but the JSON decoder, on what the client nested.
    return refusal(bad_request("Invalid JSON payload: it is nested too deeply", _BODY))


def _refusal(_: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    return refusal(error)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: _refusal,
    DatabaseUnavailable: _unavailable,
    NotFoundException: _not_found,
    MethodNotAllowedException: _not_allowed,
    ValidationException: _validation,
    SerializationException: _serialization,
    HTTPException: _http,
    RecursionError: _too_deep,
    Exception: _unexpected,
}
