"""Placeholders become numbered ones, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.persistence.translate import numbered, without_nul


@pytest.mark.parametrize(
    "portable, own",
    [
        ("SELECT 1", "SELECT 1"),
        ("a = ? AND b IN (?, ?)", "a = $1 AND b IN ($2, $3)"),
        ("a = '?' AND b = ?", "a = '?' AND b = $1"),
        ("a = 'it''s ?' AND b = ?", "a = 'it''s ?' AND b = $1"),
        (r"a = 'back\' AND b = ?", r"a = 'back\' AND b = $1"),
        (r"a = E'back\' ?' AND b = ?", r"a = E'back\' ?' AND b = $1"),
        ('SELECT "what?" FROM t WHERE a = ?', 'SELECT "what?" FROM t WHERE a = $1'),
        ("a -- why?\n= ?", "a -- why?\n= $1"),
        ("a /* ? \n ? */ = ?", "a /* ? \n ? */ = $1"),
        ("$$ ? $$ ?", "$$ ? $$ $1"),
        ("$do$ ? $$ ? $do$ ?", "$do$ ? $$ ? $do$ $1"),
        ("a LIKE ? ESCAPE '\\'", "a LIKE $1 ESCAPE '\\'"),
        ("NULLIF(CAST(? AS BIGINT), -1)", "NULLIF(CAST($1 AS BIGINT), -1)"),
    ],
)
def test_only_placeholders_are_numbered(portable: str, own: str) -> None:
    assert numbered(portable) == own


@given(
    st.lists(
        st.one_of(st.just("?"), st.text("ab?'\" \\-$", max_size=8).map(lambda t: "'" + t.replace("'", "''") + "'"))
    )
)
def test_literals_are_never_touched(parts: list[str]) -> None:
    marks = iter(range(1, len(parts) + 1))
    expected = " ".join(f"${next(marks)}" if part == "?" else part for part in parts)
    assert numbered(" ".join(parts)) == expected


def test_only_texts_with_a_nul_are_changed() -> None:
    values = ("a", 1, None, b"\x00")
    assert without_nul(values) is values
    assert without_nul(("a\x00b", 1, b"\x00")) == ["a\ufffdb", 1, b"\x00"]
