"""Target, key, deadline and channel options of a client, checked once. Pure, so that both clients share it."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc

from penstock.client import _checks as checks
from penstock.client.errors import ConfigurationError
from penstock.config.env import Environment

API_KEY: Final = "PENSTOCK_API_KEY"
DEFAULT_TARGET: Final = "grpc://127.0.0.1:4000"
DEFAULT_TIMEOUT_S: Final = 60.0
DEFAULT_RETRIES: Final = 2
_DEFAULT_PORTS: Final = {"grpc": 4000, "grpcs": 443}
_ADDRESS: Final = re.compile(r"(?P<host>\[[^][/@]+\]|[^][:/@]+)(:(?P<port>[0-9]*))?")
_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_START_BYTES: Final = 32 * 1024 * 1024
"""What a gateway takes unless it is set otherwise. Over it a call of its own is refused, and a session is ended."""
MAX_SEND: Final = "grpc.max_send_message_length"
_AUTHORITY: Final = "grpc.default_authority"

OPTIONS: Final[dict[str, Any]] = {
    # An image or a long embedding answer is larger than grpcio's 4 MiB.
    "grpc.max_receive_message_length": _MESSAGE_BYTES,
    MAX_SEND: _MESSAGE_BYTES,
    # Finds a dead connection under a stream that has been silent while a model thinks. Not without calls: an idle
    # client need not keep load balancers busy, and servers close connections of clients that ping too much.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.http2.max_pings_without_data": 0,
    # Retries are ours: gRPC's policies cannot read RetryInfo. Its transparent ones go with them, for in 1 of some 4,000
    # streams that a server's shutdown met as they began, grpcio 1.85 with retries never told how the stream ended.
    "grpc.enable_retries": 0,
    "grpc.service_config": json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}),
    # Not from DNS: who answers for a name must not decide how calls are made.
    "grpc.service_config_disable_resolution": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5_000,
}


class Settings:
    """What a client was given, with defaults filled in.

    Raises:
        ConfigurationError: An argument is missing or cannot be used.
    """

    def __init__(
        self,
        target: str,
        api_key: str | None,
        *,
        timeout: float,
        max_retries: int,
        compression: bool,
        metadata: checks.Metadata | None,
        channel_options: Mapping[str, Any] | None,
        root_certificates: bytes | None,
        client_certificate: tuple[bytes, bytes] | None,
    ) -> None:
        self.address, self.is_secure = parse_target(target)
        key = api_key if api_key is not None else Environment().get(API_KEY)
        if key is None or key == "":
            raise ConfigurationError(f"No API key: pass `api_key` or set {API_KEY}.")
        self._authorization = ("authorization", f"Bearer {checks.api_key(key)}")
        self.timeout = checks.timeout(timeout)
        self.max_retries = checks.max_retries(max_retries)
        is_compressed = checks.compression(compression)
        self.compression = grpc.Compression.Gzip if is_compressed else grpc.Compression.NoCompression
        self._metadata = checks.metadata({} if metadata is None else metadata)
        self._certificates = checks.certificates(root_certificates, client_certificate)
        given = checks.channel_options({} if channel_options is None else channel_options)
        self.options = list({**OPTIONS, **_authority(self.address), **given}.items())
        most = given.get(MAX_SEND, _START_BYTES)
        self.max_start: int | None = most if isinstance(most, int) and most >= 0 else None
        """Bytes that the first frame of a session's call may have; None: any number."""

    def __repr__(self) -> str:
        return f"Settings({'grpcs' if self.is_secure else 'grpc'}://{self.address})"

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """For a secure channel."""
        roots, (chain, key) = self._certificates
        return grpc.ssl_channel_credentials(roots, key, chain)

    def metadata(self, of_call: object) -> list[tuple[str, str | bytes]]:
        """What goes with a call."""
        return [self._authorization, *self._metadata, *(() if of_call is None else checks.metadata(of_call))]


def parse_target(target: str) -> tuple[str, bool]:
    """Address and whether it is TLS: `grpc://host[:port]` or `host[:port]` (plaintext, port 4000 unless it is given),
    `grpcs://host[:port]` (TLS, 443). Other forms that grpcio knows (`unix:`, `dns:`, `ipv4:`) are passed on as they are,
    in plaintext.

    Raises:
        ConfigurationError: It is none of these.
    """
    if not isinstance(target, str):
        raise ConfigurationError(f"`target` must be text, as `grpc://host:port`, not {type(target).__name__}.")
    scheme, found, rest = target.partition("://")
    if not found:
        if not target or target.isspace():
            raise ConfigurationError("`target` is empty; give `grpc://host:port`, `grpcs://host` or `host:port`.")
        # A colon is also what ends the name of one of grpcio's resolvers.
        is_host = ":" not in target or target.startswith("[") or _is_ipv6(target)
        return (_with_port("grpc", target) if is_host else target), False
    if scheme in ("unix", "dns", "xds"):
        return target, False
    if scheme not in _DEFAULT_PORTS:
        raise ConfigurationError(f"`target` has the scheme `{scheme}`; use grpc:// (plaintext) or grpcs:// (TLS).")
    return _with_port(scheme, rest), scheme == "grpcs"


def _with_port(scheme: str, address: str) -> str:
    """Host and port. Where none is given it is the scheme's: grpcio takes 443, in plaintext too."""
    address = address.rstrip("/")
    if _is_ipv6(address):
        return f"[{address}]:{_DEFAULT_PORTS[scheme]}"
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigurationError("`target` must be a scheme, a host and a port, as grpcs://gateway.example:443.")
    return f"{found['host']}:{found['port'] or _DEFAULT_PORTS[scheme]}"


def _is_ipv6(address: str) -> bool:
    """Without brackets, and so without a port."""
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _authority(address: str) -> dict[str, str]:
    """The `:authority` of calls, where grpcio's own would be none: it takes the whole path of a socket, or the whole
    list of addresses, and servers refuse what is not one host and port."""
    scheme, _, rest = address.partition(":")
    is_one_host = "," not in rest if scheme in ("ipv4", "ipv6") else scheme not in ("unix", "unix-abstract", "vsock")
    return {} if is_one_host else {_AUTHORITY: "localhost"}


def text_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """Metadata as a dictionary; binary entries are left out, they are for the error parser."""
    return {name: value for name, value in metadata or () if isinstance(value, str)}
