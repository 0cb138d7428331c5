"""Requests per minute, through the public port."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.managed import Managed

_SPAN = re.compile(r"^(?:(\d+)m)?(?:(\d+(?:\.\d+)?)(ms|s))$")


def seconds(span: str) -> float:
    """OpenAI's way of writing a duration: `120ms`, `1.5s`, `6m0s`."""
    match = _SPAN.match(span)
    assert match is not None, span
    return int(match[1] or 0) * 60 + float(match[2]) / (1000 if match[3] == "ms" else 1)


def test_exactly_the_limit_is_admitted_of_fifty_calls_at_once(managed: Managed) -> None:
    key = managed.key(rpm_limit=10)
    answers = managed.many(key, 50)
    admitted = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert len(admitted) == 10
    remaining = sorted(int(answer.headers["x-ratelimit-remaining-requests"]) for answer in admitted)
    assert remaining == list(range(10)), "each admission took its own place"


def test_threads_of_the_data_plane_share_one_limit(start_managed: Callable[..., Managed]) -> None:
    gateway = start_managed(arguments=["--threads", "3"])
    key = gateway.key(rpm_limit=12)
    with ThreadPoolExecutor(3) as pool:
        rounds = list(pool.map(lambda _: gateway.many(key, 20), range(3)))
    assert sum(answer.status_code == 200 for answers in rounds for answer in answers) == 12


def test_the_headers_say_where_the_key_stands(managed: Managed) -> None:
    key = managed.key(rpm_limit=5)
    for remaining in (4, 3):
        headers = managed.chat(key).headers
        assert headers["x-ratelimit-limit-requests"] == "5"
        assert headers["x-ratelimit-remaining-requests"] == str(remaining)
        # All five are there again a minute after the newest of them was used.
        assert 59 < seconds(headers["x-ratelimit-reset-requests"]) <= 60
        assert "x-ratelimit-limit-tokens" not in headers, "a limit that the key does not have is not spoken of"


def test_a_refusal_is_openais_and_says_when_to_come_back(managed: Managed) -> None:
    key = managed.key(rpm_limit=2)
    sent = time.monotonic()
    for _ in range(2):
        assert managed.chat(key).status_code == 200
    refused = managed.chat(key)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
    assert "requests per minute" in error["message"]
    assert "limit 2" in error["message"]
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    milliseconds = int(refused.headers["retry-after-ms"])
    # A minute after the first, or after the second when it came so soon that the two are counted as one.
    assert 60_000 - 1_000 * (time.monotonic() - sent) <= milliseconds <= 60_000
    assert int(refused.headers["retry-after"]) == -(-milliseconds // 1000)


def test_a_refusal_on_anthropics_surface_is_anthropics(managed: Managed) -> None:
    key = managed.key(rpm_limit=1)
    body = {"model": "claude", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}
    answers = [managed.client.post("/v1/messages", headers={"x-api-key": key}, json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].json()["type"] == "error"
    assert answers[1].json()["error"]["type"] == "rate_limit_error"
    assert int(answers[1].headers["retry-after"]) > 50


def test_the_moment_that_is_promised_does_not_move(managed: Managed) -> None:
    # That it is kept, a minute later, is shown on a clock of its own in `limits/window/tests.rs`.
    key = managed.key(rpm_limit=3)
    assert [managed.chat(key).status_code for _ in range(3)] == [200] * 3
    moments = []
    for _ in range(5):
        asked = time.monotonic()
        refused = managed.chat(key)
        promised = int(refused.headers["retry-after-ms"]) / 1000
        moments.append((asked + promised, time.monotonic() + promised))
    # Each promise names one moment, somewhere between when it was asked for and when it was read.
    assert max(earliest for earliest, _ in moments) <= min(latest for _, latest in moments) + 0.001


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/v1/moderations", "/v1/responses"])
def test_every_surface_counts_against_the_limit(managed: Managed, path: str) -> None:
    key = managed.key(rpm_limit=1)
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": "priced", "input": "hello", "prompt": "hello"}
    if path == "/v1/completions":
        del body["input"]
    else:
        del body["prompt"]
    answers = [managed.client.post(path, headers=headers, json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429], answers[0].text


def test_a_limit_of_nothing_admits_nothing(managed: Managed) -> None:
    refused = managed.chat(managed.key(rpm_limit=0))
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-limit-requests"] == "0"


def test_a_call_that_is_refused_for_its_model_is_not_counted(managed: Managed) -> None:
    key = managed.key(rpm_limit=2, models=["priced"])
    for _ in range(5):
        assert managed.chat(key, model="other").status_code == 403
    assert managed.chat(key).headers["x-ratelimit-remaining-requests"] == "1"


def test_the_master_key_has_no_limits(managed: Managed) -> None:
    answers = managed.many(managed.gateway.admin_key, 20)
    assert {answer.status_code for answer in answers} == {200}
