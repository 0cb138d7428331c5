"""The Rust data plane, as Python sees it.

Everything that crosses the boundary is bytes (JSON documents whose shapes are the msgspec
structs of ``penstock.engine.snapshot`` and ``penstock.engine.events``), numbers and handles.
No call here blocks on the network; every call that takes longer than a few microseconds
releases the GIL.
"""

from typing import Final, final

__all__ = [
    "Engine",
    "Load",
    "Simulator",
    "__version__",
    "build_info",
    "count_request_tokens",
    "count_tokens",
    "generate_key",
    "key_digest",
    "key_id",
    "run_load",
    "seal",
    "unseal",
    "vocabulary",
]

__version__: Final[str]

def build_info() -> dict[str, str]:
    """What this extension was built as: ``version``, ``profile`` (``debug`` or ``release``), ``rustc``, ``target``."""

def generate_key() -> str:
    """A new virtual key: ``sk-`` + 16 characters of key id + 43 of secret (256 random bits) + 6 of CRC-32, all base62."""

def key_id(key: str) -> str | None:
    """The key id inside a key made by :func:`generate_key`; ``None`` when the shape or the checksum is wrong."""

def key_digest(pepper: bytes, key: str) -> str:
    """HMAC-SHA-256 of the key under the pepper, 64 lower-case hexadecimal characters: what is stored and looked up."""

def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """AES-256-GCM: ``version byte || 12-byte random nonce || ciphertext || tag``. ``key`` is 32 bytes.

    Raises:
        ValueError: the key is not 32 bytes long.
    """

