"""One `Idempotency-Key` on several gateways with one Redis, through their public ports: a request is run once, wherever it is sent."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway, at_once
from tests.faults.conftest import CONFIG
from tests.faults.hammer import figure
from tests.rig import Sim, until
from tests.servers.redis import Redis
from tests.stalls import Stopwatch

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
Start = Callable[..., Gateway]
_NOT_REPEATED = {"date", "idempotent-replayed", "transfer-encoding", "content-length", "connection"}


class Fleet:
    """Two gateways that share everything, and a key that both know."""

    def __init__(
        self,
        start: Start,
        database_url: str,
        redis: Redis,
        more: str = "",
        when_gone: str = "fail_closed",
        deadline: str = "2s",
    ) -> None:
        """``deadline``: one that Redis keeps on a busy machine, too, where nobody takes it away."""
        self._start = start
        self.redis = redis
        self._config = (
            CONFIG % (0, "60s", "60s") + more + f"  redis: {{deadline: {deadline}, when_gone: {when_gone}}}\n"
        )
        self._environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            "PENSTOCK_PEPPER": secrets.token_hex(32),
            "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
            "PENSTOCK_MASTER_KEY": f"sk-{secrets.token_hex(24)}",
        }
        self.gateways = at_once(self._new, self._new)
        self.key = self.gateways[0].new_key()

    def _new(self) -> Gateway:
        gateway = self._start(config=self._config, environment=self._environment)
        gateway.admin_key = self._environment["PENSTOCK_MASTER_KEY"]
        return gateway

    def add(self) -> None:
        """One more of them."""
        self.gateways.append(self._new())

    def stored(self) -> int:
        """Answers in Redis."""
        with self.redis.client() as client:
            keys = list(client.scan_iter("penstock:*:idempotency:1"))
            return sum(client.hget(key, "state") != "running" for key in keys)

    def ask(
        self, at: int, once: str, body: dict[str, Any], path: str = CHAT, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send a request to the gateway of this number."""
        sent = {"authorization": f"Bearer {key or self.key}", "idempotency-key": once}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with self.gateways[at].client() as client:
            return client.post(path, json=body, headers=sent)


@pytest.fixture
def fleet(start_gateway: Start, database_url: str, own_redis: Redis) -> Callable[..., Fleet]:
    """Makes a fleet of two, with further settings."""

    def make(more: str = "  idempotency: {claim: 4s}\n", when_gone: str = "fail_closed", deadline: str = "2s") -> Fleet:
        return Fleet(start_gateway, database_url, own_redis, more, when_gone, deadline)

    return make


@pytest.fixture(scope="module")
def lasting_redis() -> Iterator[Redis]:
    """One that writes down what it has."""
    node = Redis(aof=True)
    yield node
    node.close()


@pytest.fixture(scope="module")
def pair(lasting_database_url: str, lasting_redis: Redis, start_lasting: Start) -> Fleet:
    """Two for tests that stop nothing. Claims last for longer than anybody waits, so that none passes for released by its end."""
    return Fleet(start_lasting, lasting_database_url, lasting_redis, "  idempotency: {claim: 120s}\n")


@pytest.fixture
def once() -> str:
    return f"once-{secrets.token_hex(16)}"


def body(text: str, **more: Any) -> dict[str, Any]:
    """A request that says something of its own."""
    return {"model": "sim", "max_tokens": 8, "messages": [{"role": "user", "content": text}], **more}


def runs(sim: Sim, since: int) -> int:
    """How often the upstream was asked."""
    return len(sim.ledger(since))


def is_replay_of(again: httpx.Response, first: httpx.Response) -> None:
    """The same to the byte, with the header that says so."""
    assert again.status_code == first.status_code
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    told = [
        {name: value for name, value in each.headers.items() if name not in _NOT_REPEATED} for each in (first, again)
    ]
    assert told[0] == told[1]


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status_code, str(answer.json()["error"]["code"])


