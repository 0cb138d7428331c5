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
    """The master key, or a key of a user whose role is `proxy_admin`."""
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
    """None for the master key itself; a key of a proxy administrator has the role `MASTER`."""

    @property
    def actor(self) -> str:
        """How the audit trail names the caller."""
        if self.key is not None:
            return self.key.token
        return "master-key" if self.role is Role.MASTER else "anonymous"
