"""The vocabulary of access: what a route declares and who a caller turned out to be."""

from __future__ import annotations

from enum import Enum

import msgspec

from penstock.access.rights import NONE, Rights
from penstock.keys.models import VirtualKey


class Access(Enum):
    """Declared by every route as `access=`."""

    PUBLIC = "public"
    """Anybody: health, the OpenAPI document, the front page."""
    ADMIN = "admin"
    """The master key, or a key of a user whose role is `proxy_admin`."""
    VIEWER = "viewer"
    """Whoever may call an `ADMIN` route, or a key of a user whose role is `proxy_admin_viewer`: for what only shows."""
    MANAGER = "manager"
    """The same as `ADMIN`, or a key of a user who is in charge of a team or an organization, or has been given a permission in
    one; of which is for the handler to ask (:mod:`penstock.access.authority`)."""
    KEY = "key"
    """The master key or any virtual key in force; what it sees is for the handler to ask."""
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
    rights: Rights = NONE
    """What a virtual key's user is in charge of; nothing is known of it on routes where it does not matter."""

    @property
    def sees_everything(self) -> bool:
        """It may be shown whatever there is."""
        return self.role is Role.MASTER or self.rights.sees_everything

    @property
    def actor(self) -> str:
        """How the audit trail names the caller."""
        if self.key is not None:
            return self.key.token
        return "master-key" if self.role is Role.MASTER else "anonymous"
