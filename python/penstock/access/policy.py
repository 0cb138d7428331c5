"""The vocabulary of access: what a route declares and who a caller turned out to be."""

from __future__ import annotations

from enum import Enum

import msgspec

from penstock.keys.models import VirtualKey


class Access(Enum):
    """Declared by every route as `access=`."""

    PUBLIC = "public"
    """Anybody: health, the OpenAPI document, the front page."""
    ADMIN = "admin"
    """The master key."""
    KEY = "key"
    """The master key or any virtual key in force."""
    METRICS = "metrics"
    """The master key, or anybody when the configuration says so."""
    DATA_PLANE = "data_plane"
    """The data plane authenticates the call itself."""


class Role(Enum):
    """Who is calling."""

    ANONYMOUS = "anonymous"
    KEY = "key"
    MASTER = "master"


class Caller(msgspec.Struct, frozen=True):
    """The outcome of authentication."""

    role: Role
    key: VirtualKey | None = None
    """Set when the role is `KEY`."""

    @property
    def actor(self) -> str:
        """How the audit trail names the caller."""
        if self.role is Role.MASTER:
            return "master-key"
        return self.key.token if self.key is not None else "anonymous"
