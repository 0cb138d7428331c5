"""Token counts are those of `tiktoken`, on the vocabularies OpenAI publishes.

`tiktoken` downloads its vocabularies; a test must not. So it is given ours instead, after the check
that they are, to the byte, the files whose SHA-256 `tiktoken` itself demands. Patterns and special
tokens come from `tiktoken`.
"""

import base64
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
import tiktoken
import tiktoken_ext.openai_public as published  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import _core

ENCODINGS = ("o200k_base", "cl100k_base")


def _reference(name: str) -> tiktoken.Encoding:
    tokens = _core.vocabulary(name)

    def load(_url: str, expected_hash: str | None = None) -> dict[bytes, int]:
        lines = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))
        assert hashlib.sha256(lines.encode()).hexdigest() == expected_hash
        return {token: rank for rank, token in enumerate(tokens)}

    original: Callable[..., dict[bytes, int]] = published.load_tiktoken_bpe
    published.load_tiktoken_bpe = load
    try:
        arguments: dict[str, Any] = getattr(published, name)()
    finally:
        published.load_tiktoken_bpe = original
    return tiktoken.Encoding(**arguments)


@pytest.fixture(scope="module")
def references() -> dict[str, tiktoken.Encoding]:
    return {name: _reference(name) for name in ENCODINGS}


def _same(references: dict[str, tiktoken.Encoding], text: str) -> None:
    for name, reference in references.items():
        expected = len(reference.encode_ordinary(text))
        assert _core.count_tokens(text, name) == expected, (name, text[:200])


def test_every_character_in_every_neighbourhood(references: dict[str, tiktoken.Encoding]) -> None:
    for start in range(0, 0x110000, 64):
        codes = [code for code in range(start, start + 64) if not 0xD800 <= code < 0xE000]
        text = "".join(f"a{c}B {c}{c}c1{c}!{c}\n{c} {c}'{c}S" for c in map(chr, codes))
        _same(references, text)


CORPUS = [
    "The quick brown fox can't jump over the lazy dog's back; we'll see, you've been warned, I'M SURE.\n\n",
    "def f(x: int) -> dict[str, int]:\n\treturn {'a': x ** 2}  # comment\r\n\r\n\n   if x:\n        pass\n",
    "Straße, naïve façade, Ångström, Ελληνικά κείμενα, русский текст, українська, עברית, العربية, فارسی.",
    "日本語のテキスト、中文文本,繁體中文,한국어 텍스트, ภาษาไทย, हिन्दी में पाठ, বাংলা, தமிழ்.",
    "\U0001d518\U0001d52b\U0001d526\U0001d520\U0001d52c\U0001d521\U0001d522.",
    "😀 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ ♻︎ e\u0301 n\u0303 \u0301A \u200d \ufeff \u00a0 \u2003 \u2028 \u2029 \x85 \x0b \x0c \x00",
    "https://example.com/a/b?c=d&e=f#g user@example.com 192.168.0.1 3.14159 1,234,567 ½ ² Ⅷ ٣٤٥ 12345678901234567890",
    '{"k": [1, 2.5e-3, null, true], "s": "a\\nb", "nested": {"x": {}}}',
    "HTTPServer getURL iPhone McDonald ǅungla 'S 'll 'LLama '\u017f it'\u017f KELVIN \u212a don''t ''' //\n/ <|endoftext|>",
    "trailing\n\n   ",
    "trailing \n \n",
    "  \n\n",
    "\t\t\n x",
    " ",
    "",
    "\r\n",
    "a   b    \n   c",
]


def test_corpus(references: dict[str, tiktoken.Encoding]) -> None:
    for text in CORPUS:
        _same(references, text)
    shuffle = random.Random(20)
    for _ in range(2_000):
        picked = [shuffle.choice(CORPUS) for _ in range(3)]
        cuts = [sorted(shuffle.randrange(len(text) + 1) for _ in range(2)) for text in picked]
        _same(references, "".join(text[a:b] for text, (a, b) in zip(picked, cuts, strict=True)))


@pytest.mark.parametrize(
    "alphabet",
    [
        "a",
        "abcdefghijklmnopqrstuvwxyz",
        "aAbB",
        "漢字日本語学",
        "กขคงจ",
        "=-",
        "=",
        " ",
        " \n",
        "é!",
        "😀",
        "漢aж",
        "가나다라",
        "абвг",
        "e\u0301",
    ],
)
def test_text_without_word_boundaries(references: dict[str, tiktoken.Encoding], alphabet: str) -> None:
    letters = random.Random(len(alphabet))
    # Around what a packed token, a remembered word, a small search and a window hold.
    for length in (
        1,
        4,
        12,
        13,
        14,
        15,
        16,
        17,
        29,
        30,
        31,
        32,
        62,
        63,
        64,
        65,
        127,
        128,
        129,
        16_383,
        16_384,
        16_385,
        20_000,
    ):
        _same(references, "".join(letters.choice(alphabet) for _ in range(length)))
        _same(references, "x" + "".join(letters.choice(alphabet) for _ in range(length)) + "y")


def test_tokens_side_by_side(references: dict[str, tiktoken.Encoding]) -> None:
    """Two tokens that are not what their text is encoded as, and words that all but are tokens."""
    picks = random.Random(7)
    words = [
        token.decode()
        for name in ENCODINGS
        for token in _core.vocabulary(name)
        if not token.isascii() or len(token) > 2
        if token.decode(errors="ignore").encode() == token
    ]
    for _ in range(20_000):
        first, second = picks.choice(words), picks.choice(words)
        cut = picks.randrange(len(first))
        text = picks.choice(("", " ", "x")) + first + second
        _same(references, text)
        _same(references, f"{text} {first[:cut]}{second}{first[cut + 1 :]}")


def test_what_was_counted_before_changes_nothing(references: dict[str, tiktoken.Encoding]) -> None:
    picks = random.Random(9)
    letters = "abcdeghiorstüäжшл漢字日ह😀"
    # More words than are remembered, so that they displace each other.
    words = ["".join(picks.choice(letters) for _ in range(picks.randrange(1, 12))) for _ in range(12_000)]
    for _ in range(3):
        for start in range(0, len(words), 20):
            _same(references, " ".join(words[start : start + 20]))
        picks.shuffle(words)


@settings(max_examples=500, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\r\t'sSlL1aA漢\u0301/"), max_size=120)
)
def test_any_text(references: dict[str, tiktoken.Encoding], text: str) -> None:
    _same(references, text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", [" ", "\n", "a", "\u0301", "A", "'", "1", "_x", "\x00", "\U0010ffff"])
def test_a_megabyte_of_one_thing_is_counted_at_once(unit: str) -> None:
    for name in ENCODINGS:
        assert 0 < _core.count_tokens(unit * (1_000_000 // len(unit.encode())), name) <= 1_000_000


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="o200k_base"):
        _core.count_tokens("x", "p50k_base")
