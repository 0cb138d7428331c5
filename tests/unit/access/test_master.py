"""The master key and the secrets that are made once."""

import stat
from pathlib import Path

import pytest

from penstock.access.master import WeakKey, check_master_key, load_secrets
from tests.fake_core import generate_key

STRONG = "sk-7Hq2mZp9Xw4Lc8Vt3Nb6"


@pytest.mark.parametrize(
    "key", ["", "  ", "sk-1234", "sk-master-key", "changeme", "sk-short123", "sk-your-master-key-here-please", "a" * 40]
)
def test_weak_master_keys_are_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(WeakKey) as refusal:
        check_master_key(key)
    assert not key.strip() or len(key) < 9 or key not in str(refusal.value)


def test_strong_master_keys_are_accepted() -> None:
    check_master_key(STRONG)
    check_master_key(generate_key())


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    first = load_secrets(tmp_path / "d", generate_key, master_key=None, pepper=None, sealing_key=None)
    second = load_secrets(tmp_path / "d", generate_key, master_key=None, pepper=None, sealing_key=None)
    assert first.master_key_is_new
    assert not second.master_key_is_new
    assert (first.master_key, first.pepper, first.sealing_key) == (second.master_key, second.pepper, second.sealing_key)
    assert len(first.pepper) == len(first.sealing_key) == 32
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    for file in (tmp_path / "d").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_given_secrets_are_used_and_not_written(tmp_path: Path) -> None:
    made = load_secrets(
        tmp_path, generate_key, master_key=STRONG, pepper="ab" * 32, sealing_key="a passphrase of some length"
    )
    assert made.master_key == STRONG
    assert made.pepper == b"\xab" * 32
    assert len(made.sealing_key) == 32
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pepper,sealing_key", [("abcd", None), ("not hexadecimal" * 6, None), (None, "short")])
def test_poor_secrets_are_refused(tmp_path: Path, pepper: str | None, sealing_key: str | None) -> None:
    with pytest.raises(WeakKey, match="PENSTOCK_"):
        load_secrets(tmp_path, generate_key, master_key=STRONG, pepper=pepper, sealing_key=sealing_key)
