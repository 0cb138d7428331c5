"""What a request changes in a key: validation and conversion of the writable fields.

Apart from the service because this list is the whole of what a client may write: a field that is not assigned
here cannot be set from outside.
"""

from __future__ import annotations

import ipaddress
from decimal import Decimal
from typing import Any

from msgspec import UNSET

from penstock.durations import parse_duration
from penstock.errors import bad_request
from penstock.keys.models import KEY_TYPE_ROUTES, STORED_ONLY, KeyFields, VirtualKey
from penstock.money import nanos_from_dollars
from penstock.nesting import DEEPEST, is_too_deep

_LARGEST = 2**63 - 1
_TEXTS = {"key_alias": "key_alias", "user_id": "user_id", "team_id": "team_id", "organization_id": "org_id"}
_LIMITS = ("rpm_limit", "tpm_limit", "max_parallel_requests")
_LISTS = {"models": "models", "allowed_routes": "allowed_routes", "tags": "tags", "allowed_cidrs": "allowed_cidrs"}


def apply(fields: KeyFields, key: VirtualKey, now: int) -> None:
    """Write what the request gives into `key`.

    Raises:
        ApiError: 400 naming the field.
    """
    try:
        _nesting(fields)
        _texts(fields, key)
        _limits(fields, key)
        _lists(fields, key)
        _budget(fields, key, now)
        _life(fields, key, now)
    except ValueError as error:
        text = str(error)
        raise bad_request(text, text.split("`")[1] if text.count("`") >= 2 else None) from error
    _rest(fields, key)


def _nesting(fields: KeyFields) -> None:
    for name in fields.__struct_fields__:
        if is_too_deep(getattr(fields, name)):
            raise ValueError(f"`{name}` is nested more than {DEEPEST} levels deep")


def _texts(fields: KeyFields, key: VirtualKey) -> None:
    for name, column in _TEXTS.items():
        value = getattr(fields, name)
        if value is UNSET:
            continue
        if value is not None and not (0 < len(value) <= 512):
            raise ValueError(f"`{name}` must have 1 to 512 characters")
        setattr(key, column, value)


def _limits(fields: KeyFields, key: VirtualKey) -> None:
    for name in _LIMITS:
        value = getattr(fields, name)
        if value is UNSET:
            continue
        if value is not None and not (0 <= value <= _LARGEST):
            raise ValueError(f"`{name}` must be a whole number from 0 on")
        setattr(key, name, value)


def _lists(fields: KeyFields, key: VirtualKey) -> None:
    if isinstance(fields.allowed_cidrs, list):
        for block in fields.allowed_cidrs:
            try:
                ipaddress.ip_network(block, strict=False)
            except ValueError as error:
                raise ValueError(f"`allowed_cidrs`: `{block}` is not an address block such as 10.0.0.0/8") from error
    for name, column in _LISTS.items():
        value = getattr(fields, name)
        if value is not UNSET:
            setattr(key, column, value or [])
    if fields.aliases is not UNSET:
        key.aliases = fields.aliases or {}
    if fields.metadata is not UNSET:
        key.metadata = fields.metadata or {}
        tags = key.metadata.get("tags")
        if fields.tags is UNSET and isinstance(tags, list):
            key.tags = [str(tag) for tag in tags]
    if isinstance(fields.key_type, str):
        if fields.key_type not in KEY_TYPE_ROUTES:
            raise ValueError(f"`key_type` must be one of {', '.join(KEY_TYPE_ROUTES)}")
        if fields.allowed_routes is UNSET:
            key.allowed_routes = list(KEY_TYPE_ROUTES[fields.key_type])


def _budget(fields: KeyFields, key: VirtualKey, now: int) -> None:
    if fields.max_budget is not UNSET:
        key.max_budget = None if fields.max_budget is None else nanos_from_dollars(fields.max_budget, "max_budget")
    if fields.spend is not UNSET:
        key.spend = 0 if fields.spend is None else nanos_from_dollars(fields.spend, "spend")
    if fields.budget_duration is not UNSET and fields.budget_duration != key.budget_duration:
        key.budget_duration = fields.budget_duration
        key.budget_window_start = key.budget_reset_at = None
        if fields.budget_duration is not None:
            duration = parse_duration(fields.budget_duration, "budget_duration")
            key.budget_window_start, key.budget_reset_at = now, duration.fixed_end(now)


def _life(fields: KeyFields, key: VirtualKey, now: int) -> None:
    if fields.duration is not UNSET:
        eternal = fields.duration is None or fields.duration == "-1"
        key.expires_at = None if eternal else parse_duration(str(fields.duration), "duration").after(now)
    if fields.blocked is not UNSET:
        key.blocked = bool(fields.blocked)
    if fields.when_gone is not UNSET:
        key.when_gone = fields.when_gone


def _rest(fields: KeyFields, key: VirtualKey) -> None:
    extra = dict(key.extra)
    for name in STORED_ONLY:
        value: Any = getattr(fields, name, UNSET)
        if value is UNSET:
            continue
        if value is None:
            extra.pop(name, None)
        else:
            extra[name] = float(value) if isinstance(value, Decimal) else value
    key.extra = extra
