"""The master key and the process's two other secrets: taken from the environment, or made once and kept.

Apart from the guard because it runs before there is an app.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.config import Secret
from penstock.config.master_key import weakness

_SHORTEST_PASSPHRASE = 16


class WeakKey(ValueError):
    """A secret that an outsider could guess; the message says what to do."""


class LocalSecrets(msgspec.Struct, frozen=True):
    """What the process was given or has made."""

    master_key: str
    master_key_path: Path | None
    """The file in the data directory, when the key was made there."""
    master_key_is_new: bool
    pepper: bytes
    """HMAC key of virtual keys, 32 bytes or more."""
    sealing_key: bytes
    """AES-256 key of stored provider credentials, 32 bytes."""


def check_master_key(key: str) -> None:
    """Refuse a key that an outsider could know, by :func:`penstock.config.master_key.weakness`.

    Raises:
        WeakKey: empty, shorter than 16 characters, published, a placeholder, or too uniform.
    """
    advice = "Set a random one (`openssl rand -hex 32`, written after `sk-`), or remove it and one is generated."
    if (reason := weakness(Secret(key))) is not None:
        raise WeakKey(f"The master key {reason}. {advice}")


def load_secrets(
    data_dir: Path,
    generate: Callable[[], str],
    *,
    master_key: str | None,
    pepper: str | None,
    sealing_key: str | None,
) -> LocalSecrets:
    """Use what is given, make and keep what is not.

    Raises:
        WeakKey: a given secret does not do.
        OSError: the data directory cannot be used.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path: Path | None = None
    is_new = False
    if master_key is None:
        path = data_dir / "master.key"
        master_key, is_new = _once(path, generate)
    check_master_key(master_key)
    pepper_text = pepper if pepper is not None else _once(data_dir / "pepper", lambda: secrets.token_hex(32))[0]
    sealing_text = (
        sealing_key if sealing_key is not None else _once(data_dir / "sealing.key", lambda: secrets.token_hex(32))[0]
    )
    return LocalSecrets(
        master_key=master_key,
        master_key_path=path,
        master_key_is_new=is_new,
        pepper=_pepper(pepper_text),
        sealing_key=_sealing(sealing_text),
    )


def _once(path: Path, make: Callable[[], str]) -> tuple[str, bool]:
    """The file's content; made first when it is not there. Of two processes that start together, one makes it."""
    try:
        text = path.read_text(encoding="ascii").strip()
        if text:
            return text, False
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError as error:
        raise WeakKey(f"{path} is damaged: restore it, for what was made with it is lost without it") from error
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            kept = path.read_text(encoding="ascii").strip()
            if not kept:
                raise WeakKey(f"{path} is empty: remove it, and one is generated at the next start") from None
            return kept, False
    finally:
        draft.unlink(missing_ok=True)
    return path.read_text(encoding="ascii").strip(), True


def _hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _pepper(text: str) -> bytes:
    value = _hex(text)
    if value is None or len(value) < 32:
        raise WeakKey("PENSTOCK_PEPPER must be at least 64 hexadecimal digits: `openssl rand -hex 32`")
    return value


def _sealing(text: str) -> bytes:
    value = _hex(text)
    if value is not None and len(value) == 32:
        return value
    if len(text) < _SHORTEST_PASSPHRASE:
        raise WeakKey("PENSTOCK_SECRET_KEY is too short: use 64 hexadecimal digits, `openssl rand -hex 32`")
    # A passphrase is stretched; the salt is fixed because the same text must give the same key on every replica.
    return hashlib.scrypt(text.encode(), salt=b"penstock credential sealing key v1", n=2**14, r=8, p=1, dklen=32)
