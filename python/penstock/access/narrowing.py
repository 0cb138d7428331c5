"""What a key is held to is not lifted by who is held to it: not by the key itself, not by making another, not by a member.

Apart from the authority because it compares the key that changes with the one before and with the caller's own, whatever
team they are of; what "more" means for each field is in :mod:`penstock.access.bounds`.
"""

from __future__ import annotations

import msgspec

from penstock.access.bounds import MODEL_ROUTES, OF_ITSELF, are_within, wider
from penstock.access.sight import refused
from penstock.clock import now_ms
from penstock.keys.fields import apply
from penstock.keys.models import KeyFields, VirtualKey
from penstock.scopes.fields import given

_RESET = "/key/{key_id}/reset_spend"


def after_change(before: VirtualKey | None, fields: KeyFields) -> VirtualKey:
    """The key as it would be.

    Raises:
        ApiError: 400 naming the field.
    """
    after = VirtualKey(token="", key_name="") if before is None else msgspec.structs.replace(before)
    apply(fields, after, now_ms())
    return after


def check_held(own: VirtualKey, before: VirtualKey | None, after: VirtualKey, permission: str) -> None:
    """What the caller's own key is held to, it cannot get around by changing itself or by making another.

    Raises:
        ApiError: 403 naming the field.
    """
    if before is not None and before.token == own.token:
        for field in wider(after, before):
            raise refused(f"`{field}`: a key does not give itself more than it has.", field)
        return
    changed = None if before is None else set(wider(after, before))
    if permission == "/key/regenerate" and changed is not None:
        # Who has the secret afterwards is its user.
        changed.add("allowed_routes")
    for field in wider(after, own):
        if field in OF_ITSELF or (changed is not None and field not in changed):
            continue
        if field == "allowed_routes":
            # A key that is nobody's manages nothing whatever it may call.
            if after.user_id is None or are_within(after.allowed_routes, [*own.allowed_routes, *MODEL_ROUTES]):
                continue
            raise refused(
                "`allowed_routes` must be some of those that your own key is held to, or `llm_api_routes`.", field
            )
        raise refused(f"`{field}`: your own key is held to less; say what the other may, within that.", field)


def check_narrowed(fields: KeyFields, before: VirtualKey, permission: str, allowed: frozenset[str]) -> None:
    """A member is held to what its key says, so it may change that to less; what is a permission of its own takes that.

    Raises:
        ApiError: 403 naming the field.
    """
    asked = given(fields) - {"key", "new_key"}
    if permission == "/key/regenerate" and "/key/update" not in allowed:
        for field in sorted(asked - {"key_alias"}):
            raise refused(
                f"`{field}`: the team lets its members give keys a new secret, and change nothing else.", field
            )
    after = after_change(before, fields)
    if after.blocked and not before.blocked and "/key/block" not in allowed:
        raise refused("`blocked`: the team does not let its members block keys.", "blocked")
    if "spend" in asked and _RESET not in allowed:
        raise refused("`spend`: the team does not let its members say what keys have spent.", "spend")
    for field in wider(after, before):
        if (field == "blocked" and "/key/unblock" in allowed) or field == "spend":
            continue
        raise refused(f"`{field}`: who is held to it may only make it less; ask an admin of the team.", field)