def test_fifty_at_once_on_two_gateways_run_once(pair: Fleet, sim: Sim, once: str) -> None:
    before, since = pair.stored(), sim.mark()
    start = threading.Barrier(50)

    def send(number: int) -> httpx.Response:
        start.wait()
        return pair.ask(number % 2, once, body(once), x_sim_ttft="1000")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    good = [answer for answer in answers if answer.status_code == 200]
    assert {code(answer) for answer in answers if answer.status_code != 200} == {(409, "idempotency_key_in_use")}
    assert good
    assert all(answer.content == good[0].content for answer in good)
    assert runs(sim, since) == 1
    first = next(answer for answer in good if "idempotent-replayed" not in answer.headers)
    until(lambda: pair.stored() > before, "the answer is in Redis")
    for at in (0, 1):
        is_replay_of(pair.ask(at, once, body(once)), first)
    assert runs(sim, since) == 1
    for name in ("claimed", "running", "replayed", "answers_kept"):
        assert sum(figure(gateway, f"penstock_idempotency_{name}_total") for gateway in pair.gateways) >= 1, name


def test_another_gateway_gives_the_answer_again(fleet: Callable[..., Fleet], sim: Sim) -> None:
    both, since = fleet(), sim.mark()
    answers: list[tuple[str, dict[str, Any], str, httpx.Response]] = []
    for path, stream in itertools.product((CHAT, MESSAGES), (False, True)):
        once = secrets.token_hex(16)
        asked = body(once, stream=stream, model="sim" if path == CHAT else "sim-claude", max_tokens=300)
        first = both.ask(0, once, asked, path, x_sim_tokens="300")
        assert first.status_code == 200
        assert "idempotent-replayed" not in first.headers
        answers.append((once, asked, path, first))
        until(lambda: both.stored() == len(answers), "the answer is in Redis")
        for at in (1, 0, 1):
            is_replay_of(both.ask(at, once, asked, path, x_sim_tokens="300"), first)
        for at in (1, 0):
            assert both.ask(at, once, {**asked, "temperature": 0.5}, path).status_code == 422
    # After a kill of the one that made it, and for one that starts later.
    both.gateways[0].process.process.kill()
    for once, asked, path, first in answers:
        is_replay_of(both.ask(1, once, asked, path), first)
    both.add()
    for once, asked, path, first in answers:
        is_replay_of(both.ask(2, once, asked, path), first)
    assert runs(sim, since) == len(answers)


def test_nothing_in_redis_can_be_read(pair: Fleet, once: str) -> None:
    before = pair.stored()
    secret_text = secrets.token_hex(16)
    answer = pair.ask(0, once, body(f"tell nobody {secret_text}", max_tokens=50), x_sim_tokens="50")
    assert answer.status_code == 200
    until(lambda: pair.stored() > before, "the answer is in Redis")
    text = str(answer.json()["choices"][0]["message"]["content"])
    assert len(text) > 40
    written = b"".join(path.read_bytes() for path in pair.redis.directory.rglob("*") if path.is_file())
    assert b":idempotency:1" in written
    hidden = [secret_text, once, pair.key, text, text[:20], "application/json", str(answer.json()["id"])]
    assert [each for each in hidden if each.encode() in written] == []


def test_it_runs_on_while_one_gateway_has_it_and_again_when_that_one_is_killed(
    fleet: Callable[..., Fleet], sim: Sim, once: str
) -> None:
    both, since = fleet("  idempotency: {claim: 4s}\n"), sim.mark()
    asked = body(once, stream=True)

    def stream() -> None:
        with pytest.raises(httpx.HTTPError):
            both.ask(0, once, asked, x_sim_ttft="20000")

    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(stream)
        until(lambda: runs(sim, since) == 1, "the upstream is asked")
        # Longer than a claim lasts: it is renewed.
        begin = time.monotonic()
        while time.monotonic() - begin < 6:
            for at in (0, 1):
                assert code(both.ask(at, once, asked)) == (409, "idempotency_key_in_use")
            assert code(both.ask(1, once, body("another"))) == (422, "idempotency_key_reused")
            time.sleep(0.2)
        both.gateways[0].process.process.kill()
        killed = time.monotonic()
        cut.result()
        assert code(both.ask(1, once, asked)) == (409, "idempotency_key_in_use")
        answer = until(
            lambda: answer if (answer := both.ask(1, once, asked)).status_code == 200 else None, "it is run again", 12
        )
        assert 1 < time.monotonic() - killed < 9
    assert "idempotent-replayed" not in answer.headers
    assert runs(sim, since) == 2
    is_replay_of(both.ask(1, once, asked), answer)


