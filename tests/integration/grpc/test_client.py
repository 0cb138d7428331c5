"""`penstock.client` against a real gateway: everything that its documentation says of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from penstock.client import (
    AsyncClient,
    AuthenticationError,
    BudgetExceeded,
    CallError,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    Unavailable,
    to_dict,
)
from tests.conftest import Gateway, free_port
from tests.faults.accounts import differences, idle, only_row, rows_of, settled
from tests.integration.grpc.calls import CHAT, address
from tests.integration.grpc.serving import configured, record_of
from tests.rig import Sim, until
from tests.stalls import Stopwatch, again_after_a_stall

ASK: dict[str, Any] = {"model": "sim", "messages": [CHAT], "max_tokens": 5}
WORDS = " time river that this with"


def _client(gateway: Gateway, key: str | None = None, **options: Any) -> Client:
    return Client(f"grpc://{address(gateway)}", api_key=key or gateway.admin_key, **{"timeout": 20, **options})


@pytest.fixture
def client(port: Gateway) -> Iterator[Client]:
    """A client with a key of its own."""
    with _client(port, port.new_key()) as made:
        yield made


@pytest.fixture
async def aclient(port: Gateway) -> AsyncIterator[AsyncClient]:
    """Its asyncio twin."""
    async with AsyncClient(address(port), api_key=port.new_key(), timeout=20) as made:
        yield made


def _text(chunks: Any) -> str:
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


def test_every_resource(client: Client) -> None:
    assert client.chat.create(**ASK).choices[0].message.content == WORDS
    assert _text(client.chat.stream(**ASK)) == WORDS
    assert client.completions.create(model="sim", prompt="time", max_tokens=2).choices[0].text == " time river"
    chunks = client.completions.stream(model="sim", prompt="time", max_tokens=2)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == " time river"
    assert len(client.embeddings.create(model="sim", input=["a", "b"], dimensions=3).data[1].embedding) == 3
    assert json.loads(client.responses.create({"model": "sim", "input": "time"}).body_json)["output"]
    events = list(client.responses.stream('{"model": "sim", "input": "time"}'))
    assert (events[0].event, events[-1].event) == ("response.created", "response.completed")
    assert "sim" in [model.id for model in client.models.list()]
    assert client.models.get("sim").id == "sim"
    assert client.tokens.count(model="sim", text="hello world").input_tokens == 2
    assert client.tokens.count(model="sim", messages=[CHAT]).input_tokens > 2
    assert client.info().max_request_bytes == 2 << 20


async def test_every_resource_with_asyncio(aclient: AsyncClient) -> None:
    assert (await aclient.chat.create(**ASK)).choices[0].message.content == WORDS
    assert _text([chunk async for chunk in aclient.chat.stream(**ASK)]) == WORDS
    made = await aclient.completions.create(model="sim", prompt="time", max_tokens=2)
    assert made.choices[0].text == " time river"
    chunks = [chunk async for chunk in aclient.completions.stream(model="sim", prompt="time", max_tokens=2)]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == " time river"
    assert len((await aclient.embeddings.create(model="sim", input="a", dimensions=3)).data[0].embedding) == 3
    assert json.loads((await aclient.responses.create({"model": "sim", "input": "time"})).body_json)["output"]
    events = [event async for event in aclient.responses.stream({"model": "sim", "input": "time"})]
    assert events[-1].event == "response.completed"
    assert "sim" in [model.id for model in await aclient.models.list()]
    assert (await aclient.models.get("sim")).id == "sim"
    assert (await aclient.tokens.count(model="sim", text="hello world")).input_tokens == 2
    assert (await aclient.info()).version


def test_metadata_of_an_answer(port: Gateway, client: Client) -> None:
    told: dict[str, str] = {}
    client.chat.create(**ASK, on_metadata=told.update)
    assert told["x-penstock-cost-usd"] == f"{record_of(port, told['x-penstock-call-id'])['spend']:.9f}"
    with client.chat.stream(**ASK) as stream:
        next(stream)
        assert stream.metadata["x-penstock-model"] == "sim"
        assert _text(stream)
    assert stream.trailing_metadata["x-penstock-cost-usd"]


def test_fields_of_the_gateway_s_choice(client: Client, sim: Sim) -> None:
    since = sim.mark()
    client.chat.create(**ASK, metadata={"x-trace-a": "b"}, request_metadata={"label": "x"}, extra_body={"top_k": 2})
    entry = sim.ledger(since)[-1]
    received = sim.of(_Seq(entry["seq"]))
    assert received.values("x-trace-a") == ["b"]
    body = json.loads(received.body)
    assert (body["metadata"], body["top_k"]) == ({"label": "x"}, 2)


class _Seq:
    def __init__(self, seq: int) -> None:
        self.headers = {"x-sim-seq": str(seq)}


@pytest.mark.parametrize(
    "fields,members,error,code",
    [
        ({}, {"model": "nowhere"}, NotFound, "model_not_found"),
        ({}, {"model": ""}, InvalidRequest, "invalid_request"),
        ({"models": ["claude"]}, {}, PermissionDenied, "model_not_allowed"),
        ({"rpm_limit": 0}, {}, RateLimited, "rate_limit_exceeded"),
        ({"max_budget": 0}, {}, BudgetExceeded, "budget_exceeded"),
        ({"blocked": True}, {}, PermissionDenied, "blocked_api_key"),
        ({}, {"model": "unreachable"}, Unavailable, "upstream_unreachable"),
        ({}, {"model": "wild/sim/status=500"}, ServerError, "upstream_error"),
        ({}, {"model": "hasty", "metadata": {"x-sim-ttft": "5000"}}, DeadlineExceeded, "upstream_timeout"),
    ],
)
def test_errors_are_typed_and_say_everything(
    port: Gateway, fields: dict[str, Any], members: dict[str, Any], error: type[CallError], code: str
) -> None:
    with _client(port, port.new_key(**fields), max_retries=0) as client:
        for call in (client.chat.create, lambda **given: list(client.chat.stream(**given))):
            with pytest.raises(error) as failed:
                call(**{**ASK, **members})
            assert type(failed.value) is error
            assert failed.value.code == code
            assert failed.value.message
            assert failed.value.source in ("client", "gateway", "upstream")
            assert failed.value.status_code is not None
            assert failed.value.request_id is not None


def test_a_wrong_key(port: Gateway) -> None:
    with _client(port, "sk-wrong") as client, pytest.raises(AuthenticationError, match="not known"):
        client.chat.create(**ASK)


def test_a_deadline_ends_the_provider_s_work(client: Client, sim: Sim) -> None:
    since, watch = sim.mark(), Stopwatch()
    # Time enough to be upstream before.
    with pytest.raises(DeadlineExceeded):
        client.chat.create(**ASK, timeout=2.5, metadata={"x-sim-ttft": "20000"})
    assert watch.ran_s < 5
    until(lambda: [e for e in sim.ledger(since) if e["outcome"] == "cut"], "the provider was told")


def test_a_stream_that_is_left_is_cancelled(client: Client, sim: Sim) -> None:
    since = sim.mark()
    with client.chat.stream(
        **{**ASK, "max_tokens": 500}, metadata={"x-sim-tps": "50", "x-sim-tokens": "500"}
    ) as stream:
        next(stream)
    assert list(stream) == []
    until(lambda: [e for e in sim.ledger(since) if e["outcome"] == "cut"], "the provider was told")


async def test_a_task_that_is_cancelled_cancels_its_call(aclient: AsyncClient, sim: Sim) -> None:
    since = sim.mark()
    task = asyncio.create_task(aclient.chat.create(**ASK, metadata={"x-sim-ttft": "20000"}))
    await asyncio.to_thread(until, lambda: sim.mark() > since, "the call is upstream")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(until, lambda: [e for e in sim.ledger(since) if e["outcome"] == "cut"], "it was told")


def test_what_the_server_asks_to_try_again_is_tried_again(client: Client, sim: Sim) -> None:
    """The simulator's first answer for a key is 429 with a time; the next one is whole."""
    since = sim.mark()
    tell = {"x-sim-fail-first": "1:429", "x-sim-retry-after": "1", "x-sim-key": f"client-{time.time()}"}
    watch = Stopwatch()
    assert client.chat.create(**ASK, metadata=tell).choices[0].message.content == WORDS
    assert watch.seconds > 0.9
    assert watch.ran_s < 8
    assert [entry["status"] for entry in sim.ledger(since) if entry["call_id"]] == [429, 200]


