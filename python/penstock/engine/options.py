"""The options of the process from configuration, environment and command line, in rising order of precedence."""

from __future__ import annotations

from penstock.config.env import Environment
from penstock.config.penstock_section import GrpcSettings, IdempotencySettings
from penstock.config.schema import Config
from penstock.config.values import first as _first
from penstock.engine.snapshot import EngineOptions, GrpcOptions, IdempotencyOptions, ListenerTls


def engine_options(
    config: Config,
    environment: Environment,
    *,
    host: str | None = None,
    port: int | None = None,
    threads: int | None = None,
    control_socket: str = "",
    pepper: str = "",
    listen: bool = True,
    incarnation: str = "",
    journal_dir: str | None = None,
    shared_limits: bool = False,
    shared_answers: bool = False,
) -> EngineOptions:
    """``host``, ``port`` and ``threads`` are the command line's. ``listen`` False: another listener has the port.
    ``shared_limits`` and ``shared_answers`` (those under idempotency keys): there is a Redis.
    """
    own, defaults = config.penstock, EngineOptions()
    listener, limits = own.listener, own.limits
    body = listener.max_body_mb or config.general_settings.max_request_size_mb
    return EngineOptions(
        host=_first(host, environment.host, listener.host, defaults.host),
        port=_first(port, environment.port, listener.port, defaults.port) if listen else None,
        threads=_first(threads, environment.threads, listener.threads, defaults.threads),
        control_socket=control_socket,
        pepper=pepper,
        tls=ListenerTls(listener.tls.certificate, listener.tls.key, listener.tls.client_ca) if listener.tls else None,
        max_body_bytes=body * 1024 * 1024 if body else defaults.max_body_bytes,
        max_header_bytes=listener.max_header_kb * 1024 if listener.max_header_kb else defaults.max_header_bytes,
        header_timeout_ms=_first(listener.header_timeout, defaults.header_timeout_ms),
        body_timeout_ms=_first(listener.body_timeout, defaults.body_timeout_ms),
        idle_timeout_ms=_first(listener.idle_timeout, defaults.idle_timeout_ms),
        write_timeout_ms=_first(listener.write_timeout, defaults.write_timeout_ms),
        busy_poll_us=_first(listener.busy_poll_us, defaults.busy_poll_us),
        max_connections=_first(listener.max_connections, defaults.max_connections),
        max_streams=_first(listener.max_streams, defaults.max_streams),
        trusted_proxies=[str(block) for block in listener.trusted_proxies],
        key_table_capacity=_first(limits.key_table_capacity, defaults.key_table_capacity),
        negative_ttl_ms=_first(limits.negative_ttl, defaults.negative_ttl_ms),
        hook_timeout_ms=_first(limits.hook_timeout, defaults.hook_timeout_ms),
        shared_limits=shared_limits,
        usage_queue_capacity=_first(own.ledger.queue_capacity, defaults.usage_queue_capacity),
        ca_file=own.upstream.ca_file,
        grpc=_grpc(own.grpc),
        idempotency=_idempotency(own.idempotency, is_shared=shared_answers),
        incarnation=incarnation,
        journal_dir=journal_dir,
        checkpoint_ms=_first(own.ledger.checkpoint, defaults.checkpoint_ms),
    )


def _grpc(settings: GrpcSettings) -> GrpcOptions:
    defaults = GrpcOptions()
    return GrpcOptions(
        reflection=_first(settings.reflection, defaults.reflection),
        web_origins=[str(origin) for origin in settings.web_origins],
        max_connection_age_ms=settings.max_connection_age or None,
        max_connection_age_grace_ms=settings.max_connection_age_grace,
        keepalive_ms=_first(settings.keepalive, defaults.keepalive_ms),
        keepalive_timeout_ms=_first(settings.keepalive_timeout, defaults.keepalive_timeout_ms),
    )


def _idempotency(settings: IdempotencySettings, *, is_shared: bool) -> IdempotencyOptions:
    defaults = IdempotencyOptions()
    return IdempotencyOptions(
        keep_ms=_first(settings.keep, defaults.keep_ms),
        answer_bytes=settings.answer_kb * 1024 if settings.answer_kb else defaults.answer_bytes,
        memory_bytes=settings.memory_mb * 1024 * 1024 if settings.memory_mb else defaults.memory_bytes,
        shared=is_shared,
        claim_ms=_first(settings.claim, defaults.claim_ms),
    )
