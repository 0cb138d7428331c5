"""TLS on the public port: versions, ALPN, client certificates, and certificates renewed under way."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.certificates import Authority, needs_openssl
from tests.integration.listener.conftest import BODY, CONFIG
from tests.integration.listener.h2client import H2Client
from tests.integration.listener.wire import Wire

Paths = tuple[Path, Path]


class Secured:
    """A gateway with TLS and what its clients need."""

    def __init__(self, gateway: Gateway, authority: Authority, files: Paths) -> None:
        self.gateway = gateway
        self.authority = authority
        self.certificate, self.key = files

    def open(self, *alpn: str, client: Paths | None = None, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """A connection after its handshake."""
        chosen = context or self.authority.context(*alpn, client=client)
        plain = wire.connect(self.gateway.url).sock
        return chosen.wrap_socket(plain, server_hostname="localhost")

    def serial(self) -> str:
        """Of the certificate shown to a new connection."""
        with self.open() as secured:
            shown = secured.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])

    def logged(self, event: str) -> int:
        """How often."""
        return self.gateway.process.output().count(f'"{event}"')


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Of every certificate here."""
    needs_openssl()
    return Authority(tmp_path_factory.mktemp("authority"))


def _start(directory: Path, simulator_url: str, authority: Authority, *, client_ca: Path | None = None) -> Secured:
    for source, name in zip(authority.issue("server"), ("server.pem", "server.key"), strict=True):
        shutil.copy(source, directory / name)
    files = directory / "server.pem", directory / "server.key"
    ca = f", client_ca: {client_ca}" if client_ca else ""
    tls = f"tls: {{certificate: {files[0]}, key: {files[1]}{ca}}}, header_timeout: 2s"
    return Secured(Gateway(directory, simulator_url, config=CONFIG % tls), authority, files)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, simulator_url: str, authority: Authority) -> Iterator[Secured]:
    """With a server certificate only."""
    running = _start(tmp_path_factory.mktemp("tls"), simulator_url, authority)
    try:
        yield running
    finally:
        running.gateway.close()


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, simulator_url: str, authority: Authority) -> Iterator[Secured]:
    """Which asks its clients for certificates."""
    directory = tmp_path_factory.mktemp("mutual")
    running = _start(directory, simulator_url, authority, client_ca=authority.certificate)
    try:
        yield running
    finally:
        running.gateway.close()


def test_the_address_says_https(secured: Secured) -> None:
    assert secured.gateway.url.startswith("https://127.0.0.1:")