def test_a_call_that_a_stop_in_order_cuts_is_free_at_once(fleet: Callable[..., Fleet], sim: Sim, once: str) -> None:
    both, since = fleet("  idempotency: {claim: 30s}\n  listener: {grace: 200ms}\n"), sim.mark()
    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(both.ask, 0, once, body(once), x_sim_ttft="20000")
        until(lambda: runs(sim, since) == 1, "the upstream is asked")
        both.gateways[0].close()
        assert cut.result().status_code == 503
    answer = both.ask(1, once, body(once))
    assert answer.status_code == 200
    assert runs(sim, since) == 2


def test_a_stream_whose_client_left_is_run_again_anywhere(pair: Fleet, sim: Sim, once: str) -> None:
    since, asked = sim.mark(), body(once, stream=True, max_tokens=300)
    headers = {"authorization": f"Bearer {pair.key}", "idempotency-key": once, "x-sim-tokens": "300", "x-sim-tps": "20"}
    with pair.gateways[0].client() as client, client.stream("POST", CHAT, json=asked, headers=headers) as leaving:
        # The client leaves when nobody holds the lines any more.
        lines = leaving.iter_lines()
        assert next(lines)
        assert code(pair.ask(1, once, asked)) == (409, "idempotency_key_in_use")
        assert next(lines) == ""
    whole = until(lambda: whole if (whole := pair.ask(1, once, asked)).status_code == 200 else None, "it is run again")
    assert "idempotent-replayed" not in whole.headers
    assert whole.text.rstrip().endswith("[DONE]")
    assert runs(sim, since) == 2


@pytest.mark.parametrize("status", [429, 500])
def test_what_may_pass_is_run_again_anywhere(pair: Fleet, sim: Sim, once: str, status: int) -> None:
    since = sim.mark()
    assert pair.ask(0, once, body(once), x_sim_status=str(status)).status_code >= 400
    answer = until(
        lambda: answer if (answer := pair.ask(1, once, body(once))).status_code == 200 else None, "it is run again"
    )
    assert "idempotent-replayed" not in answer.headers
    assert runs(sim, since) == 2


def test_an_answer_beyond_the_bound_is_not_run_again_anywhere(fleet: Callable[..., Fleet], sim: Sim, once: str) -> None:
    both, since = fleet("  idempotency: {answer_kb: 2}\n"), sim.mark()
    asked = body(once, stream=True, max_tokens=500)
    assert both.ask(0, once, asked, x_sim_tokens="500").text.rstrip().endswith("[DONE]")
    until(lambda: both.stored() == 1, "it is known in Redis")
    for at in (1, 0):
        assert code(both.ask(at, once, asked)) == (409, "idempotency_answer_not_kept")
    assert runs(sim, since) == 1


def test_answers_that_make_room_are_not_kept_elsewhere_either(fleet: Callable[..., Fleet], sim: Sim) -> None:
    both = fleet("  idempotency: {memory_mb: 1}\n")
    keys = [secrets.token_hex(16) for _ in range(12)]
    for key in keys:
        answer = both.ask(0, key, body(key, stream=True, max_tokens=1500), x_sim_tokens="1500")
        assert len(answer.content) > 200_000
    until(lambda: 1 <= both.stored() <= 5, "the oldest have made room")
    assert "idempotent-replayed" in both.ask(1, keys[-1], body(keys[-1], stream=True, max_tokens=1500)).headers
    again = both.ask(1, keys[0], body(keys[0], stream=True, max_tokens=1500))
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers


def test_a_key_that_was_revoked_gets_no_answer(pair: Fleet, once: str) -> None:
    before, gateway = pair.stored(), pair.gateways[0]
    key = gateway.new_key()
    assert pair.ask(0, once, body(once), key=key).status_code == 200
    until(lambda: pair.stored() > before, "the answer is in Redis")
    assert pair.ask(1, once, body(once), key=key).headers["idempotent-replayed"] == "true"
    with gateway.client() as client:
        gone = client.post("/key/delete", headers=gateway.admin, json={"keys": [key]})
    assert gone.status_code == 200
    until(lambda: pair.ask(1, once, body(once), key=key).status_code == 401, "the key is gone everywhere")


def test_the_master_key_is_a_caller_too(pair: Fleet, sim: Sim, once: str) -> None:
    before, since, key = pair.stored(), sim.mark(), pair.gateways[0].admin_key
    first = pair.ask(0, once, body(once), key=key)
    assert first.status_code == 200
    until(lambda: pair.stored() > before, "the answer is in Redis")
    is_replay_of(pair.ask(1, once, body(once), key=key), first)
    # Another caller's is another request.
    assert "idempotent-replayed" not in pair.ask(1, once, body(once)).headers
    assert runs(sim, since) == 2


@pytest.mark.parametrize("hangs", [False, True])
def test_without_redis_it_is_refused_where_the_operator_chose_so(
    fleet: Callable[..., Fleet], sim: Sim, own_redis: Redis, once: str, hangs: bool
) -> None:
    both = fleet(deadline="250ms")
    known = both.ask(0, once, body(once))
    assert known.status_code == 200
    until(lambda: both.stored() == 1, "the answer is in Redis")
    own_redis.freeze() if hangs else own_redis.stop()
    since = sim.mark()
    watch = Stopwatch()
    for _ in range(5):
        refused = both.ask(1, secrets.token_hex(16), body(once))
        assert code(refused) == (503, "idempotency_unavailable")
        assert refused.json()["error"]["param"] == "Idempotency-Key"
        assert "`Idempotency-Key`" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) >= 1
    assert watch.ran_s < 5
    # An Anthropic client is refused in its words.
    refused = both.ask(1, secrets.token_hex(16), body(once, model="sim-claude"), MESSAGES)
    assert (refused.status_code, refused.json()["type"]) == (503, "error")
    assert runs(sim, since) == 0
    # What this one answered itself it still knows, and calls without the header go on.
    is_replay_of(both.ask(0, once, body(once)), known)
    with both.gateways[1].client() as client:
        plain = client.post(CHAT, json=body("x"), headers={"authorization": f"Bearer {both.key}"})
    assert plain.status_code == 200
    own_redis.resume() if hangs else own_redis.start()
    back = until(
        lambda: answer if (answer := both.ask(1, once, body(once))).status_code == 200 else None, "Redis is there again"
    )
    # What Redis lost is known to the gateway that answered it.
    assert (back.content == known.content) is hangs
    is_replay_of(both.ask(0, once, body(once)), known)


# That its absence is noticed either way is shown above.
@pytest.mark.parametrize("hangs", [pytest.param(False, marks=[pytest.mark.slow, pytest.mark.long]), True])
def test_without_redis_each_gateway_goes_on_alone_where_the_operator_chose_so(
    fleet: Callable[..., Fleet], sim: Sim, own_redis: Redis, hangs: bool
) -> None:
    both, since = fleet(when_gone="fail_open", deadline="250ms"), sim.mark()
    own_redis.freeze() if hangs else own_redis.stop()
    for turn in range(1, 4):
        once, watch = secrets.token_hex(16), Stopwatch()
        for at in (0, 1):
            first = both.ask(at, once, body(once))
            assert first.status_code == 200
            is_replay_of(both.ask(at, once, body(once)), first)
            assert code(both.ask(at, once, body("another"))) == (422, "idempotency_key_reused")
        assert watch.ran_s < 5
        assert runs(sim, since) == 2 * turn
    own_redis.resume() if hangs else own_redis.start()

    def together() -> bool:
        once = secrets.token_hex(16)
        first = both.ask(0, once, body(once))
        return until(lambda: both.ask(1, once, body(once)), "an answer").content == first.content

    until(together, "they share again")
