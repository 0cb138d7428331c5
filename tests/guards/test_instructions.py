"""The hot path takes no more instructions than it did when its counts were stored."""

from __future__ import annotations

import shutil

import pytest

from tests.guards import build, counted
from tests.guards.stored import OTHER_RUSTC, RECORD, TOLERANCE, Change, Stored, Toolchain, load, tolerance, toolchain

# Whoever runs pytest by hand may have to wait for the build.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def measured(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Counts of what the sources are now."""
    for tool, package in (("valgrind", "valgrind"), ("cargo", "a Rust toolchain")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} not found: install {package}")
    here = toolchain()
    if tolerance(stored.recorded_with, here) is None:
        pytest.skip(f"counts are stored for {stored.recorded_with}; this is {here}. Record them here: {RECORD}")
    return counted.measure(build.program(), tmp_path_factory.mktemp("callgrind"))


@pytest.mark.parametrize("name", load().instructions)
def test_no_more_instructions_than_stored(
    name: str, measured: dict[str, int], stored: Stored, gains: list[Change]
) -> None:
    assert name in measured, f"{name} is stored but not measured any more: {RECORD}"
    allowed = tolerance(stored.recorded_with, toolchain())
    assert allowed is not None
    change = Change(name, stored.instructions[name], measured[name], tolerance=allowed)
    assert not change.is_loss, f"{change}. When it is worth it: {RECORD}, and say in the commit what it bought"
    if change.is_gain:
        gains.append(change)


def test_everything_measured_is_stored(measured: dict[str, int], stored: Stored) -> None:
    assert set(measured) <= set(stored.instructions), f"not stored: {RECORD}"


def test_a_tenth_more_is_a_loss_and_a_tenth_less_a_gain() -> None:
    def change(measured: int) -> tuple[bool, bool]:
        compared = Change("x", 1_000, measured)
        return compared.is_loss, compared.is_gain

    within = round(1_000 * TOLERANCE)
    assert change(1_000 + within) == (False, False)
    assert change(1_000 + within + 1) == (True, False)
    assert change(1_000 - within) == (False, False)
    assert change(1_000 - within - 1) == (False, True)


def test_another_compiler_is_given_more_room_and_another_machine_no_verdict() -> None:
    recorded = Toolchain("x86_64-unknown-linux-gnu", "1.95.0", "avx2")
    assert tolerance(recorded, recorded) == TOLERANCE
    assert tolerance(recorded, Toolchain(recorded.target, "1.96.0", "avx2")) == OTHER_RUSTC
    assert tolerance(recorded, Toolchain(recorded.target, "1.95.0", "baseline")) is None
    assert tolerance(recorded, Toolchain("aarch64-unknown-linux-gnu", "1.95.0", "baseline")) is None


def test_counts_follow_the_work(measured: dict[str, int]) -> None:
    """Whatever is counted is the work itself: fifty times the body, many times the instructions, and so on."""
    assert measured["body_scan_100kb"] > 10 * measured["body_scan_2kb"]
    assert measured["prompt_count_2kb"] > measured["token_count_2kb"] / 2
    assert measured["stream_call_64_frames"] > measured["unary_call"]
    parts = measured["key_digest"] + measured["admission"]
    assert measured["unary_call"] > parts