@pytest.mark.parametrize(
    "offered, chosen",
    [(["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), ([], None)],
)
def test_alpn_chooses_the_protocol_that_is_then_spoken(
    secured: Secured, offered: list[str], chosen: str | None
) -> None:
    with secured.open(*offered) as sock:
        assert sock.selected_alpn_protocol() == chosen
        if chosen == "h2":
            client = H2Client(sock)
            assert client.answer(client.open("GET", "/_health/live")).status == 200
        else:
            answer = Wire(sock).send("GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n").answer()
            assert answer.json() == {"status": "alive"}


def test_a_protocol_that_is_not_spoken_is_refused_in_the_handshake(secured: Secured) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        secured.open("spdy/3")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_versions_are_spoken(secured: Secured, version: ssl.TLSVersion) -> None:
    context = secured.authority.context()
    context.minimum_version = context.maximum_version = version
    with secured.open(context=context) as sock:
        assert sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_calls_streams_and_control_routes_work_over_tls(secured: Secured) -> None:
    gateway = secured.gateway
    with gateway.client(verify=secured.authority.context()) as client:
        answer = client.post("/v1/chat/completions", headers=gateway.admin, json=BODY)
        assert answer.json()["usage"]["completion_tokens"] == 4
        streamed = client.post(
            "/v1/chat/completions",
            headers=gateway.admin | {"x-sim-tokens": "300", "x-sim-bytes": "4000"},
            json={**BODY, "stream": True, "max_tokens": 300},
        )
        assert streamed.content.count(b'"finish_reason":null') == 301
        assert client.post("/key/generate", headers=gateway.admin, json={}).json()["key"].startswith("sk-")
        assert client.get("/no/such/route").json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    "payload", ["GET /_health/live HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_plain_text_is_refused(secured: Secured, payload: str) -> None:
    with wire.connect(secured.gateway.url) as client:
        received = client.send(payload).rest()
    assert b"HTTP/" not in received
    assert b"alive" not in received


def test_a_handshake_that_stalls_is_given_up(secured: Secured) -> None:
    with wire.connect(secured.gateway.url) as client:
        client.send(b"\x16\x03\x01")
        assert client.rest() == b""
    assert secured.serial()


def test_a_client_certificate_is_required_and_checked(mutual: Secured, tmp_path: Path) -> None:
    good = mutual.authority.issue("client")
    with mutual.open(client=good) as sock:
        assert Wire(sock).send("GET /_health/live HTTP/1.1\r\nHost: a\r\n\r\n").answer().status == 200
    with mutual.open("h2", client=good) as sock:
        client = H2Client(sock)
        assert client.answer(client.open("GET", "/_health/live")).status == 200
    stranger = Authority(tmp_path, "stranger").issue("stranger-client")
    for presented in (None, stranger):
        # With TLS 1.3 the client learns of the refusal when it first reads.
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):  # noqa: SIM117
            with mutual.open(client=presented) as sock:
                Wire(sock).send("GET /_health/live HTTP/1.1\r\nHost: a\r\n\r\n").answer()


def _install(secured: Secured, files: Paths) -> None:
    """As renewal tools do: new files take the names of the old ones."""
    for source, target in zip(files, (secured.certificate, secured.key), strict=True):
        beside = target.with_suffix(".new")
        shutil.copy(source, beside)
        beside.replace(target)


@pytest.mark.parametrize("by", ["polling", "signal"])
def test_a_renewed_certificate_is_shown_to_new_connections(secured: Secured, by: str) -> None:
    former = secured.serial()
    with secured.open() as kept:
        _install(secured, secured.authority.issue(f"renewed-{by}"))
        if by == "signal":
            os.kill(secured.gateway.pid, signal.SIGHUP)
        wire.until(lambda: secured.serial() != former)
        # A connection that was there before goes on.
        assert Wire(kept).send("GET /_health/live HTTP/1.1\r\nHost: a\r\n\r\n").answer().status == 200


def test_a_certificate_that_cannot_be_used_leaves_the_former_in_force(secured: Secured) -> None:
    former = secured.serial()
    refused = secured.logged("tls.refused")
    good = secured.certificate.read_bytes()
    secured.certificate.write_text("not a certificate\n")
    wire.until(lambda: secured.logged("tls.refused") > refused)
    assert secured.serial() == former
    reloaded = secured.logged("tls.reloaded")
    secured.certificate.write_bytes(good)
    wire.until(lambda: secured.logged("tls.reloaded") > reloaded)
    assert secured.serial() == former


def test_a_certificate_whose_key_has_not_come_yet_is_not_shown(secured: Secured) -> None:
    former = secured.serial()
    refused = secured.logged("tls.refused")
    certificate, key = secured.authority.issue("halves")
    shutil.copy(certificate, secured.certificate)
    wire.until(lambda: secured.logged("tls.refused") > refused)
    assert secured.serial() == former
    shutil.copy(key, secured.key)
    wire.until(lambda: secured.serial() != former)


def test_a_missing_certificate_is_a_message_and_no_traceback(
    start_process: Callable[..., object], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"penstock: {{listener: {{tls: {{certificate: {tmp_path}/no.pem, key: {tmp_path}/no.key}}}}}}\n")
    process = start_process("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--config", str(config))
    assert process.wait() == 1  # type: ignore[attr-defined]
    output = process.output()  # type: ignore[attr-defined]
    assert "no.pem" in output
    assert "Traceback" not in output
