"""One load through the extension: the structs are those of the load generator, in this process and in one of its own."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import msgspec
import pytest

from penstock import _core
from penstock.bench import load, report
from penstock.bench.load import Client, GrpcOptions, LoadError, Options, Progress, StreamOptions
from tests.stalls import Stopwatch, again_after_a_stall

BODY = json.dumps({"model": "sim/ttft=5,tokens=4", "messages": [{"role": "user", "content": "hello"}]})


def options(url: str, **rest: Any) -> Options:
    return Options(url=f"{url}/v1/chat/completions", headers=[("content-type", "application/json")], body=BODY, **rest)


def names(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def test_the_structs_are_the_load_generators(simulator_url: str) -> None:
    body = json.loads(BODY) | {"stream": True}
    asked = options(simulator_url, rate=100.0, requests=10, stream=StreamOptions())
    encoded = msgspec.json.encode(msgspec.structs.replace(asked, body=json.dumps(body) + " "))
    said = json.loads(_core.run_load(encoded))
    assert set(said) == names(report.Report) - {"first_error"}
    assert set(said["latency_us"]) == names(report.Quantiles)
    assert set(said["stream"]) == names(report.StreamReport)
    assert set(said["seconds"][0]) == names(report.Second)
    broken = json.loads(_core.run_load(b'{"url": "http://127.0.0.1:1/", "requests": 1}'))
    assert set(broken["first_error"]) == names(report.FirstError)


def test_every_option_is_known() -> None:
    stream = dict.fromkeys(names(StreamOptions)) | {"order": "any", "done": False, "usage": True}
    grpc = dict.fromkeys(names(GrpcOptions)) | {"message": "", "calls_per_connection": 1}
    everything = Options(url="nowhere", requests=1, duration_ms=1, body_bytes=1, rate=1.0, ca_file="x", insecure=True)
    said = {name: getattr(everything, name) for name in names(Options)} | {"stream": stream, "grpc": grpc}
    # The first complaint is about the URL: none about a field.
    with pytest.raises(ValueError, match=r"^url: must begin"):
        _core.run_load(json.dumps(said).encode())
    with pytest.raises(ValueError, match="unknown field `nonsense`"):
        _core.run_load(json.dumps(said | {"nonsense": 1}).encode())


def test_a_message_arrives_as_bytes() -> None:
    options = Options(url="http://127.0.0.1:1/x", requests=1, grpc=GrpcOptions(bytes(range(256)), 70_000))
    assert msgspec.json.decode(msgspec.json.encode(options), type=Options) == options
    with pytest.raises(ValueError, match=r"^calls_per_connection: "):
        _core.run_load(msgspec.json.encode(options))


def test_in_this_process(simulator_url: str) -> None:
    report = load.run(options(simulator_url, requests=20, connections=2))
    assert (report.requests, report.errors, report.stopped) == (20, 0, False)
    assert report.latency_us.min >= 5_000
    with pytest.raises(LoadError, match=r"^connections:"):
        load.run(options(simulator_url, requests=1, connections=0))


@again_after_a_stall(0.03)
def test_in_a_process_of_its_own(simulator_url: str) -> None:
    seen: list[Progress] = []
    core = frozenset([min(os.sched_getaffinity(0))])
    before = os.sched_getaffinity(0)
    report = Client(cores=core).run(options(simulator_url, duration_ms=1_500, connections=2), meanwhile=seen.append)
    assert os.sched_getaffinity(0) == before
    assert report.errors == 0
    assert len(seen) >= 3
    counts = [progress.requests for progress in seen]
    assert counts == sorted(counts)
    assert 0 < counts[-1] <= report.requests
    assert seen[-1].elapsed_s <= 1.6


def test_it_is_stopped_early(simulator_url: str) -> None:
    stop = threading.Event()

    def after_a_second(progress: Progress) -> None:
        if progress.elapsed_s >= 0.5:
            stop.set()

    watch = Stopwatch()
    report = Client().run(options(simulator_url, duration_ms=60_000), meanwhile=after_a_second, stop=stop)
    assert watch.ran_s < 10
    assert report.stopped
    assert report.requests > 20
    assert report.errors == 0
    # Before it has begun, too.
    assert Client().run(options(simulator_url, duration_ms=60_000), stop=stop).stopped


def test_what_goes_wrong_with_the_process_is_told(simulator_url: str) -> None:
    asked = options(simulator_url, duration_ms=30_000)
    with pytest.raises(LoadError, match=r"^threads:"):
        Client().run(options(simulator_url, requests=1, threads=2))
    with pytest.raises(LoadError, match="longer than 1 s"):
        Client().run(asked, timeout=1)
    with pytest.raises(LoadError, match="the reason"):
        Client(command=[sys.executable, "-c", "import sys; sys.exit('the reason')"]).run(asked)
    with pytest.raises(LoadError, match="-9"):
        Client(command=[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).run(asked)
