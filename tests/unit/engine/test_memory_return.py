"""When memory is given back after a burst of calls."""

from __future__ import annotations

from penstock.engine.memory import MemoryReturn


def _due(loads: list[int]) -> list[int]:
    """The looks at which memory is given back."""
    remaining = iter(loads)
    memory = MemoryReturn(lambda: next(remaining), lambda _: 1)
    return [look for look in range(len(loads)) if memory.is_due()]


def test_a_fall_to_half_gives_memory_back_five_times() -> None:
    assert _due([2_000] * 3 + [900] * 30) == [5, 8, 11, 14, 17]


def test_a_steady_or_small_load_is_left_alone() -> None:
    assert _due([2_000, 1_500, 1_900, 1_001] * 10) == []
    assert _due([40, 0] * 20) == []


def test_a_second_burst_starts_again() -> None:
    assert _due([500] + [0] * 20 + [500] + [0] * 20) == [3, 6, 9, 12, 15, 24, 27, 30, 33, 36]
