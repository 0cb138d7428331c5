"""`penstock bench` from its checked arguments to its exit status."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Literal

from penstock.bench import files, results, tables, thresholds
from penstock.bench.asked import Asked
from penstock.bench.document import Document, machine
from penstock.bench.load import LoadError
from penstock.bench.processes import NotFound
from penstock.bench.progress import Line
from penstock.bench.runner import Runner, Unusable
from penstock.bench.settings import Settings
from penstock.bench.wire import UsageError
from penstock.config.env import Environment

Format = Literal["text", "markdown", "json"]


class Status(IntEnum):
    """What the command ends with; 2 is a wrong command line."""

    OK = 0
    NOTHING = 1
    """Nothing was measured: a target cannot be used, or answered no request as expected. Or not everything was: the load
    generator failed on the way; what was measured until then was written."""
    FAILED = 3
    """A `--fail-on` condition holds."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM; what was measured until then was written."""


class Failed(Exception):
    """Nothing can be measured; the message says why."""


def run(asked: Asked, *, output: Path | None, shown_as: Format) -> Status:
    """Measures, writes, shows; the exit status.

    Raises:
        UsageError: an option cannot be used.
        Failed: nothing can be measured.
    """
    conditions = asked.conditions()
    settings = asked.settings(Environment())
    if output is not None:
        files.prepare(output)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    where = machine()
    line = Line(sys.stderr)
    runner = Runner(settings, line.show)
    try:
        with _interruptible(runner.stop):
            samples = runner.run()
    except LoadError as e:
        raise _explained(e, settings) from e
    except (NotFound, Unusable) as e:
        raise Failed(str(e)) from e
    finally:
        line.clear()
    document = results.document(
        settings,
        samples,
        started_at=started_at,
        partial=runner.stop.is_set() or runner.failure is not None,
        where=where,
        judge=lambda rows, of: thresholds.judge(conditions, rows, of),
        failure=runner.failure,
    )
    sys.stdout.write(_shown(document, shown_as))
    sys.stdout.flush()
    if output is not None:
        try:
            missing = files.write(output, document, settings)
        except OSError as e:
            raise Failed(f"--output: {e}") from e
        if missing is not None:
            sys.stderr.write(f"{missing}\n")
        sys.stderr.write(f"written to {output / 'results.json'}\n")
    if runner.failure is not None:
        sys.stderr.write(f"{runner.failure}\n")
    return _status(document, broken=runner.failure is not None and not runner.stop.is_set())


@contextmanager
def _interruptible(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set the event; a second one ends the tool at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shown(document: Document, shown_as: Format) -> str:
    match shown_as:
        case "json":
            return files.encoded(document).decode()
        case "markdown":
            return tables.markdown(document)
        case "text":
            return tables.text(document)


def _status(document: Document, *, broken: bool) -> Status:
    if broken:
        return Status.NOTHING
    if document.partial:
        return Status.INTERRUPTED
    if any(threshold.failed for threshold in document.thresholds):
        return Status.FAILED
    if any(row.metrics["requests"].max == 0 for row in document.rows):
        return Status.NOTHING
    return Status.OK


def _explained(error: LoadError, settings: Settings) -> Exception:
    """What the load generator refused, with the option as the command line spells it."""
    message = settings.hidden(str(error))
    name = re.match(r"^([a-z_]+):", message)
    if name is None or name[1] == "url":
        # A host that does not resolve is no mistake of the command line.
        return Failed(message)
    option = "header" if name[1] == "headers" else name[1].replace("_", "-")
    return UsageError(f"--{option}{message[name.end() - 1 :]}")