def test_retries_are_switched_off_by_zero(client: Client, sim: Sim) -> None:
    since = sim.mark()
    tell = {"x-sim-fail-first": "1:429", "x-sim-retry-after": "1", "x-sim-key": f"client-{time.time()}"}
    with pytest.raises(RateLimited) as failed:
        client.chat.create(**ASK, metadata=tell, max_retries=0)
    assert failed.value.retry_after == 1
    assert len([entry for entry in sim.ledger(since) if entry["call_id"]]) == 1


@again_after_a_stall(0.1)
def test_a_budget_that_is_used_up_is_not_tried_again(port: Gateway) -> None:
    key = port.new_key(max_budget=0)
    with _client(port, key) as client:
        watch = Stopwatch()
        with pytest.raises(BudgetExceeded) as failed:
            client.chat.create(**ASK)
        ran_s = watch.ran_s
    # What was tried again would be recorded by then.
    idle(port)
    only_row(port, key)
    assert ran_s < 0.5
    assert failed.value.quota


def test_a_gateway_that_restarts_is_found_again(start: Callable[..., Gateway], port: Gateway) -> None:
    # A port that nobody is given meanwhile.
    gateway = start(arguments=["--port", str(free_port())])
    with _client(gateway, timeout=20, max_retries=4) as client:
        assert client.chat.create(**ASK).choices
        number = int(gateway.url.rpartition(":")[2])
        gateway.close()
        with pytest.raises(Unavailable):
            client.chat.create(**ASK, max_retries=0)
        again = start(arguments=["--port", str(number)], environment={"PENSTOCK_MASTER_KEY": gateway.admin_key})
        assert again.url == gateway.url
        until(lambda: _works(client), "it is found again")


