"""Where keys come from, and what must not be shown of a command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from penstock.bench import parsing, wire
from penstock.bench.wire import UsageError
from penstock.config.env import Environment
from penstock.config.secret import Secret

KEY_VARIABLE: Final = "PENSTOCK_BENCH_KEY"
SHORTEST_SECRET: Final = 8
"""A shorter value of a header is no secret, and masking it would mask half of every message."""


def given(key: str | None, key_file: Path | None, key_env: str | None, environment: Environment) -> Secret | None:
    """The key of `--key`, `--key-file`, `--key-env` or the variable for it.

    Raises:
        UsageError: there are two of them, or one cannot be read.
    """
    ways = [
        name for name, value in (("--key", key), ("--key-file", key_file), ("--key-env", key_env)) if value is not None
    ]
    if len(ways) > 1:
        raise UsageError(f"{ways[1]}: the key is given by {ways[0]} already; give one of them")
    if key is not None:
        return Secret(key)
    if key_file is not None:
        return _of_file(key_file)
    if key_env is not None:
        return variable(key_env, "--key-env", environment)
    return environment.secret(KEY_VARIABLE)


def by_target(
    key: Secret | None, others: Sequence[str], labels: Sequence[str], environment: Environment
) -> dict[str, Secret]:
    """The key of each target that has one; ``others`` are the values of `--compare-key-env`.

    Raises:
        UsageError: one of those cannot be read, or a header cannot carry a key.
    """
    keys = dict.fromkeys(labels, key) if key is not None else {}
    for text in others:
        label, name = parsing.pair(text, "--compare-key-env", "LABEL=VARIABLE")
        parsing.known([label], labels, "--compare-key-env")
        keys[label] = variable(name, "--compare-key-env", environment)
    for label, one in keys.items():
        if not one.reveal().isascii() or any(c.isspace() for c in one.reveal()):
            raise UsageError(f"the key for {label} has white space or letters that a header cannot carry")
    return keys


def merged(base: Sequence[tuple[str, str]], extra: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Header fields: the user's own go before the tool's."""
    own = {name for name, _ in extra}
    return [*(pair for pair in base if pair[0] not in own), *extra]


def secrets(keys: Mapping[str, Secret], extra: Sequence[tuple[str, str]], urls: Iterable[str]) -> list[Secret]:
    """What an answer may quote of keys, headers and URLs, and what must not be shown: a header's words too, since after
    `Bearer` it is the key alone that is quoted."""
    values = [value for _, value in extra]
    texts = [*values, *(word for value in values for word in value.split())]
    texts += [text for url in urls for text in wire.query_secrets(url)]
    quotable = dict.fromkeys(text for text in texts if len(text) >= SHORTEST_SECRET)
    return [*keys.values(), *map(Secret, quotable)]


def variable(name: str, option: str, environment: Environment) -> Secret:
    """The value of a variable that must be set.

    Raises:
        UsageError: it is not.
    """
    value = environment.secret(name)
    if value is None:
        raise UsageError(f"{option}: the variable {name} is not set")
    return value


def _of_file(path: Path) -> Secret:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--key-file: {path}: {e}") from e
    if not text:
        raise UsageError(f"--key-file: {path} is empty")
    return Secret(text)
