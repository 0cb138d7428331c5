"""Connections on which nothing happens, and more connections than there may be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from tests.integration.listener import wire
from tests.integration.listener.standin import engine
from tests.stalls import Stopwatch, again_after_a_stall

_IDLE_S = 0.5
_LIVE = "GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PING, _GOAWAY = 6, 7
_EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A data plane that has little patience and few places."""
    with engine("", idle_timeout_ms=int(_IDLE_S * 1000), header_timeout_ms=2_000, max_connections=8) as started:
        yield started


@pytest.mark.parametrize("requests", [0, 2])
@again_after_a_stall(_IDLE_S / 4)
def test_an_idle_http_1_connection_is_closed(url: str, requests: int) -> None:
    with wire.connect(url) as client:
        watch = Stopwatch()
        for _ in range(requests):
            watch = Stopwatch()
            assert client.send(_LIVE).answer().status == 200
        assert client.is_closed()
        assert watch.seconds > _IDLE_S * 0.9
        assert watch.ran_s < _IDLE_S + 2


def test_an_idle_http_2_connection_is_told_and_closed(url: str) -> None:
    goodbyes = []
    watch = Stopwatch()
    with wire.connect(url) as client:
        client.send(_PREFACE + _EMPTY_SETTINGS)
        while client.buffer or client.fill():
            head = client.take(9)
            kind, flags = head[3], head[4]
            payload = client.take(int.from_bytes(head[:3], "big"))
            if kind == _PING and not flags:
                client.send(b"\0\0\x08\x06\x01\0\0\0\0" + payload)
            elif kind == _GOAWAY:
                goodbyes.append(int.from_bytes(payload[4:8], "big"))
        assert watch.seconds > _IDLE_S * 0.9
        assert watch.ran_s < _IDLE_S + 2
    assert goodbyes
    assert set(goodbyes) == {0}


@pytest.mark.parametrize("first", [_PREFACE, _PREFACE + _EMPTY_SETTINGS], ids=["preface", "settings"])
def test_an_http_2_client_that_answers_nothing_is_closed_too(url: str, first: bytes) -> None:
    """A client that does not answer the server's last ping must not keep its connection for ever."""
    with wire.connect(url) as client:
        watch = Stopwatch()
        client.send(first).rest()
        assert watch.ran_s < _IDLE_S + 5


def test_a_frame_that_never_ends_does_not_keep_a_connection(url: str) -> None:
    with wire.connect(url) as client:
        watch = Stopwatch()
        # HEADERS of 100 bytes, of which 3 come.
        client.send(_PREFACE + _EMPTY_SETTINGS + b"\0\0\x64\1\5\0\0\0\1\x82\x86\x84").rest()
        assert watch.ran_s < _IDLE_S + 5


def test_connections_beyond_the_limit_are_closed_at_once_and_places_are_given_again(url: str) -> None:
    def turned_away() -> bool:
        held = [wire.connect(url) for _ in range(8)]
        for client in held:
            assert client.send(_LIVE).answer().status == 200
        with wire.connect(url) as surplus:
            watch = Stopwatch()
            closed = surplus.send(_LIVE).fill() is False
            in_time = watch.ran_s < _IDLE_S * 0.9
        for client in held:
            client.close()
        return closed and in_time

    whole = Stopwatch()
    while not turned_away():
        # On a machine that stands still those that hold the places are idle for too long.
        assert whole.longest_s > _IDLE_S / 4
        whole = Stopwatch()

    def served() -> bool:
        with wire.connect(url) as client:
            answer = client.send(_LIVE).read()
            return answer is not None and answer.status == 200

    wire.until(served)