def _works(client: Client) -> bool:
    try:
        return bool(client.chat.create(**ASK).choices)
    except Unavailable:
        return False


def test_compression(port: Gateway, sim: Sim) -> None:
    with _client(port, compression=True) as client:
        answer = client.chat.create(**{**ASK, "messages": [{"role": "user", "content": "river " * 5_000}]})
    assert answer.usage.prompt_tokens > 5_000


def test_threads_share_a_client(port: Gateway, client: Client, sim: Sim) -> None:
    def work(number: int) -> str:
        if number % 2:
            return _text(client.chat.stream(**ASK))
        return client.chat.create(**ASK).choices[0].message.content

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(work, range(200))) == {WORDS}


# ---- sessions ---------------------------------------------------------------------------------


def test_a_session(port: Gateway, client: Client) -> None:
    with client.chat.session() as session, ThreadPoolExecutor(8) as pool:
        calls = [session.stream(**{**ASK, "max_tokens": 1 + at % 5}, credit=3) for at in range(40)]
        texts = list(pool.map(_text, calls))
        assert [len(text.split()) for text in texts] == [1 + at % 5 for at in range(40)]
        assert all("x-penstock-cost-usd" in call.metadata for call in calls)
        with pytest.raises(NotFound) as failed:
            list(session.stream(**{**ASK, "model": "nowhere"}))
        assert failed.value.code == "model_not_found"
        slow = session.stream(**{**ASK, "model": "wild/sim/ttft=20000"}, timeout=0.4)
        with pytest.raises(DeadlineExceeded):
            list(slow)
        with session.stream(**{**ASK, "model": "wild/sim/tps=20,tokens=500", "max_tokens": 500}) as left:
            next(left)
        assert list(left) == []
        assert _text(session.stream(**ASK)) == WORDS


async def test_a_session_with_asyncio(port: Gateway, aclient: AsyncClient, sim: Sim) -> None:
    since = sim.mark()
    async with aclient.chat.session() as session:

        async def read(at: int) -> int:
            call = session.stream(**{**ASK, "max_tokens": 1 + at % 5}, credit=2)
            return len(_text([chunk async for chunk in call]).split())

        assert await asyncio.gather(*(read(at) for at in range(40))) == [1 + at % 5 for at in range(40)]
        with pytest.raises(NotFound):
            async for _ in session.stream(**{**ASK, "model": "nowhere"}):
                pass
        async with session.stream(**{**ASK, "model": "wild/sim/tps=20,tokens=500", "max_tokens": 500}) as left:
            await anext(left)
        assert _text([chunk async for chunk in session.stream(**ASK)]) == WORDS
        unfinished = session.stream(**{**ASK, "model": "wild/sim/tps=20,tokens=500", "max_tokens": 500})
        await anext(unfinished)
    await asyncio.to_thread(
        until, lambda: len([e for e in sim.ledger(since) if e["outcome"] == "cut"]) == 2, "both that were left are cut"
    )


def test_a_session_ends_with_its_client(port: Gateway, sim: Sim) -> None:
    key, since = port.new_key(), sim.mark()
    with _client(port, key) as client:
        session = client.chat.session()
        calls = [session.stream(**{**ASK, "model": "wild/sim/tps=20,tokens=500", "max_tokens": 500}) for _ in range(5)]
        for call in calls:
            next(call)
        session.close()
    until(lambda: len([e for e in sim.ledger(since) if e["outcome"] == "cut"]) == 5, "all are cut")
    idle(port)
    rows = rows_of(port, key)
    assert differences(rows, settled(sim, since, {row["request_id"] for row in rows})) == []


def test_a_slow_reader_of_one_call_stops_no_other(client: Client) -> None:
    with client.chat.session() as session:
        large = {**ASK, "model": "wild/sim/tokens=2000,bytes=5000", "max_tokens": 2_000}
        unread = session.stream(**large, credit=4)
        for _ in range(5):
            assert _text(session.stream(**ASK)) == WORDS
        assert len(_text(unread)) > 5_000_000


