"""What the configuration says of keys that are made and changed: the most that they are given, by whom, and how many.

Apart from the fields because those are the same everywhere, and this is an operator's choice.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET

from penstock.config.key_generation import KeyBounds, KeyGeneration
from penstock.config.schema import Config
from penstock.durations import parse_duration
from penstock.errors import bad_request
from penstock.keys.models import KeyFields
from penstock.money import nanos_from_dollars
from penstock.scopes.fields import as_refusal, given

MOST_KEYS = 100
"""When the configuration does not say."""
_DURATIONS = frozenset({"duration", "budget_duration"})
_FOR_EVER = "-1"
_BOUNDS = "litellm_settings.upperbound_key_generate_params"


class KeyRules(msgspec.Struct, frozen=True):
    """Of one configuration."""

    bounds: KeyBounds = KeyBounds()
    generation: KeyGeneration = KeyGeneration()
    most: int = MOST_KEYS
    """Keys of one user beyond which it makes none itself, and of nobody in a team beyond which its members make none."""

    @classmethod
    def of(cls, config: Config) -> KeyRules:
        """What a configuration says."""
        settings, most = config.litellm_settings, config.penstock.keys.max_per_user
        return cls(
            settings.upperbound_key_generate_params,
            settings.key_generation_settings,
            MOST_KEYS if most is None else most,
        )

    def bound(self, fields: KeyFields, *, is_new: bool) -> None:
        """Refuse what is beyond the bounds; a new key is given as much where the request does not say.

        Raises:
            ApiError: 400 naming the field.
        """
        for name in self.bounds.__struct_fields__:
            most, asked = getattr(self.bounds, name), getattr(fields, name)
            if most is None:
                continue
            if is_new and asked in (UNSET, None):
                setattr(fields, name, most)
            elif asked is not UNSET and (asked is None or _is_beyond(name, asked, most)):
                raise bad_request(f"`{name}` may be at most {most} here (`{_BOUNDS}.{name}`).", name)

    def required(self, fields: KeyFields, params: list[str], setting: str) -> None:
        """Refuse a request for a new key that leaves out what it must have.

        Raises:
            ApiError: 400 naming the field.
        """
        for name in params:
            if name not in given(fields):
                raise bad_request(
                    f"`{name}` must be given here (`litellm_settings.key_generation_settings.{setting}`).", name
                )


def _is_beyond(name: str, asked: Any, most: Any) -> bool:
    if asked == _FOR_EVER:
        return True
    try:
        if name not in _DURATIONS:
            # Numbers that are none compare with nothing.
            return nanos_from_dollars(Decimal(asked), name) > nanos_from_dollars(Decimal(most), name)
        length = parse_duration(asked, name).nominal_milliseconds()
    except ValueError as error:
        raise as_refusal(error) from error
    return length > parse_duration(most, name).nominal_milliseconds()
