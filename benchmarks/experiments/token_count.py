"""Token counting beside ``tiktoken``: on natural text, and on text made to make a tokenizer slow.

Both count with the same vocabulary, `o200k_base`, and must agree. Texts are built from words in an order that a seed
fixes, so that no run of the same bytes comes twice: a cache of pieces finds in them what it would find in prose.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import msgspec

from benchmarks.experiments import Bench
from benchmarks.scenarios import chat
from benchmarks.targets import NotMeasured
from penstock import _core

ENCODING = "o200k_base"
CHARACTERS = {"quick": 4_000, "normal": 100_000, "full": 200_000}
ROUNDS = {"quick": 2, "normal": 5, "full": 7}
DOUBLINGS = 5
HOSTILE_CHARACTERS = {"quick": 2_000, "normal": 32_000, "full": 64_000}
"""At the end of the doublings."""
SLOWEST_SECONDS = 1.0
"""Where ``tiktoken`` would take longer on hostile text, it is not asked."""

WORDS: Mapping[str, str] = {
    "prose": (
        "the of and to in a is that it was for on are as with his they be at one have this from or had by hot word"
        " but what some we can out other were all there when up use your how said an each she which do their time if"
        " will way about many then them write would like so these her long make thing see him two has look more day"
        " could go come did number sound no most people my over know water than call first who may down side been now"
        " find gate wheel river turbine penstock engineer's pressure, height, unfortunately; approximately measured"
    ),
    "code": (
        "def return if else: for in while import from class self.value (x, y) = [i + 1] {} -> None: await async"
        " fn let mut pub struct impl match &self; => Ok(()) Err(e)? #[derive(Debug)] std::sync::Arc<Mutex<T>> //"
        " const export function === null ?? undefined; }\n {\n );\n \n\n    0x7f 1_000 3.14e-2 'name' \"text\" # why"
    ),
    "chinese": (
        "水 压力 管道 的 是 在 了 我们 他们 发电站 。 ， 研究 人工智能 一个 世界 可以 没有 什么 因为 所以 时间 问题 工作 城市"  # noqa: RUF001
        " 现在 已经 通过 进行 发展 这个 不 也 都 和 对 就 人 上 大 ， 、 。 请 告诉 我 怎么 计算 每秒 流量"  # noqa: RUF001
    ),
    "japanese": (
        "水 の は を が に で と も です ます した 。 、 日本語 水車 回る 時間 圧力 発電所 これ それ 私たち ください 計算"
        " する こと ため から まで コンピュータ サーバー 東京 都市 問題 今日 とても 大きい 、 。 しかし ので いる ある"
    ),
    "korean": (
        "물은 압력이 발전소에서 우리는 그들의 한국어로 문장을 계산합니다. 시간이 있습니다. 그리고 하지만, 도시의 문제를"
        " 해결하기 위해 컴퓨터가 매우 큰 수력 에너지를 사용하고 있는 것으로 나타났다. 오늘 어떻게 알려 주세요 수 및 더 그"
    ),
    "emoji": "😀 🎉 👍🏽 👩‍💻 👨‍👩‍👧 🇰🇷 🇩🇪 ❤️‍🔥 🚀 ✨ ok lol great 🤷🏻‍♀️ ☕️ 1️⃣ … 💧 ⚡",
}
HOSTILE: Mapping[str, Callable[[int, str], str]] = {
    "one letter": lambda n, _: "a" * n,
    "blanks": lambda n, _: " " * n,
    "one ideograph": lambda n, _: "水" * n,
    "letters at random, no blank": lambda n, seed: "".join(
        random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=n)
    ),
}
"""By number of characters and a seed. Who wants to be slow sends no text twice: pairs of tokens are remembered, and of a text
that was counted before more is remembered the shorter it is."""


class Natural(msgspec.Struct, frozen=True):
    """One kind of text; medians over rounds."""

    text: str
    bytes: int
    tokens: int
    penstock_us: float
    tiktoken_us: float
    times_faster: float
    """Median over rounds of the ratio within each."""


class Hostile(msgspec.Struct, frozen=True):
    """One kind of text at doubling lengths."""

    text: str
    characters: list[int]
    penstock_us: list[float]
    tiktoken_us: list[float | None]
    """None: it would have taken too long."""


class TokenCount(msgspec.Struct, frozen=True):
    """Counting by itself, in this process, on the load's core; CPU time."""

    natural: list[Natural]
    hostile: list[Hostile]
    megabyte_us: float
    """The prompt of a request of 1,000,000 bytes, as admission counts it, body scan included."""


