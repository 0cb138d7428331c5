"""Which master keys are refused: keys that everybody knows guard nothing. The one rule of `check` and `serve`."""

from __future__ import annotations

import re
from typing import Final

from penstock.config.env import Environment
from penstock.config.schema import Config
from penstock.config.secret import Secret

_KNOWN: Final = frozenset(
    [
        "sk-1234",
        "sk-12345",
        "sk-123456",
        "sk-0000",
        "sk-test",
        "sk-master",
        "sk-master-key",
        "sk-admin",
        "sk-litellm",
        "sk-litellm-master-key",
        "sk-penstock",
        "sk-changeme",
        "sk-change-me",
        "sk-my-key",
        "sk-key",
        "sk-secret",
        "sk-password",
        "sk-example",
        "sk-dummy",
        "sk-demo",
        "sk-local",
        "sk-your-master-key",
        "sk-your-key",
        "sk-xxx",
        "sk-xxxx",
        "sk-12345678",
        "sk-1234567890",
        "sk-key-1234",
        "sk-test-key",
        "sk-masterkey",
        "sk-testtest",
        "sk-litellm-key",
        "your-master-key",
        "your-secret-key",
        "changeme",
        "password",
        "secret",
        "admin",
        "test",
        "1234",
        "12345678",
        "demo",
        "master-key",
        "litellm-master-key",
        "my-secret-key",
    ]
)
SHORTEST: Final = 16
"""Characters."""
_FEWEST_DIFFERENT: Final = 6
_PLACEHOLDER: Final = re.compile(
    # Short words count only where they stand alone: a random key may well hold them.
    r"change[-_]?me|your[-_]|replace|example|<|(?<![a-z0-9])(?:todo|x{4,})(?![a-z0-9])"
)


def master_key(config: Config, environment: Environment) -> Secret | None:
    """The master key in force: the configuration's, else the environment's. None: there is none."""
    return config.general_settings.master_key or environment.master_key


def weakness(key: Secret) -> str | None:
    """Why ``key`` must not be used as a master key; None: it may. Completes "the master key ..."."""
    text = key.reveal().strip()
    if not text:
        return "is empty"
    if text.lower() in _KNOWN:
        return "is one that everybody knows"
    if _PLACEHOLDER.search(text.lower()) is not None:
        return "is a placeholder"
    if len(text) < SHORTEST:
        return f"has fewer than {SHORTEST} characters"
    if len(set(text.lower().removeprefix("sk-"))) < _FEWEST_DIFFERENT:
        return "repeats too few different characters"
    if not (key.reveal().isascii() and key.reveal().isprintable()) or " " in key.reveal():
        return "must be printable ASCII without blanks"
    return None
