"""The scripts against models of what they promise, on a real Redis whose clock the test moves."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.quota.scripts import Command, execute
from penstock.shared.redis import SharedRedis
from tests.integration.quota.rig import again, connected

_WINDOW, _LENGTH = 1_000, 50
"""Milliseconds of a clock that stands still between two steps of a test, but not while a call is on its way: tests in which it
matters are made again when that took long."""


class Server:
    """Calls scripts at moments of the test's choice."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared
        self._start = time.time_ns() // 1_000_000
        self.now = 0
        """Milliseconds since the beginning of the test, as the scripts see it."""

    def key(self, *parts: str) -> str:
        return self._shared.key(*parts, tag="t")

    async def call(self, name: Any, keys: list[str], **request: Any) -> Any:
        offset = self._start + 10_000 + self.now - time.time_ns() // 1_000_000
        full = {"candidate": secrets.token_hex(4), "incarnation": "a", "settle": 0, "offset": offset, **request}
        answer = (await execute(self._shared, [Command(name, [self.key("epoch"), *keys], full)]))[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def beat(self, who: str, divides_by: int = 9, **more: Any) -> Any:
        """Sharing, present, missing, late?, slow, the least number of one that answers, silent, what became of the entry."""
        times = {"missing_after": 100, "ended_after": 500, "forget_after": 1_000}
        request = {"incarnation": who, "divides_by": divides_by, **times, **more}
        return (await self.call("beat", [self.key("live"), self.key("slow")], **request))[3:]

    async def rates(self, *asks: tuple[str, int, int, int], **request: Any) -> Any:
        """Draw of (name, limit, want, need) of rates."""
        packed = [
            {
                "kind": "rate",
                "limit": limit,
                "want": want,
                "need": need,
                "spread": 1,
                "reserve": 0,
                "window": _WINDOW,
                "length": _LENGTH,
            }
            for _, limit, want, need in asks
        ]
        return await self.call("draw", [self.key("rpm", name) for name, *_ in asks], asks=packed, **request)

    async def holds(self, *asks: tuple[str, str, int, int, int], **request: Any) -> Any:
        """Draw of (kind, name, limit, need, ordinal) of holds, with what the asker says of budgets."""
        terms = {
            name: request.pop(name) for name in ("spent", "version", "end", "ended", "spent_ttl") if name in request
        }
        keys = []
        for kind, name, *_ in asks:
            keys.append(self.key("held", kind, name))
            if kind == "budget":
                keys.append(self.key("spent", name))
        packed = [
            {
                "kind": kind,
                "limit": limit,
                "want": need,
                "need": need,
                "spread": 1,
                "have": 0,
                "ordinal": ordinal,
                "ttl": 500,
                **terms,
            }
            for kind, _, limit, need, ordinal in asks
        ]
        return await self.call("draw", keys, asks=packed, **request)


class Model:
    """A sliding window by brute force."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.units: list[list[int]] = []
        """Time, units, segment."""

    def free(self, now: int) -> int:
        counted = (units for at, units, _ in self.units if (at // _LENGTH + 1) * _LENGTH + _WINDOW > now)
        return self.limit - sum(counted)

    def most_in_a_window(self) -> int:
        """Over all windows that begin with a draw."""
        return max(
            (sum(units for at, units, _ in self.units if begin <= at < begin + _WINDOW) for begin, *_ in self.units),
            default=0,
        )


_steps = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.one_of(
            st.tuples(st.just("draw"), st.integers(1, 6), st.integers(1, 6)),
            st.tuples(st.just("return"), st.integers(0, 20), st.integers(1, 6)),
        ),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps, limit=st.integers(1, 12))
def test_a_window_is_the_brute_force_window(redis_url: str, steps: list[Any], limit: int) -> None:
    async def run() -> None:
        async with connected(redis_url) as shared:
            server, model, name = Server(shared), Model(limit), secrets.token_hex(4)
            await shared.client.flushall()
            for pause, step in steps:
                server.now += pause
                if step[0] == "draw":
                    want, need = max(step[1:]), min(step[1:])
                    now, _, _, taken, (granted, remaining, retry, lease, reason, end) = await server.rates(
                        (name, limit, want, need)
                    )
                    free = model.free(now)
                    assert taken is (free >= need)
                    assert granted == (min(want, free) if taken else 0)
                    assert remaining == max(0, free - granted)
                    if taken:
                        model.units.append([now, granted, lease])
                    elif need <= limit:
                        assert (reason, end) == ("full", 0)
                        assert model.free(now + retry) >= need > model.free(now + retry - 1)
                elif model.units:
                    entry = model.units[step[1] % len(model.units)]
                    back = await server.call(
                        "give_back",
                        [server.key("rpm", name)],
                        window=_WINDOW,
                        length=_LENGTH,
                        lease=entry[2],
                        units=step[2],
                    )
                    left = back[2]
                    for other in model.units:
                        if other[2] == entry[2]:
                            taken = min(other[1], left)
                            other[1] -= taken
                            left -= taken
            assert model.most_in_a_window() <= limit

    asyncio.run(run())


async def test_one_full_ask_takes_nothing_of_the_others(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        *_, taken, first, second = await server.rates(("a", 10, 1, 1), ("b", 0, 1, 1))
        assert taken is False
        assert (first[0], first[4]) == (0, "")
        assert (second[0], second[4]) == (0, "full")
        *_, row = await server.rates(("a", 10, 10, 10))
        assert row[0] == 10


@again
async def test_a_clock_set_back_neither_frees_units_nor_keeps_them_for_longer(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        server.now = 3_600_000
        await server.rates(("a", 5, 5, 5))
        server.now -= 3_000_000
        assert (await server.rates(("a", 5, 1, 1)))[-1][0] == 0
        server.now += _WINDOW + 2 * _LENGTH
        assert (await server.rates(("a", 5, 5, 5)))[-1][0] == 5


@again
async def test_what_is_reported_counts_even_above_the_limit(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        await server.rates(("a", 5, 4, 4))
        await server.call("carry", [server.key("rpm", "a")], window=_WINDOW, length=_LENGTH, used=[900, 2, 100, 4])
        row = (await server.rates(("a", 5, 1, 1)))[-1]
        assert (row[0], row[4]) == (0, "full")
        server.now += 250
        assert (await server.rates(("a", 5, 1, 1)))[-1][0] == 0, "4 drawn and 4 reported are left"


@again
async def test_what_is_reported_says_where_it_counts_and_goes_back_there(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server, sizes = Server(shared), {"window": _WINDOW, "length": _LENGTH}
        now, epoch, is_counted, total, segments = await server.call(
            "carry", [server.key("rpm", "a")], **sizes, used=[500, 2, 0, 3]
        )
        assert (is_counted, total, segments) == (True, 5, [(now - 500) // _LENGTH, now // _LENGTH])
        back = {**sizes, "lease": segments[1], "units": 9}
        assert (await server.call("give_back", [server.key("rpm", "a")], **back, of="another"))[2] == 0, "others'"
        assert (await server.call("give_back", [server.key("rpm", "a")], **back, of=epoch))[2] == 3
        assert (await server.rates(("a", 5, 3, 3)))[-1][0] == 3


@again
async def test_a_command_that_comes_too_late_changes_nothing(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        now = (await server.rates(("a", 5, 1, 1)))[0]
        answer = await server.rates(("a", 5, 1, 1), not_after=now - 20)
        assert (answer[3], answer[-1][4]) == (False, "stale")
        late = await server.call(
            "carry", [server.key("rpm", "a")], window=_WINDOW, length=_LENGTH, used=[0, 4], not_after=now - 20
        )
        assert late[2] is False
        assert (await server.rates(("a", 5, 4, 4)))[-1][0] == 4
        await server.beat("a", not_after=now - 20)
        assert (await server.beat("b"))[:3] == [1, 1, []]


@again
async def test_holds_are_absolute_and_late_ones_are_ignored(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        held = server.key("held", "parallel", "a")
        assert (await server.holds(("parallel", "a", 3, 2, 5)))[-1][0] == 2
        assert (await server.holds(("parallel", "a", 3, 2, 1), incarnation="b"))[-1][4] == "full"
        # Sent before the draw and arriving after it.
        await server.call("hold", [held], amount=0, ordinal=4, ttl=500)
        assert (await server.holds(("parallel", "a", 3, 1, 4)))[-1][4] == "stale"
        assert (await server.holds(("parallel", "a", 3, 2, 1), incarnation="b"))[-1][0] == 0
        await server.call("hold", [held], amount=1, ordinal=6, ttl=500)
        assert (await server.holds(("parallel", "a", 3, 2, 2), incarnation="b"))[-1][0] == 2
        server.now += 600
        assert (await server.holds(("parallel", "a", 3, 3, 9), incarnation="c"))[-1][0] == 3, "the others' are over"


async def test_budgets_wait_for_the_ledgers_figure_and_take_only_newer_ones(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        spent = server.key("spent", "a")
        assert (await server.holds(("budget", "a", 100, 10, 1)))[-1][4] == "unseeded"
        assert (await server.call("spent", [spent], amount=50, version=7, ttl=60_000))[2] is True
        assert (await server.call("spent", [spent], amount=10, version=6, ttl=60_000))[2] is False
        assert (await server.holds(("budget", "a", 100, 51, 2)))[-1][4] == "full"
        assert (await server.holds(("budget", "a", 100, 50, 3)))[-1][0] == 50
        # A reset begins a window with a newer figure that is smaller.
        assert (await server.call("spent", [spent], amount=0, version=8, ttl=60_000))[2] is True
        assert (await server.holds(("budget", "a", 100, 50, 1), incarnation="b"))[-1][0] == 50


async def test_a_limit_comes_with_the_figure_that_it_was_read_with(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        spent = server.key("spent", "a")
        heard = {"spent": 0, "version": 9, "end": 0, "ended": 0, "spent_ttl": 60_000}
        # What an asker has heard is no answer to what was spent since the epoch began.
        assert (await server.holds(("budget", "a", 100, 10, 1), **heard))[-1][4] == "unseeded"
        await server.call("spent", [spent], amount=100, version=8, ttl=60_000)
        assert (await server.holds(("budget", "a", 100, 10, 2), **{**heard, "version": 8}))[-1][4] == "full"
        assert (await server.holds(("budget", "a", 100, 10, 3), **heard))[-1][0] == 10
        # From then on it holds for everybody.
        assert (await server.holds(("budget", "a", 100, 90, 1), incarnation="b"))[-1][0] == 90
        assert (await server.call("spent", [spent], amount=100, version=8, ttl=60_000))[2] is False


async def test_a_window_that_is_over_for_the_asker_is_over(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        spent, old, new = server.key("spent", "a"), 5_000, 6_000
        await server.call("spent", [spent], amount=100, version=3, end=old, ttl=60_000)
        assert (await server.holds(("budget", "a", 100, 1, 1), ended=old - 1_000))[-1][4] == "full"
        assert (await server.holds(("budget", "a", 100, 1, 2), ended=old))[-1][4] == "unseeded"
        # The ledger has begun the next one; what was charged to the old one before that comes late.
        await server.call("spent", [spent], amount=0, version=5, end=new, ttl=60_000)
        assert (await server.call("spent", [spent], amount=120, version=4, end=old, ttl=60_000))[2] is False
        assert (await server.holds(("budget", "a", 100, 60, 3), ended=old))[-1][0] == 60
        # Who has not noticed yet stands in the new one all the same, and is told.
        assert (await server.holds(("budget", "a", 100, 41, 1), incarnation="b"))[-1][4] == "full"
        row = (await server.holds(("budget", "a", 100, 40, 2), incarnation="b"))[-1]
        assert (row[0], row[5]) == (40, new)
        await server.call("hold", [server.key("held", "budget", "a")], incarnation="b", amount=0, ordinal=3, ttl=500)
        assert (await server.holds(("budget", "a", 100, 1, 4), ended=new))[-1][4] == "unseeded"
        # The budget has no windows any more.
        assert (await server.call("spent", [spent], amount=0, version=5, end=0, ttl=60_000))[2] is True
        assert (await server.holds(("budget", "a", 100, 40, 5), ended=new))[-1][0] == 40


@again
async def test_what_was_spent_and_what_is_held_for_it_change_together(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        keys = [server.key("spent", "a"), server.key("held", "budget", "a")]
        await server.call("spent", keys[:1], amount=0, version=1, ttl=60_000)
        assert (await server.holds(("budget", "a", 100, 100, 5)))[-1][0] == 100
        told = {"amount": 30, "version": 2, "ttl": 60_000}
        await server.call("spent", keys, **told, hold={"amount": 60, "ordinal": 7, "ttl": 500})
        assert (await server.holds(("budget", "a", 100, 11, 1), incarnation="b"))[-1][4] == "full"
        assert (await server.holds(("budget", "a", 100, 10, 2), incarnation="b"))[-1][0] == 10
        # Late: neither the figure nor the hold goes back.
        old = {"amount": 10, "version": 1, "ttl": 60_000}
        await server.call("spent", keys, **old, hold={"amount": 0, "ordinal": 6, "ttl": 500})
        assert (await server.holds(("budget", "a", 100, 1, 3), incarnation="b"))[-1][4] == "full"


@again
async def test_after_a_flush_nothing_is_given_until_the_epoch_has_settled(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        first = await server.rates(("a", 5, 1, 1), settle=1_000)
        assert first[2:4] == [1_000, False]
        server.now += 1_020
        assert (await server.rates(("a", 5, 1, 1), settle=1_000))[3] is True
        await shared.client.flushall()
        again = await server.rates(("a", 5, 1, 1), settle=1_000)
        assert again[1] != first[1]
        assert again[3] is False


@again
async def test_what_was_kept_before_a_restart_is_void(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        await server.rates(("a", 5, 5, 5))
        kept: bytes = await shared.client.get(server.key("epoch"))
        name, since, _ = kept.split()
        # As after a restart with an append-only file, or a failover: the data are there, the server is another one.
        await shared.client.set(server.key("epoch"), b" ".join([name, since, b"0" * 40]))
        assert (await server.rates(("a", 5, 5, 5)))[-1][0] == 5


@again
async def test_the_register_tells_who_shares_and_keeps_the_share_of_the_missing(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        known: dict[str, int] = {}

        async def beat(who: str, **more: Any) -> Any:
            answer = await server.beat(who, known.get(who, 9), **more)
            known[who] = answer[0]
            return answer[:3]

        assert await beat("a") == [1, 1, []]
        assert await beat("b") == [2, 2, []]
        assert await beat("a") == [2, 2, []]
        server.now += 150
        # b was told of 2 sharing: half of every limit may be in use by it.
        assert await beat("a") == [2, 1, [2]]
        assert await beat("c", is_quiet=True) == [3, 2, [2]]
        assert await beat("a") == [2, 1, [2]], "who looks quietly is not there"
        server.now += 1_000
        assert await beat("a") == [1, 1, []]
        await beat("d")
        await beat("d", is_leaving=True)
        assert await beat("a") == [1, 1, []]


@again
async def test_of_the_missing_the_share_is_kept_by_which_they_go(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        await server.beat("a", 1)
        sharing, _, _, _, _, least, *_ = await server.beat("b", 2)
        assert (sharing, least) == (2, 1), "a divides by one until it is told"
        # This answer may get lost.
        await server.beat("a", 1)
        assert (await server.beat("b", 2))[5] == 1
        server.now += 200
        assert (await server.beat("b", 2))[2] == [1]
        await server.beat("a", 2)
        assert (await server.beat("b", 2))[2:6:3] == [[], 2]
        server.now += 200
        assert (await server.beat("b", 2))[2] == [2]


@again
async def test_who_was_silent_for_long_is_named_and_taken_out_unless_it_is_heard(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        await server.beat("a", 1)
        server.now += 400
        assert (await server.beat("b", 2))[2:7] == [[1], False, [], 2, []]
        server.now += 200
        [[name, entry, silence]] = (await server.beat("b", 2))[6]
        assert (name, 500 < silence < 700) == ("a", True)
        await server.beat("a", 1)
        assert (await server.beat("a", is_leaving=True, judged=entry))[-1] == "changed"
        assert (await server.beat("b", 2))[1] == 2, "it had come back"
        server.now += 600
        [[name, entry, _]] = (await server.beat("b", 2))[6]
        for removal in ("removed", "gone"):
            assert (await server.beat("a", is_leaving=True, judged=entry))[-1] == removal
        assert (await server.beat("b", 2))[:3] == [1, 1, []]


@pytest.mark.parametrize("why", ["slow", "forgotten"])
@again
async def test_whose_use_may_not_be_counted_here_is_not_named(redis_url: str, why: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        await server.beat("a", 1, is_slow=why == "slow")
        if why == "forgotten":
            server.now += 50
            # The register outlived the epoch, as with an append-only file.
            await shared.client.delete(server.key("epoch"))
        server.now += 600
        assert (await server.beat("b", 2))[2:7] == [[1], False, [], 2, []]
        # Neither by who was told that it was killed.
        removal = (await server.beat("a", is_leaving=True, is_ended=True))[-1]
        assert removal == ("kept" if why == "slow" else "removed")


@again
async def test_the_register_tells_who_is_slow_to_hear(redis_url: str) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)

        async def beat(who: str, **more: Any) -> Any:
            return (await server.beat(who, **more))[4]

        assert await beat("a") == []
        assert await beat("b", is_slow=True) == [2]
        assert await beat("a") == [2]
        assert await beat("b", is_quiet=True) == [], "who looks quietly changes nothing"
        assert await beat("a", is_slow=True) == [2, 2]
        assert await beat("b") == [2], "b is slow no longer"
        server.now += 150
        assert await beat("b") == [], "of the missing the whole share is kept back"
        await beat("a", is_slow=True)
        await beat("a", is_leaving=True)
        assert await beat("b") == []


@pytest.mark.parametrize("units", [2**31, 2**52])
async def test_large_figures_stay_exact(redis_url: str, units: int) -> None:
    async with connected(redis_url) as shared:
        server = Server(shared)
        await server.call("spent", [server.key("spent", "a")], amount=units - 1, version=units, ttl=60_000)
        answer = await server.holds(("budget", "a", 2 * units, units + 2, 1))
        assert answer[-1][4] == "full"
        answer = await server.holds(("budget", "a", 2 * units, units + 1, 2))
        assert answer[-1][:2] == [units + 1, 0]