# ---- moving from OpenAI's SDK -----------------------------------------------------------------


def test_an_application_that_is_moved_sees_the_same(port: Gateway) -> None:
    """The same code on OpenAI's SDK over REST and on `as_openai()` over gRPC."""
    rest = openai.OpenAI(
        base_url=f"{port.url}/v1", api_key=port.admin_key, http_client=openai.DefaultHttpxClient(trust_env=False)
    )
    with rest, _client(port).as_openai() as moved:
        seen = [_application(client) for client in (rest, moved)]
    assert seen[0] == seen[1]


def _application(client: Any) -> list[Any]:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    answer = client.chat.completions.create(**ASK, temperature=0, seed=3, stop=["nowhere"])
    called = client.chat.completions.create(
        model="sim", messages=[CHAT], tools=tools, tool_choice={"type": "function", "function": {"name": "f"}}
    )
    again = client.chat.completions.create(
        model="sim",
        max_tokens=2,
        messages=[CHAT, called.choices[0].message, {"role": "tool", "tool_call_id": "x", "content": "1"}],
    )
    found = [
        answer.choices[0].message.content,
        answer.choices[0].finish_reason,
        answer.usage.total_tokens,
        answer.usage.prompt_tokens_details.cached_tokens,
        called.choices[0].message.tool_calls[0].function.name,
        called.choices[0].message.content,
        again.choices[0].message.content,
    ]
    options = {"stream_options": {"include_usage": True}}
    for chunk in client.chat.completions.create(**ASK, stream=True, **options):
        found.append([(choice.delta.content, choice.delta.role, choice.finish_reason) for choice in chunk.choices])
        found.append(chunk.usage.completion_tokens if chunk.usage else None)
    embedded = client.embeddings.create(model="sim", input=["a"], dimensions=2, encoding_format="float")
    found.append([round(number, 5) for number in embedded.data[0].embedding])
    found.append(client.completions.create(model="sim", prompt="time", max_tokens=3).choices[0].text)
    response = client.responses.create(model="sim", input="time")
    found.append(response.output[0].content[0].text)
    found.append([event.type for event in client.responses.create(model="sim", input="time", stream=True)])
    found.append(sorted(model.id for model in client.models.list().data))
    found.append(client.models.retrieve("sim").id)
    return found


async def test_a_moved_asyncio_application(port: Gateway) -> None:
    rest = openai.AsyncOpenAI(
        base_url=f"{port.url}/v1", api_key=port.admin_key, http_client=openai.DefaultAsyncHttpxClient(trust_env=False)
    )
    async with rest, AsyncClient(address(port), api_key=port.admin_key).as_openai() as moved:
        seen = []
        for client in (rest, moved):
            chosen: Any = client
            answer = await chosen.chat.completions.create(**ASK)
            chunks = await chosen.chat.completions.create(**ASK, stream=True)
            text = [choice.delta.content async for chunk in chunks for choice in chunk.choices]
            seen.append((answer.choices[0].message.content, text))
    assert seen[0] == seen[1]


# ---- TLS --------------------------------------------------------------------------------------


def test_tls(start: Callable[..., Gateway], tmp_path: Path) -> None:
    certificate, private = tmp_path / "c.pem", tmp_path / "k.pem"
    try:
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        files = ["-keyout", str(private), "-out", str(certificate)]
        command = ["openssl", "req", *kind, "-subj", "/CN=localhost", "-addext", names, *files]
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    gateway = start(config=configured(f"{{tls: {{certificate: {certificate}, key: {private}}}}}"))
    target = gateway.url.replace("https://", "grpcs://")
    with Client(target, api_key=gateway.admin_key, root_certificates=certificate.read_bytes(), timeout=20) as client:
        assert client.chat.create(**ASK).choices[0].message.content == WORDS
        assert _text(client.chat.stream(**ASK)) == WORDS
    with Client(target, api_key=gateway.admin_key, timeout=20, max_retries=0) as stranger, pytest.raises(Unavailable):
        stranger.chat.create(**ASK)


def test_a_closed_client_s_calls_end(port: Gateway, sim: Sim) -> None:
    since = sim.mark()
    client = _client(port)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            client.chat.create(**ASK, metadata={"x-sim-ttft": "20000"})
        except CallError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: sim.mark() > since, "the call is upstream")
    client.close()
    thread.join(20)
    assert not thread.is_alive()
    assert len(failures) == 1
    until(lambda: [e for e in sim.ledger(since) if e["outcome"] == "cut"], "the provider was told")


def test_an_answer_is_openai_s_as_a_dictionary(client: Client) -> None:
    answer = to_dict(client.chat.create(**ASK))
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": WORDS,
        "refusal": None,
        "annotations": [],
    }
