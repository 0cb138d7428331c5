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
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)

from penstock.persistence import DatabaseUnavailable

logger = logging.getLogger("penstock.http")

_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]+)`")
_FIELD_PATH = re.compile(r"\s*-\s*at `\$\.?([^`]*)`$")
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


def _response(error: ApiError) -> Response[Any]:
    return Response(
        error_body(error.status, error.message, error.type, error.param),
        status_code=error.status,
        headers=error.headers,
        media_type=MediaType.JSON,
    )


def _detail(status: int, text: str, headers: dict[str, str] | None = None) -> Response[Any]:
    return Response({"detail": text}, status_code=status, headers=headers or {}, media_type=MediaType.JSON)


def _known_fields(request: Request[Any, Any, Any]) -> tuple[str, ...]:
    field = request.route_handler.parsed_data_field
    if field is None:
        return ()
    for annotation in (field.annotation, *(inner.annotation for inner in field.inner_types)):
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return annotation.__struct_encode_fields__
    return ()


def explain(message: str, known: tuple[str, ...]) -> tuple[str, str | None]:
    """msgspec's words, with the field's path as `param` and a suggestion for a misspelt name."""
    path = _FIELD_PATH.search(message)
    param = (path[1] or None) if path else None
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown is None:
        text = _FIELD_PATH.sub("", message)
        return (f"`{param}`: {text}" if param else text), param
    name = unknown[1]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return f"Unknown field `{name}`.{hint}", name


def _validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    messages: list[str] = []
    first: str | None = None
    for item in error.extra if isinstance(error.extra, list) else []:
        if not isinstance(item, dict):
            continue
        text, param = explain(str(item.get("message", "")), _known_fields(request))
        key = item.get("key")
        if param is None and isinstance(key, str) and key != "data":
            param, text = key, f"`{key}`: {text}"
        first = first or param
        messages.append(text)
    return _response(bad_request("; ".join(messages) or "The request does not fit this endpoint.", first))


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
    return _response(ApiError(status, error.detail or "The request cannot be answered.", type=kind))


def _serialization(request: Request[Any, Any, Any], error: BaseException) -> Response[Any]:
    cause = error.__cause__ if isinstance(error, SerializationException) else error
    if isinstance(cause, msgspec.ValidationError):
        return _response(bad_request(*explain(str(cause), _known_fields(request))))
    return _response(bad_request(f"Invalid JSON payload: {cause or error}", "request_body"))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    logger.error(
        "unhandled error",
        exc_info=error,
        extra={"event": "http.error", "route": request.url.path, "method": request.method},
    )
    return _response(ApiError(500, "Internal error; the gateway's log has the details."))


def _unavailable(_: Request[Any, Any, Any], error: DatabaseUnavailable) -> Response[Any]:
    logger.error("the database does not answer", extra={"event": "http.database", "reason": str(error)})
    return _response(ApiError(503, "The database does not answer; try again.", headers={"retry-after": "1"}))


def _too_deep(_: Request[Any, Any, Any], __: RecursionError) -> Response[Any]:
    # Nothing here recurses but the JSON decoder, on what the client nested.
    return _response(bad_request("Invalid JSON payload: it is nested too deeply", "request_body"))


def _refusal(_: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    return _response(error)


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
