"""The hot routes: what the data plane answers, in one place for both doors.

The native listener has the same table in Rust; the ASGI door mounts these.
"""

from __future__ import annotations

import msgspec


class HotRoute(msgspec.Struct, frozen=True):
    """A path that the data plane answers."""

    path: str
    methods: frozenset[str]
    subtree: bool = False
    """Every path below it too."""
    itself: bool = True
    """False: only the paths below it."""


_POST = frozenset({"POST"})
_READ = frozenset({"GET", "HEAD"})
_ANY = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH"})

_CALLS = (
    HotRoute("/chat/completions", _ANY, subtree=True),
    HotRoute("/completions", _POST),
    HotRoute("/embeddings", _POST),
    HotRoute("/messages", _POST),
    HotRoute("/messages/count_tokens", _POST),
    HotRoute("/models", _READ, subtree=True),
)
"""`POST /chat/completions` is a call; what else there is of it are stored completions, passed through."""

_OPAQUE = (
    "/assistants",
    "/audio",
    "/batches",
    "/containers",
    "/conversations",
    "/evals",
    "/files",
    "/fine_tuning",
    "/images",
    "/moderations",
    "/ocr",
    "/rerank",
    "/responses",
    "/score",
    "/threads",
    "/uploads",
    "/vector_stores",
    "/videos",
)
"""The rest of the OpenAI API, passed through with authentication, limits and accounting."""
_ONLY_BELOW = frozenset({"/audio", "/fine_tuning"})

HOT_ROUTES: tuple[HotRoute, ...] = (
    *(
        HotRoute(prefix + route.path, route.methods, route.subtree, route.itself)
        for prefix in ("/v1", "")
        for route in (*_CALLS, *(HotRoute(path, _ANY, True, path not in _ONLY_BELOW) for path in _OPAQUE))
    ),
    HotRoute("/v2/rerank", _POST),
)
"""Every hot route, with `/v1` and without."""
