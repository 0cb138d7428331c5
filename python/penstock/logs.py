"""Logs: one JSON object per line on standard output, for our own records, the data plane's, Granian's and Litestar's.

Apart from `logging` set-ups of libraries so that one redaction rule covers every line that leaves the process.
"""

from __future__ import annotations

import atexit
import json
import logging
import queue
import re
import sys
import time
from logging.handlers import QueueHandler, QueueListener
from typing import Any

_WAITING = 10_000
"""Records that may wait for the output; further ones are dropped and counted."""
LEVELS = ("debug", "info", "warning", "error", "critical")

_SECRETS = (
    (re.compile(r"\b(sk-)[A-Za-z0-9_\-]{4,}"), r"\1***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{4,}"), r"\1 ***"),
    (re.compile(r"(?i)((?:api[_-]?key|secret|password|authorization)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]{4,}"), r"\1***"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def redact(text: str) -> str:
    """Replace whatever looks like a credential."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class JsonFormatter(logging.Formatter):
    """`{"ts", "level", "logger", "message", ...}` where the rest are the record's extra fields (`event`, `call_id`, ...)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; values that are not JSON become text."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "ts": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name.lstrip("_"),
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class _DropBrokenAnswers(logging.Filter):
    """Granian reports every answer that is broken off on purpose as an error of the application."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Exception caught after response started" not in record.getMessage()


class _Outbox(QueueHandler):
    """Hands records to the writing thread; drops and counts them when that one is stuck, so that nobody waits for a pipe."""

    def __init__(self, records: queue.Queue[Any]) -> None:
        super().__init__(records)
        self._records = records
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as it is: the formatter needs its fields and exception."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue one record, and a note of those that were lost before it."""
        try:
            if self._dropped:
                fields = {"event": "log.dropped", "count": self._dropped}
                note = logging.makeLogRecord(
                    {"name": "penstock", "levelno": logging.WARNING, "levelname": "WARNING", **fields}
                )
                note.msg = "log records were dropped because nobody reads the output"
                self._records.put_nowait(note)
                self._dropped = 0
            self._records.put_nowait(record)
        except queue.Full:
            self._dropped += 1


class _Writer(QueueListener):
    """Writes records on its own thread."""

    def stop(self) -> None:
        """Write what is queued, but wait for a stuck pipe no longer than a moment."""
        if (thread := self._thread) is not None:
            try:
                self.enqueue_sentinel()
            except queue.Full:
                return
            thread.join(timeout=2)
            self._thread = None


def configure(level: str) -> None:
    """Send every logger's records through :class:`JsonFormatter`; call it once per process."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    records: queue.Queue[Any] = queue.Queue(_WAITING)
    outbox = _Outbox(records)
    outbox.addFilter(_DropBrokenAnswers())
    writer = _Writer(records, handler)
    writer.start()
    atexit.register(writer.stop)
    root = logging.getLogger()
    root.handlers[:] = [outbox]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def granian_config() -> dict[str, Any]:
    """Granian replaces the logging configuration when it is built; this one hands its records to the root logger."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "incremental": False,
        "formatters": {},
        "handlers": {},
        "loggers": {
            "_granian": {"handlers": [], "propagate": True},
            "granian.access": {"handlers": [], "propagate": True},
        },
    }
