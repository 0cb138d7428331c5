"""Streams that the upstream breaks: what had come is passed on and billed, the rest is one error in the client's dialect."""

from __future__ import annotations

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import BooksDiffer, idle, note, only_row, resident_mb, usage, verdict
from tests.faults.streams import PROMPT_TOKENS, SURFACES, stream
from tests.stalls import again_after_a_stall

AFTER = {"chat": 3, "messages": 5, "translated": 5}
"""Events of the upstream's wire that contain two words."""
ALL = list(SURFACES)
_STOOD_S = 0.15
"""A machine that stands still for so long keeps an upstream silent that was not told to be."""


@pytest.mark.parametrize("surface", ALL)
@pytest.mark.parametrize("fault", ["reset_after", "close_after", "bad_chunk", "hang_after"])
@again_after_a_stall(_STOOD_S)
def test_a_stream_cut_short_ends_in_one_error_event(hasty: Gateway, surface: str, fault: str) -> None:
    key = hasty.new_key()
    seen = stream(hasty, key, surface, {"fault": f"{fault}:{AFTER[surface]}", "flush": "1"})
    row = only_row(hasty, key)
    if usage(row)[0] > PROMPT_TOKENS or usage(row)[1] > 2:
        raise BooksDiffer(f"more is charged than was sent: {row}")
    assert (seen.status, seen.whole) == (200, True)
    assert seen.words == " time river"
    assert len(seen.errors) == 1, seen.text
    assert seen.events[-1].get("error") == seen.errors[0], "nothing follows the error"
    assert not seen.done
    assert seen.ran_s < 3
    error = seen.errors[0]
    if surface == "messages":
        assert seen.events[-1]["type"] == "error"
        assert error["type"] in ("api_error", "timeout_error")
    else:
        assert error["code"] == ("upstream_timeout" if fault == "hang_after" else "upstream_protocol_error")
        assert set(error) == {"message", "type", "param", "code"}
    assert verdict(row) == ("upstream_cut", "counted")
    assert usage(row) == (PROMPT_TOKENS, 2)
    assert row["spend"] == pytest.approx(PROMPT_TOKENS * 1e-6 + 2 * 2e-6)
    assert row["metadata"]["attempts"] == 1


@pytest.mark.parametrize("surface", ALL)
def test_an_upstream_s_own_error_event_is_the_last_and_only_one(single: Gateway, surface: str) -> None:
    key = single.new_key()
    seen = stream(single, key, surface, {"fault": f"error_event:{AFTER[surface]}"})
    assert (seen.status, seen.words, seen.done, len(seen.errors)) == (200, " time river", False, 1), seen.text
    assert "overloaded" in seen.text.lower() or "server_error" in seen.text, "the upstream's own words"
    row = only_row(single, key)
    assert verdict(row) == ("upstream_cut", "counted")
    assert usage(row) == (PROMPT_TOKENS, 2)


@pytest.mark.parametrize("surface", ["chat", "messages"])
def test_a_malformed_event_on_the_same_wire_does_not_harm_the_rest(single: Gateway, surface: str) -> None:
    key = single.new_key()
    seen = stream(single, key, surface, {"fault": f"malformed:{AFTER[surface]}", "tokens": "6"})
    assert seen.text.count('data: {"id":"broken"') == 1, "bytes are passed on as they came"
    assert seen.done
    assert " this" in seen.text
    row = only_row(single, key)
    assert verdict(row) == ("ok", "upstream")
    assert usage(row) == (PROMPT_TOKENS, 6)


def test_a_malformed_event_that_must_be_translated_is_an_error(single: Gateway) -> None:
    key = single.new_key()
    seen = stream(single, key, "translated", {"fault": "malformed:5", "tokens": "6"})
    assert (seen.status, seen.words, len(seen.errors), seen.done) == (200, " time river", 1, False), seen.text
    row = only_row(single, key)
    assert verdict(row) == ("upstream_cut", "counted")
    assert usage(row)[0] == PROMPT_TOKENS
    assert usage(row)[1] >= 2


@pytest.mark.parametrize("surface", ALL)
def test_a_stream_without_usage_is_counted_and_never_free(single: Gateway, surface: str) -> None:
    key = single.new_key()
    seen = stream(single, key, surface, {"fault": "no_usage", "tokens": "37"})
    assert (seen.status, seen.done, seen.errors) == (200, True, [])
    row = only_row(single, key)
    assert verdict(row) == ("ok", "counted")
    assert usage(row) == (PROMPT_TOKENS, 37)
    assert row["spend"] > 0


def test_a_missing_done_after_a_finish_reason_is_no_error(single: Gateway) -> None:
    key = single.new_key()
    seen = stream(single, key, "chat", {"fault": "no_done", "tokens": "6"})
    assert (seen.status, seen.whole, seen.errors) == (200, True, [])
    row = only_row(single, key)
    assert (verdict(row), usage(row)) == (("ok", "upstream"), (PROMPT_TOKENS, 6))


@pytest.mark.parametrize("surface", ALL)
def test_one_byte_at_a_time_makes_the_same_stream(single: Gateway, surface: str) -> None:
    key = single.new_key()
    slow = stream(single, key, surface, {"fault": "drip:0", "tokens": "5"})
    fast = stream(single, single.new_key(), surface, {"tokens": "5"})
    assert slow.done
    assert slow.errors == []
    assert slow.words == fast.words == " time river that this with"
    assert [sorted(event) for event in slow.events] == [sorted(event) for event in fast.events]
    row = only_row(single, key)
    assert (verdict(row), usage(row)) == (("ok", "upstream"), (PROMPT_TOKENS, 5))


@pytest.mark.parametrize("surface", ALL)
def test_a_huge_event_passes_in_bounded_memory(single: Gateway, surface: str) -> None:
    key = single.new_key()
    idle(single)
    before = resident_mb(single.pid)
    seen = stream(single, key, surface, {"fault": "huge:10", "tokens": "3"})
    grown = resident_mb(single.pid) - before
    assert seen.done
    assert len(seen.words) == 10_000_000 + len(" river that")
    assert seen.words.endswith("... river that")
    row = only_row(single, key)
    assert (verdict(row), usage(row)) == (("ok", "upstream"), (PROMPT_TOKENS, 3))
    note(f"{surface}: {before:.0f} MB before, {grown:+.1f} MB after a 10 MB event")
    # On the same wire the event goes on in pieces; translated it must be held, as bytes, text and translation.
    assert grown < (100 if surface == "translated" else 40)


@again_after_a_stall(_STOOD_S)
def test_several_faulty_streams_do_not_disturb_others(hasty: Gateway) -> None:
    from concurrent.futures import ThreadPoolExecutor

    faults = ["reset_after:3", "hang_after:3", "bad_chunk:2", "close_after:3", "error_event:2", "drip:0"]
    good, bad = hasty.new_key(), hasty.new_key()
    with ThreadPoolExecutor(24) as pool:
        broken = [pool.submit(stream, hasty, bad, "chat", {"fault": fault}) for fault in faults * 2]
        sound = [pool.submit(stream, hasty, good, "chat", {"tokens": "40", "tps": "80"}) for _ in range(12)]
        results = [future.result() for future in sound]
        [future.result() for future in broken]
    assert [len(seen.words.split()) for seen in results] == [40] * 12
    assert all(seen.done and not seen.errors and seen.ran_s < 3 for seen in results)