def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The reverse of :func:`seal`.

    Raises:
        ValueError: wrong key, wrong ``aad``, or the bytes were changed.
    """

def count_tokens(text: str, encoding: str = "o200k_base") -> int:
    """The number of BPE tokens in ``text``, equal to ``tiktoken``'s ``encode_ordinary``. Linear on any input.

    Raises:
        ValueError: the encoding is neither ``o200k_base`` nor ``cl100k_base``.
    """

def count_request_tokens(body: bytes, model: str) -> int:
    """Prompt tokens of an OpenAI chat, completions or embeddings request body, as admission counts them.

    Raises:
        ValueError: the body is not a JSON object.
    """

def vocabulary(encoding: str) -> list[bytes]:
    """The byte string of every token of an encoding, in the order of their ranks.

    Raises:
        ValueError: the encoding is neither ``o200k_base`` nor ``cl100k_base``.
    """

def run_load(options: bytes) -> bytes:
    """Send load as the JSON options say (:class:`penstock.bench.load.Options`) and return the JSON report
    (:class:`penstock.bench.load.Report`).

    Blocks until the load is over (GIL released).

    Raises:
        ValueError: the options do not parse or cannot be used; the message names the option.
    """

@final
class Load:
    """One load that others may watch and stop while it runs; options as for :func:`run_load`."""

    def __new__(cls, options: bytes) -> Load: ...
    def run(self) -> bytes:
        """Send it and return the JSON report. Blocks until the load is over (GIL released). Once.

        Raises:
            ValueError: the options do not parse or cannot be used; the message names the option.
        """

    def stop(self) -> None:
        """Send nothing more; :meth:`run` returns within a moment what there was. Idempotent, from any thread."""

    def progress(self) -> tuple[float, int, int]:
        """Seconds since the warm-up was over (0 before), requests answered, requests failed."""

@final
class Engine:
    """The data plane: listener, phases, key table, limits, ledger queue.

    ``options`` is the JSON of :class:`penstock.engine.snapshot.EngineOptions`.

    Raises:
        ValueError: the options do not parse.
    """

    def __new__(cls, options: bytes) -> Engine: ...
    def apply_snapshot(self, snapshot: bytes) -> None:
        """Make a compiled :class:`penstock.engine.snapshot.Snapshot` (JSON) current for all calls that start from now on.

        Raises:
            ValueError: the snapshot does not parse; the former one stays in force.
        """

    def start(self) -> int:
        """Open the public listener and start the threads; returns the bound TCP port (0 when the engine has no listener).

        Raises:
            OSError: the address cannot be bound.
            ValueError: the TLS files cannot be read, or no snapshot was applied.
        """

    def reload_tls(self) -> None:
        """Read the certificate, key and client CA files again; connections that exist keep what they have.

        Raises:
            ValueError: a file cannot be read; the former certificate stays in force.
        """

    def put_keys(self, records: bytes) -> None:
        """Insert or replace keys in the key table (JSON list of :class:`penstock.engine.snapshot.KeyRecord`)."""

    def drop_keys(self, tokens: list[str]) -> None:
        """Forget keys (by digest), positive and negative entries alike: the next call asks the control plane again."""

    def key_usage(self, token: str) -> tuple[int, int, int]:
        """``(spend, reserved, in_flight)`` of a key in the table: nano-dollars, nano-dollars, calls. Zeros when it is not there."""

    def put_scopes(self, records: bytes) -> None:
        """Put scopes in force (JSON list of :class:`penstock.engine.snapshot.ScopeRecord`), for the keys that name them
        already and those to come; what they have used stays. A record of an earlier revision is ignored.

        Raises:
            ValueError: the records do not parse; none is taken then.
        """

    def drop_scopes(self, names: list[str]) -> None:
        """What is known of these scopes (``kind:id``) is out of date: a request that names one asks the control plane
        again. Keys that stand under one keep to its former rules until a new record comes."""

    def scope_usage(self, name: str) -> tuple[int, int, int]:
        """``(spend, reserved, in_flight)`` of a scope: nano-dollars, nano-dollars, calls. Zeros when it is not known."""

    def lower_holds(self, spends: bytes) -> list[int]:
        """Of shared budgets (JSON list of ``{"scope", "seq"}``): the ledger has all that this data plane settled up to the
        ordinal ``seq``, and everybody is about to be told so. Answers how many nano-dollars less are held of each, which are
        never used again; the caller says so where they are held, in one step with what was spent.

        Raises:
            ValueError: it is no such list; nothing changes then.
        """

    def bound_windows(self, latest: int) -> None:
        """For budget windows it is no later now than ``latest``, in Unix milliseconds, whatever this machine's clock says; from
        then on the monotonic clock counts.

        Raises:
            OverflowError: it is negative.
        """

    def event_fd(self) -> int:
        """A file descriptor that becomes readable when :meth:`drain_events` has something."""

    def drain_events(self) -> list[tuple[int, str, bytes]]:
        """All waiting events as ``(id, kind, payload)``; clears :meth:`event_fd`.

        ``hook.key``: payload is ``{"token": digest}``; answer with :meth:`resolve_hook` and the JSON of a ``KeyRecord`` or ``null``.
        ``hook.quota`` (with ``shared_limits``): payload is the JSON of `penstock.quota.models.QuotaAsked`; answer with that of
        ``QuotaAnswer``. ``quota.return``: units of shared limits that were not used (``Returned``); no answer.
        ``hook.claim`` (with ``idempotency.shared``): payload is the JSON of `penstock.idempotency.models.Claim`; answer with
        ``run``, ``running``, ``other_request``, ``not_kept``, or ``answered``, a line feed and the sealed answer.
        ``hook.answered``: the JSON of ``Answered``, a line feed and the sealed answer; answer with nothing once it is not in
        memory any more: as long as 16 MiB of them are there, further ones are not told. ``claim.release``: the JSON of
        ``Release``; no answer.
        ``hook.scope``: payload is ``{"scope": "customer:..."}`` or ``"tag:..."``; answer with the JSON of a ``ScopeRecord`` of
        that name or ``null``. Asked only where the snapshot's settings have ``customers`` or ``request_tags``.
        ``call.head``: payload is ``{"status": int, "headers": [[name, value], ...]}``, for calls made by :meth:`submit`.
        ``call.data``: payload is a piece of the body; grant more with :meth:`credit`.
        ``call.end``: the body is complete.
        ``call.abort``: the answer was cut; the client must see a broken connection.
        """

    def resolve_hook(self, id: int, answer: bytes) -> None:
        """Answer a hook event; empty: the control plane cannot say, and the waiting calls get 503. An unknown id is ignored."""

    def submit(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes, client: str) -> int:
        """Run one call that arrived at another listener; its answer comes back as ``call.*`` events under the returned id.

        ``target`` is path and query as received, ``client`` the peer's IP address.
        """

    def credit(self, id: int, count: int) -> None:
        """Allow ``count`` more ``call.data`` events for a submitted call (it starts with 16)."""

    def cancel(self, id: int) -> None:
        """The client of a submitted call has gone: cancel the upstream, settle."""

    def take_usage(self, limit: int, after: int = 0) -> bytes:
        """Up to ``limit`` usage records with an ordinal (``seq``) above ``after``, oldest first: a JSON list of
        :class:`penstock.engine.events.UsageRecord`, each an array of its values; exactly ``[]`` when there are none.

        They stay in the queue until :meth:`ack_usage`; taking again without acknowledging returns the same ones.
        """

    def ack_usage(self, seq: int) -> None:
        """Every record taken with an ordinal up to ``seq`` is durable: forget it, here and in the journal. Idempotent."""

    def recovered_usage(self, after: int = 0) -> bytes:
        """What processes that were killed had left in their journals: a JSON list of
        :class:`penstock.engine.events.Recovered`, beginning with the one at index ``after`` of all that there is; exactly
        ``[]`` when nothing is left. It ends with the record with which it has 4 MiB; ask again with ``after`` grown by its
        length.

        Settled calls are there as they were, those that were cut have the outcome ``gateway_lost`` and the figures of
        their last checkpoint. The same each time, and again after the next start, until :meth:`forget_recovered`.
        Journals that a living process writes are left alone. A settled record that is no JSON is there as a text.

        Raises:
            OSError: a journal cannot be read.
        """

    def recovered_damage(self) -> int:
        """Places of those journals that are damaged: what they held is lost. 0 after :meth:`forget_recovered`."""

    def forget_recovered(self) -> None:
        """All of :meth:`recovered_usage` is durable: delete it. Idempotent.

        Raises:
            OSError: a journal cannot be deleted; its records come again after the next start.
        """

    def metrics(self) -> str:
        """The data plane's metrics in the Prometheus text format 0.0.4."""

    def set_ready(self, ready: bool) -> None:
        """What ``/_health/ready`` and ``/health/readiness`` answer on the public port: 200 or 503."""

    def status(self) -> bytes:
        """JSON: ``{"in_flight": int, "connections": int, "snapshot_version": int, "keys": int, "usage_queue": int}``."""

    def drain(self, grace_ms: int) -> bool:
        """Stop accepting, let calls in flight finish for ``grace_ms``, end the rest with an error event, settle all.

        Blocks (GIL released); returns True when every call finished by itself.
        """

    def stop(self) -> None:
        """Close everything and join the threads. Idempotent."""

@final
class Simulator:
    """An upstream that speaks the providers' wires, on its own threads. ``options`` is the JSON of
    :class:`penstock.engine.snapshot.SimulatorOptions`.

    Raises:
        ValueError: the options do not parse.
    """

    def __new__(cls, options: bytes) -> Simulator: ...
    def start(self) -> int:
        """Listen; returns the bound TCP port.

        Raises:
            OSError: the address cannot be bound.
        """

    def stop(self) -> None:
        """Close everything and join the threads. Idempotent."""
