"""A gateway in this process that speaks the protocol and answers as a test tells it to.

Judges the client alone: what it sends, and what it makes of each kind of answer. The real gateway is met by the
integration tests.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details

from penstock.client import _calls as calls
from penstock.client import _messages as pb

Behaviour = Callable[[Any, Any], Any]
UNARY: dict[str, type[Message]] = {
    calls.CHAT_CREATE.path: pb.ChatCreateRequest,
    calls.COMPLETIONS_CREATE.path: pb.CompletionsCreateRequest,
    calls.EMBEDDINGS_CREATE.path: pb.EmbeddingsCreateRequest,
    calls.RESPONSES_CREATE.path: pb.ResponsesCreateRequest,
    calls.MODELS_LIST.path: pb.ModelsListRequest,
    calls.MODELS_GET.path: pb.ModelsGetRequest,
    calls.TOKENS_COUNT.path: pb.TokensCountRequest,
    calls.GATEWAY_INFO.path: pb.GatewayInfoRequest,
}
STREAMS: dict[str, type[Message]] = {
    calls.CHAT_STREAM.path: pb.ChatCreateRequest,
    calls.COMPLETIONS_STREAM.path: pb.CompletionsCreateRequest,
    calls.RESPONSES_STREAM.path: pb.ResponsesCreateRequest,
}


class Gateway(grpc.GenericRpcHandler):
    """Answers each method with the behaviour set for its path; records what came."""

    def __init__(self, credentials: Any = None) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.remaining: list[float] = []
        self.cancelled = threading.Event()
        self.session = SessionScript()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16))
        self._server.add_generic_rpc_handlers((self,))
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    @property
    def target(self) -> str:
        """For a client."""
        return f"grpc://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Ends it, and every call."""
        self._server.stop(grace=None).wait()

    def service(self, handler_call_details: Any) -> Any:
        """grpcio asks here who handles a path."""
        path = handler_call_details.method
        if path == calls.CHAT_SESSION.path:
            return grpc.stream_stream_rpc_method_handler(
                self.session.run,
                request_deserializer=pb.ChatSessionRequest.FromString,
                response_serializer=pb.ChatSessionResponse.SerializeToString,
            )
        is_stream = path in STREAMS
        make: Any = grpc.unary_stream_rpc_method_handler if is_stream else grpc.unary_unary_rpc_method_handler
        return make(
            lambda request, context: self._answer(path, request, context),
            request_deserializer=(STREAMS if is_stream else UNARY)[path].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def _answer(self, path: str, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.metadata.append({item.key: item.value for item in context.invocation_metadata()})
        self.remaining.append(context.time_remaining())
        if not context.add_callback(lambda: self.cancelled.set() if not context.is_active() else None):
            # Over before anybody could look at it.
            self.cancelled.set()
        return self.behaviours[path](request, context)


async def until(met: Callable[[], object]) -> None:
    """Waits for what only the client or the gateway knows."""
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 - they tell nobody else
            await asyncio.sleep(0.01)


class SessionScript:
    """Answers each call of a session with `chunks` chunks, as its credit allows."""

    def __init__(self) -> None:
        self.chunks = 3
        self.opened: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        """Of each session."""
        self.cancels: list[int] = []
        self.sent: dict[int, int] = {}
        self.fail: set[str] = set()
        """Models whose calls end with an error."""
        self.stall: set[str] = set()
        """Models whose calls never answer."""
        self.paused = threading.Event()
        """Set when a call has run out of credit."""

    def run(self, frames: Iterator[Any], context: Any) -> Iterator[Any]:
        """The whole session: input from a thread, so that credits arrive while chunks wait."""
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.metadata.append({item.key: item.value for item in context.invocation_metadata()})

        def read() -> None:
            try:
                for frame in frames:
                    inbox.put(frame)
            except grpc.RpcError:
                pass
            inbox.put(None)

        threading.Thread(target=read, daemon=True).start()
        credit: dict[int, int] = {}
        while (frame := inbox.get()) is not None:
            match frame.WhichOneof("frame"):
                case "start":
                    start = frame.start
                    self.opened.append(start)
                    credit[start.id], self.sent[start.id] = start.credit, 0
                    if start.request.model in self.fail:
                        yield error_frame(start.id)
                        del credit[start.id]
                        continue
                    yield pb.ChatSessionResponse(
                        opened={"id": start.id, "metadata": {"x-penstock-call-id": f"call-{start.id}"}}
                    )
                    if start.request.model in self.stall:
                        del credit[start.id]
                case "cancel":
                    self.cancels.append(frame.cancel.id)
                    credit.pop(frame.cancel.id, None)
                case "credit":
                    if frame.credit.id in credit:
                        credit[frame.credit.id] += frame.credit.credit
            yield from self._send(credit)

    def _send(self, credit: dict[int, int]) -> Iterator[Any]:
        for id in list(credit):
            while credit[id] and self.sent[id] < self.chunks:
                credit[id] -= 1
                yield pb.ChatSessionResponse(delta={"id": id, "chunk": chunk(f"{id}:{self.sent[id]}")})
                self.sent[id] += 1
            if self.sent[id] == self.chunks:
                del credit[id]
                yield pb.ChatSessionResponse(done={"id": id, "metadata": {"x-penstock-cost-usd": "0.5"}})
            else:
                self.paused.set()


def chunk(text: str) -> pb.ChatStreamResponse:
    """A chunk of an answer."""
    return pb.ChatStreamResponse(id="a", created=1, model="m", choices=[{"index": 0, "delta": {"content": text}}])


def answer(text: str) -> pb.ChatCreateResponse:
    """An answer."""
    return pb.ChatCreateResponse(
        id="a",
        created=1,
        model="m",
        choices=[{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    )


def status(code: grpc.StatusCode, message: str, *items: Message) -> pb.SessionStatus:
    """`google.rpc.Status` with details."""
    packed = []
    for item in items:
        held = AnyMessage()
        held.Pack(item)
        packed.append(held)
    return pb.SessionStatus(code=code.value[0], message=message, details=packed)


def error_info(reason: str, **metadata: str) -> Message:
    """What says Penstock's code."""
    info: Message = details.ErrorInfo(reason=reason, domain="penstock", metadata=metadata)
    return info


def retry_info(milliseconds: int) -> Message:
    """What says when to try again."""
    info = details.RetryInfo()
    info.retry_delay.FromMilliseconds(milliseconds)
    message: Message = info
    return message


def error_frame(id: int) -> pb.ChatSessionResponse:
    """The end of a session's call that failed."""
    failure = status(grpc.StatusCode.NOT_FOUND, "no such model", error_info("MODEL_NOT_FOUND", code="model_not_found"))
    return pb.ChatSessionResponse(error={"id": id, "status": failure})


def fail(
    context: Any, code: grpc.StatusCode, message: str, *items: Message, trailing: tuple[tuple[str, str], ...] = ()
) -> Any:
    """Ends a call with details, as the gateway does."""
    binary = ("grpc-status-details-bin", status(code, message, *items).SerializeToString())
    context.set_trailing_metadata((*trailing, binary) if items else trailing)
    context.abort(code, message)
