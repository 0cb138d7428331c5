"""`Chat.Session` frame by frame: a client that says what the test says and nothing else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Any, Self

import grpc

from penstock.client import _messages as pb
from penstock.client._calls import CHAT_SESSION
from tests.integration.grpc.calls import Details, Ended, Rpc, ended

Frame = pb.ChatSessionResponse


class Dialog:
    """A session that is under way; frames that were not asked for yet wait."""

    def __init__(self, rpc: Rpc, *, timeout: float | None = 60, metadata: Iterable[tuple[str, str]] = ()) -> None:
        self._out: queue.SimpleQueue[pb.ChatSessionRequest | None] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.seen: dict[int, list[Frame]] = {}
        """Frames by call, in the order in which they came."""
        self.order: list[tuple[str, int]] = []
        """Kinds and calls of all frames, in the order in which they came."""
        begin = rpc.channel.stream_stream(CHAT_SESSION.path, CHAT_SESSION.encode, CHAT_SESSION.decode)
        self.call: Any = begin(
            iter(self._out.get, None), timeout=timeout, metadata=tuple(rpc.metadata(more=tuple(metadata)))
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for frame in self.call:
                self._in.put(frame)
        except grpc.RpcError:
            pass
        self._in.put(None)

    def start(
        self,
        id: int,
        *,
        model: str = "wild/sim",
        tokens: int = 5,
        credit: int | None = None,
        timeout: float | None = None,
        text: str = "time river that",
        usage: bool = False,
        **tell: Any,
    ) -> None:
        """Begins a call; the simulator is told by the model's name."""
        control = ",".join(f"{name}={value}" for name, value in {"tokens": tokens, **tell}.items())
        request = pb.ChatCreateRequest(
            model=f"{model}/{control}" if model.startswith("wild/") else model,
            max_tokens=max(1, tokens),
            messages=[{"role": "user", "text": text}],
        )
        if usage:
            request.stream_options.include_usage = True
        start = pb.SessionStart(id=id, request=request)
        if credit is not None:
            start.credit = credit
        if timeout is not None:
            start.timeout.FromNanoseconds(round(timeout * 1e9))
        self.send(pb.ChatSessionRequest(start=start))

    def send(self, frame: pb.ChatSessionRequest) -> None:
        """Says something."""
        self._out.put(frame)

    def cancel(self, id: int) -> None:
        """Ends a call early."""
        self.send(pb.ChatSessionRequest(cancel=pb.SessionCancel(id=id)))

    def credit(self, id: int, count: int) -> None:
        """Lets a call go on."""
        self.send(pb.ChatSessionRequest(credit=pb.SessionCredit(id=id, credit=count)))

    def half_close(self) -> None:
        """Nothing more will be said."""
        self._out.put(None)

    def next(self, seconds: float = 30) -> Frame | None:
        """The next frame, None at the end; fails when none comes."""
        try:
            frame = self._in.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no frame within {seconds} s after {self.order[-20:]}") from None
        if frame is not None:
            kind = frame.WhichOneof("frame")
            id = getattr(getattr(frame, str(kind)), "id", 0)
            self.order.append((str(kind), id))
            self.seen.setdefault(id, []).append(frame)
        return frame

    def quiet(self, seconds: float = 0.3) -> None:
        """Fails when a frame comes."""
        try:
            frame = self._in.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"came although nothing may: {frame}")

    def until(self, kind: str, id: int = 0) -> Frame:
        """Reads to a frame of this kind and call."""
        while (frame := self.next()) is not None:
            if self.order[-1] == (kind, id):
                return frame
        raise AssertionError(f"the session ended without {kind} of {id}: {self.ended()} {self.order[-20:]}")

    def finish(self, id: int) -> list[Frame]:
        """All frames of a call, read to its last."""
        while not (found := self.seen.get(id)) or found[-1].WhichOneof("frame") not in ("done", "error"):
            assert self.next() is not None, f"the session ended without the end of {id}: {self.ended()}"
        return found

    def words(self, id: int) -> list[str]:
        """The text of a call so far."""
        deltas = (frame.delta.chunk.choices for frame in self.seen.get(id, []) if frame.WhichOneof("frame") == "delta")
        return [choice.delta.content for choices in deltas for choice in choices if choice.delta.content]

    def count(self, id: int) -> int:
        """Deltas of a call so far."""
        return sum(frame.WhichOneof("frame") == "delta" for frame in self.seen.get(id, []))

    def kinds(self, id: int) -> list[str]:
        """Frames of a call so far."""
        return [kind for kind, of in self.order if of == id]

    def call_id(self, id: int) -> str:
        """In the gateway's records."""
        found: dict[str, str] = {}
        for frame in self.seen[id]:
            match frame.WhichOneof("frame"):
                case "opened":
                    found.update(frame.opened.metadata)
                case "done":
                    found.update(frame.done.metadata)
                case "error":
                    found.update(frame.error.metadata)
        return found["x-penstock-call-id"]

    def error(self, id: int) -> Details:
        """What a call failed with."""
        last = self.finish(id)[-1]
        assert last.WhichOneof("frame") == "error", last
        return Details.read(last.error.status.SerializeToString())

    def ended(self, seconds: float = 30) -> Ended[Any]:
        """The end of the session itself; frames that were not read are read."""
        while self.next(seconds) is not None:
            pass
        self._reader.join(20)
        return ended(self.call)

    def close(self) -> None:
        """Cancels the session."""
        self.call.cancel()
        self._out.put(None)
        self._reader.join(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
