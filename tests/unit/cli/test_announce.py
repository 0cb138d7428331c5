"""What `penstock serve` says once it answers, when nobody listens any more."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.cli import banner
from penstock.cli.serve import _announce


def _runtime(ready: asyncio.Event) -> Any:
    settings = SimpleNamespace(listener="native", banner=True)
    return SimpleNamespace(ready=ready, settings=settings, announce=lambda: None)


async def test_a_closed_output_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def show(_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(banner, "show", show)
    ready = asyncio.Event()
    ready.set()
    with caplog.at_level(logging.INFO):
        await _announce(_runtime(ready))
    assert [(line.levelname, vars(line)["event"]) for line in caplog.records] == [("WARNING", "banner")]
