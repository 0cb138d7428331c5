"""What the guards' tests share: stored counts, and the place where gains are told at the end of a run."""

from __future__ import annotations

import pytest

from tests.guards.stored import RECORD, Change, Stored, load

_GAINS = pytest.StashKey[list[Change]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for gains."""
    config.stash[_GAINS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell them. Not a failure, but not to be overlooked: what is not stored can be lost again."""
    gains = config.stash[_GAINS]
    if gains:
        terminalreporter.section("less than stored")
        for gain in gains:
            terminalreporter.line(str(gain))
        terminalreporter.line(f"Keep the gain: {RECORD}")


@pytest.fixture(scope="session")
def gains(request: pytest.FixtureRequest) -> list[Change]:
    """Counts far below the stored ones."""
    return request.config.stash[_GAINS]


@pytest.fixture(scope="session")
def stored() -> Stored:
    """The stored counts."""
    return load()
