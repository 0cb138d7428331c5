"""What a call can end with, other than an answer.

    PenstockError
    |-- ConfigurationError          the client was set up wrongly; no call was made
    `-- CallError                   a call failed
        |-- InvalidRequest          the request is wrong or too large, or asks for what is not offered
        |-- AuthenticationError     no key, or none that is valid
        |-- PermissionDenied        the key may not do this
        |-- NotFound                no such model
        |-- RateLimited             too many requests, tokens or calls in flight
        |   `-- BudgetExceeded      the budget is used up; waiting does not help soon
        |-- DeadlineExceeded        the time given to the call is over
        |-- Cancelled               the call was cancelled
        |-- Unavailable             the gateway cannot be reached, is draining, or no deployment is free
        `-- ServerError             the provider or the gateway failed

The classes follow from the gRPC status, which for a message that is too large is that of a quota; everything else is
read from the `google.rpc` details that come with it.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2

from penstock.client._messages import SessionStatus

DOMAIN: Final = "penstock"
"""Of `google.rpc.ErrorInfo`: says that reason and metadata are Penstock's."""
_DETAILS: Final = "grpc-status-details-bin"
_PUSHBACK: Final = "grpc-retry-pushback-ms"
_CALL_ID: Final = "x-penstock-call-id"


class PenstockError(Exception):
    """Base of all errors of the client."""


class ConfigurationError(PenstockError):
    """The client was set up wrongly; the message names the argument and the fix."""


class CallError(PenstockError):
    """A call failed."""

    def __init__(
        self,
        status: grpc.StatusCode,
        message: str,
        *,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        source: str | None = None,
        status_code: int | None = None,
        retry_after: float | None = None,
        may_retry: bool | None = None,
        request_id: str | None = None,
        quota: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """The gRPC status."""
        self.message = message
        """For people; names the field and the fix."""
        self.code = code
        """Penstock's code, as in the `code` of a REST error; None when the error is not the gateway's own."""
        self.type = type
        """OpenAI's `type`."""
        self.param = param
        """The request field at fault."""
        self.source = source
        """Who is to blame: `client`, `gateway` or `upstream`."""
        self.status_code = status_code
        """The HTTP status that a REST call would have had."""
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""
        self.may_retry = may_retry
        """False: the server asked not to try again. None: it did not say."""
        self.request_id = request_id
        """The call's id in the gateway's records (`x-penstock-call-id`)."""
        self.quota = tuple(quota)
        """Which limits are used up, in words."""
        self.metadata = dict(metadata or {})
        """Trailing metadata."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles of exceptions are made from `args`, and there the status is not.
        return copyreg.__newobj__, (type(self), *self.args), {**self.__dict__, "metadata": dict(self.metadata)}  # type: ignore[attr-defined]


class InvalidRequest(CallError):
    """The request is wrong, or asks for what is not offered; or a message, the answer included, is too large."""


class AuthenticationError(CallError):
    """No key was sent, or none that is valid."""


class PermissionDenied(CallError):
    """The key may not do this."""


class NotFound(CallError):
    """No such model, or none that the key may see."""


class RateLimited(CallError):
    """Too many requests, tokens or calls in flight."""


class BudgetExceeded(RateLimited):
    """The budget is used up."""


class DeadlineExceeded(CallError):
    """The time given to the call is over."""


class Cancelled(CallError):
    """The call was cancelled."""


class Unavailable(CallError):
    """The gateway cannot be reached, is draining, or no deployment is free."""


class ServerError(CallError):
    """The provider or the gateway failed."""


_CLASSES: Final[dict[grpc.StatusCode, type[CallError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def from_status(
    status: grpc.StatusCode,
    message: str | None,
    trailing: Iterable[tuple[str, str | bytes]],
    initial: Mapping[str, str],
) -> CallError:
    """The error of a call of its own: status and metadata as grpcio gives them."""
    texts = {name: value for name, value in trailing if isinstance(value, str)}
    binary = next((value for name, value in trailing if name == _DETAILS and isinstance(value, bytes)), b"")
    try:
        details = SessionStatus.FromString(binary)
    except DecodeError:
        # What stands between client and gateway can garble metadata; the status itself is still known.
        details = SessionStatus()
    text = message or status.name
    hint = _connection_hint(text) if status is grpc.StatusCode.UNAVAILABLE else ""
    return _build(status, text + hint, details, {**initial, **texts})


def _connection_hint(message: str) -> str:
    """What grpcio's words for a connection that failed mostly mean when one side speaks TLS and the other does not."""
    if "WRONG_VERSION_NUMBER" in message:
        return ". The server answered without TLS: for a plaintext port the address is grpc://"
    if "; last error: " in message and message.endswith(": Socket closed"):
        return ". The server closed the connection at once: for a port that speaks TLS the address is grpcs://"
    return ""


def from_session(status: SessionStatus, metadata: Mapping[str, str]) -> CallError:
    """The error of one call of a session."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _build(code, status.message or code.name, status, metadata)


def _build(status: grpc.StatusCode, message: str, details: SessionStatus, metadata: Mapping[str, str]) -> CallError:
    code = type_name = param = source = None
    http: int | None = None
    retry_after: float | None = None
    quota: list[str] = []
    for detail in details.details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        failure = error_details_pb2.QuotaFailure()
        request = error_details_pb2.BadRequest()
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                told = info.metadata
                code = told.get("code") or info.reason.lower()
                type_name, source = told.get("type"), told.get("source")
                param = param or told.get("param")
                http = int(told["status"]) if told.get("status", "").isdecimal() else None
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            elif detail.Unpack(failure):
                quota = [violation.description or violation.subject for violation in failure.violations]
            elif detail.Unpack(request) and request.field_violations:
                param = request.field_violations[0].field or param
        except DecodeError:
            continue
    pushback = _pushback(metadata.get(_PUSHBACK))
    kind = _CLASSES.get(status, ServerError)
    if kind is RateLimited:
        if code == "budget_exceeded":
            kind = BudgetExceeded
        elif _is_size(code, http, message):
            kind = InvalidRequest
    return kind(
        status,
        message,
        code=code,
        type=type_name,
        param=param,
        source=source,
        status_code=http,
        retry_after=pushback if pushback is not None and pushback >= 0 else retry_after,
        may_retry=None if pushback is None else pushback >= 0,
        request_id=metadata.get(_CALL_ID),
        quota=quota,
        metadata=metadata,
    )


def _is_size(code: str | None, http: int | None, message: str) -> bool:
    """Whether a message is too large: gRPC has the same status for it as for quotas, but waiting does not help.

    The words are those of the gRPC libraries, which say it without details: this process's own and any proxy's.
    """
    return http == 413 or code == "request_too_large" or (code is None and "larger than max" in message)


def _pushback(value: str | None) -> float | None:
    """Seconds; negative when the server asks not to try again, which by gRPC's rules is also what garbage means."""
    if value is None:
        return None
    return int(value) / 1000 if value.isdecimal() else -1.0