def natural(kind: str, characters: int) -> str:
    """So many characters of a kind of text, never the same run twice."""
    pick, words = random.Random(kind), WORDS[kind].split(" ")
    between = "" if kind in ("chinese", "japanese") else " "
    pieces: list[str] = []
    size = 0
    while size < characters:
        pieces.append(pick.choice(words))
        size += len(pieces[-1]) + len(between)
    return between.join(pieces)[:characters]


def _microseconds(work: Callable[[], object]) -> float:
    """Of this thread, which does all of it: what else the machine does at the time is not in it."""
    begun = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begun) / 1e3


def reference() -> Callable[[str], int]:
    """How many tokens ``tiktoken`` counts, given this package's vocabulary: it would download its own.

    Raises:
        NotMeasured: it is not installed.
    """
    try:
        import tiktoken
        import tiktoken_ext.openai_public as published  # type: ignore[import-untyped]
    except ImportError as e:
        raise NotMeasured("tiktoken is not installed") from e
    ranks = {token: rank for rank, token in enumerate(_core.vocabulary(ENCODING))}
    original = published.load_tiktoken_bpe
    published.load_tiktoken_bpe = lambda *_given, **_named: ranks
    try:
        arguments: dict[str, Any] = getattr(published, ENCODING)()
    finally:
        published.load_tiktoken_bpe = original
    encoding = tiktoken.Encoding(**arguments)
    return lambda text: len(encoding.encode_ordinary(text))


def measure(bench: Bench) -> TokenCount:
    """Everything, in turns.

    Raises:
        NotMeasured: there is nothing to compare with.
        ValueError: the two do not agree.
    """
    theirs = reference()
    found = TokenCount(
        natural=[_natural(kind, theirs, bench) for kind in WORDS],
        hostile=[_hostile(kind, theirs, bench) for kind in HOSTILE],
        megabyte_us=_megabyte(bench),
    )
    for text in found.natural:
        print(f"  token_count {text.text}: {text.times_faster:.1f} times as fast as tiktoken", flush=True)
    return found


def _natural(kind: str, theirs: Callable[[str], int], bench: Bench) -> Natural:
    text = natural(kind, CHARACTERS[bench.depth])
    tokens, other = _core.count_tokens(text, ENCODING), theirs(text)
    if tokens != other:
        raise ValueError(f"token_count: {kind} has {tokens} tokens by penstock, {other} by tiktoken")
    pairs = [
        (_microseconds(lambda: _core.count_tokens(text, ENCODING)), _microseconds(lambda: theirs(text)))
        for _ in range(ROUNDS[bench.depth])
    ]
    return Natural(
        text=kind,
        bytes=len(text.encode()),
        tokens=tokens,
        penstock_us=round(median(mine for mine, _ in pairs), 1),
        tiktoken_us=round(median(other for _, other in pairs), 1),
        times_faster=round(median(other / mine for mine, other in pairs), 2),
    )


def _hostile(kind: str, theirs: Callable[[str], int], bench: Bench) -> Hostile:
    lengths = [HOSTILE_CHARACTERS[bench.depth] >> n for n in reversed(range(DOUBLINGS + 1))]
    mine: list[float] = []
    others: list[float | None] = []
    for length in lengths:
        texts = [HOSTILE[kind](length, f"{length} {n}") for n in range(ROUNDS[bench.depth])]
        runs = [_microseconds(partial(_core.count_tokens, text, ENCODING)) for text in texts]
        mine.append(round(median(runs), 1))
        # It may grow with the square: what doubled may take four times as long.
        last = 0.0 if not others else others[-1]
        asked = last is not None and 4 * last < SLOWEST_SECONDS * 1e6
        others.append(round(_microseconds(partial(theirs, texts[0])), 1) if asked else None)
    return Hostile(kind, lengths, mine, others)


def _megabyte(bench: Bench) -> float:
    filler = "water falls through the gate and turns the wheel below the dam "
    body = chat("gpt-4o", stream=False)
    size = 1_000_000 - len(body) + len("{pad}")
    request = body.replace("{pad}", (filler * (size // len(filler) + 1))[:size]).encode()
    runs = [_microseconds(lambda: _core.count_request_tokens(request, "gpt-4o")) for _ in range(ROUNDS[bench.depth])]
    return round(median(runs), 1)
