"""LiteLLM's settings of who makes keys, and of the most that a key may be given.

Apart from the schema because they are rules about management and not about calls.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from penstock.config.values import Count, Dollars, Section


class KeyBounds(Section, frozen=True, kw_only=True):
    """`upperbound_key_generate_params`: the most that a request gives to a key. A new key that does not say has this much."""

    max_budget: Dollars | None = None
    """US dollars per budget window."""
    budget_duration: str | None = None
    """Longest budget window."""
    duration: str | None = None
    """Longest life, from the request on."""
    max_parallel_requests: Count | None = None
    tpm_limit: Count | None = None
    """Tokens per minute."""
    rpm_limit: Count | None = None
    """Requests per minute."""


class TeamKeyGeneration(Section, frozen=True, kw_only=True):
    """`team_key_generation`: keys of teams, made by others than the proxy's administrators."""

    allowed_team_member_roles: list[Literal["admin", "user"]] | None = None
    """Both when absent. A `user` also needs the team's permission; an admin of the team's organization counts as `admin`."""
    required_params: list[str] = []
    """Fields that the request must have."""


class PersonalKeyGeneration(Section, frozen=True, kw_only=True):
    """`personal_key_generation`: keys that users make for themselves, of no team."""

    unused: ClassVar[frozenset[str]] = frozenset({"default_team_id"})

    allowed_user_roles: list[str] = []
    """Besides the proxy's administrators; nobody when absent."""
    required_params: list[str] = []
    """Fields that the request must have."""


class KeyGeneration(Section, frozen=True, kw_only=True):
    """`key_generation_settings`."""

    team_key_generation: TeamKeyGeneration = TeamKeyGeneration()
    personal_key_generation: PersonalKeyGeneration = PersonalKeyGeneration()
