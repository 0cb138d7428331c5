"""How scopes are called: `kind:id`, and `model:<parent>/<model>` for what holds for one model only.

Apart from the service because everybody who names a scope, the data plane included, must spell it the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.engine.events import UsageRecord

PROXY = "global:proxy"
"""The whole installation."""

_tags = msgspec.json.Decoder(list[str])


def key(token: str) -> str:
    """Limits that a key has from a shared budget, and the parent of its limits per model."""
    return f"key:{token}"


def team(team_id: str) -> str:
    """A team."""
    return f"team:{team_id}"


def member(team_id: str, user_id: str) -> str:
    """A user within a team."""
    return f"member:{team_id}/{user_id}"


def splits(team_id: str, user_id: str) -> list[tuple[str, str]]:
    """Every team and user whose :func:`member` has this name too, these two among them: ids of long ago may hold slashes."""
    id = f"{team_id}/{user_id}"
    return [(id[:at], id[at + 1 :]) for at, letter in enumerate(id) if letter == "/"]


def user(user_id: str) -> str:
    """A user, over all teams."""
    return f"user:{user_id}"


def organization(organization_id: str) -> str:
    """An organization."""
    return f"org:{organization_id}"


def customer(user_id: str) -> str:
    """Whom a request names as its `user`."""
    return f"customer:{user_id}"


def tag(name: str) -> str:
    """A tag of a key or a request."""
    return f"tag:{name}"


def model(parent: str, name: str) -> str:
    """A new scope for the calls of one model. The names of models hold slashes, so those of the parent are written otherwise:
    the name of one scope never is that of another. A member has one of its own, between team and user. Those of long ago do not
    keep to that, and are found by their parent."""
    quoted = parent.replace("%", "%25")
    is_plain = quoted.count("/") == (1 if quoted.startswith("member:") else 0)
    return f"model:{quoted if is_plain else quoted.replace('/', '%2F')}/{name}"


def split(name: str) -> tuple[str, str]:
    """Kind and id."""
    kind, _, id = name.partition(":")
    return kind, id


def tags_of(record: UsageRecord) -> list[str]:
    """The tags that a call was made with."""
    return _tags.decode(record.tags) if record.tags not in ("", "[]") else []


def charged(record: UsageRecord, token: str) -> Iterator[str]:
    """Every scope that may have to pay for a call, whether it exists or not; `token` is the key's present one."""
    yield PROXY
    if token:
        yield key(token)
    if record.team_id:
        yield team(record.team_id)
        if record.user_id:
            yield member(record.team_id, record.user_id)
    if record.user_id:
        yield user(record.user_id)
    if record.org_id:
        yield organization(record.org_id)
    if record.end_user:
        yield customer(record.end_user)
    for name in dict.fromkeys(tags_of(record)):
        yield tag(name)
