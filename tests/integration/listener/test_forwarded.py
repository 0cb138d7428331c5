"""What the app is told about the client, and which headers stay on their hop, seen at the control socket itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.integration.listener.standin import StandIn, engine, socket_path
from tests.integration.listener.wire import Message

_TRUSTED = "127.0.0.9"


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[StandIn, str]]:
    """A stand-in and the port before it; one address of the loopback network is a trusted proxy."""
    with socket_path() as path:
        standin = StandIn(path)
        try:
            with engine(path, trusted_proxies=[_TRUSTED, "10.0.0.0/8"]) as url:
                yield standin, url
        finally:
            standin.close()
        assert standin.failures == []


def _relayed(
    app: tuple[StandIn, str], *fields: str, source: str | None = None, line: str = "GET /x HTTP/1.1"
) -> Message:
    standin, url = app
    standin.does(standin.answer_empty)
    with wire.connect(url, source=source) as client:
        client.send("\r\n".join([line, "Host: gateway.example:4000", *fields]) + "\r\n\r\n")
        assert client.answer().status == 204
    assert len(standin.requests) == 1
    return standin.requests[0]


def test_the_request_reaches_the_app_as_it_was(app: tuple[StandIn, str]) -> None:
    request = _relayed(
        app,
        "X-Own: 1",
        "x-own: 2",
        "Cookie: a=b; c=d",
        "Authorization: Bearer k",
        line="PATCH /a/%2Fx//b;c=d?q=%20&q=../.. HTTP/1.1",
    )
    assert request.start == "PATCH /a/%2Fx//b;c=d?q=%20&q=../.. HTTP/1.1"
    assert request.all("x-own") == ["1", "2"]
    assert request.all("host") == ["gateway.example:4000"]
    assert request.get("cookie") == "a=b; c=d"
    assert request.get("authorization") == "Bearer k"


def test_the_app_learns_address_scheme_and_host(app: tuple[StandIn, str]) -> None:
    request = _relayed(app, source="127.0.0.5")
    assert request.all("x-forwarded-for") == ["127.0.0.5"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == ["gateway.example:4000"]


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-For: 10.1.1.1",
        "x-forwarded-for: 10.1.1.1, 10.2.2.2",
        "X-FORWARDED-PROTO: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: for=10.1.1.1;host=evil.example;proto=https",
        "X-Penstock-Internal-Caller: master",
    ],
)
def test_a_client_cannot_speak_for_the_relay(app: tuple[StandIn, str], field: str) -> None:
    request = _relayed(app, field)
    told = {name.lower(): value for name, value in request.fields if "forwarded" in name.lower()}
    assert told == {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "gateway.example:4000",
    }
    assert request.get("x-penstock-internal-caller") is None
    assert "evil" not in repr(request.fields)
    assert len(request.all("x-forwarded-for")) == 1


@pytest.mark.parametrize("nominating", ["X-Forwarded-For", "Host", "Authorization", "X-Forwarded-Host, Content-Type"])
def test_what_connection_nominates_cannot_unseat_what_the_relay_says(app: tuple[StandIn, str], nominating: str) -> None:
    request = _relayed(app, f"Connection: {nominating}", "X-Forwarded-For: 10.1.1.1", "Authorization: Bearer k")
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-host") == ["gateway.example:4000"]
    assert request.all("host") == ["gateway.example:4000"]


@pytest.mark.parametrize(
    "chain, expected",
    [
        (["X-Forwarded-For: 198.51.100.7"], "198.51.100.7"),
        (["X-Forwarded-For: 203.0.113.1, 198.51.100.7"], "198.51.100.7"),
        (["X-Forwarded-For: 203.0.113.1, 198.51.100.7, 10.3.3.3"], "198.51.100.7"),
        (["X-Forwarded-For: 203.0.113.1, 198.51.100.7", "X-Forwarded-For: 10.3.3.3"], "198.51.100.7"),
        (["X-Forwarded-For: 198.51.100.7,10.3.3.3 ,10.4.4.4"], "198.51.100.7"),
        (["X-Forwarded-For: [2001:db8::7]:4711"], "2001:db8::7"),
        (["X-Forwarded-For: 198.51.100.7:4711"], "198.51.100.7"),
        (["X-Forwarded-For: 10.5.5.5, 10.3.3.3"], "10.5.5.5"),
        (["X-Forwarded-For: nonsense"], _TRUSTED),
        (["X-Forwarded-For: 198.51.100.7, unknown"], _TRUSTED),
        (["X-Forwarded-For: 198.51.100.7, nonsense, 10.3.3.3"], "10.3.3.3"),
        (["X-Forwarded-For:"], _TRUSTED),
        ([], _TRUSTED),
    ],
)
def test_a_trusted_proxy_is_believed_up_to_the_first_stranger(
    app: tuple[StandIn, str], chain: list[str], expected: str
) -> None:
    request = _relayed(app, *chain, source=_TRUSTED)
    assert request.all("x-forwarded-for") == [expected]


def test_a_trusted_proxy_may_say_scheme_and_host(app: tuple[StandIn, str]) -> None:
    said = ["X-Forwarded-Proto: https", "X-Forwarded-Host: api.example"]
    request = _relayed(app, *said, source=_TRUSTED)
    assert request.all("x-forwarded-proto") == ["https"]
    assert request.all("x-forwarded-host") == ["api.example"]
    assert _relayed(app, "X-Forwarded-Proto: javascript", source=_TRUSTED).all("x-forwarded-proto") == ["http"]


def test_hop_by_hop_fields_of_the_request_stay_on_their_hop(app: tuple[StandIn, str]) -> None:
    request = _relayed(
        app,
        "Connection: keep-alive, X-Mine",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic c2VjcmV0",
        "TE: trailers",
        "Trailer: X-T",
        "X-Mine: 1",
        "X-Theirs: 2",
    )
    names = {name.lower() for name, _ in request.fields}
    assert names == {"host", "x-theirs", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}


def test_hop_by_hop_fields_of_the_answer_stay_on_their_hop(app: tuple[StandIn, str]) -> None:
    standin, url = app
    standin.answers(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Mine\r\nKeep-Alive: timeout=9\r\nX-Mine: 1\r\nX-Theirs: 2\r\n"
        b"Proxy-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
    )
    with wire.connect(url) as client:
        for _ in range(2):
            answer = client.send("GET /x HTTP/1.1\r\nHost: gateway\r\n\r\n").answer()
            # The app's connection ends; the client's does not.
            assert answer.body == b"ok"
            names = [name.lower() for name, _ in answer.fields]
            assert sorted(names) == ["content-length", "set-cookie", "set-cookie", "x-theirs"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/key/info"], ids=["call", "control"])
def test_a_key_s_addresses_are_judged_by_what_a_trusted_proxy_says_and_by_nobody_else(port: Gateway, path: str) -> None:
    key = port.new_key(allowed_cidrs=["10.9.0.0/16"])
    method = "POST" if path.startswith("/v1") else "GET"
    body = b'{"model": "sim", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}'

    def status(source: str, *chain: str) -> int:
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {key}", "Connection: close"]
        lines += [f"X-Forwarded-For: {chain[0]}"] if chain else []
        lines += [f"Content-Length: {len(body)}"] if method == "POST" else []
        with wire.connect(port.url, source=source) as client:
            client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body if method == "POST" else b""))
            return client.answer().status

    assert status(_TRUSTED, "10.9.1.1") == 200
    assert status(_TRUSTED, "10.9.1.1, 10.9.2.2") == 200
    assert status(_TRUSTED, "10.8.1.1") == 403
    assert status(_TRUSTED, "10.9.1.1, 10.8.1.1") == 403
    assert status(_TRUSTED) == 403
    assert status("127.0.0.2", "10.9.1.1") == 403
    assert status("127.0.0.1", "10.9.1.1") == 403


@pytest.mark.parametrize(
    "path", ["//v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/", "/v1/chat//completions"]
)
def test_a_hot_route_spelled_otherwise_is_no_way_round_a_key_s_addresses(port: Gateway, path: str) -> None:
    key = port.new_key(allowed_cidrs=["10.9.0.0/16"])
    with wire.connect(port.url) as client:
        answer = client.send(wire.chat(key, BODY, "X-Forwarded-For: 10.9.1.1", path=path)).answer()
    assert answer.status in (403, 404)
