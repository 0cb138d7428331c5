"""Rows of `organizations` and `organization_members`."""

from __future__ import annotations

from penstock.organizations.models import Organization, OrganizationMember
from penstock.persistence import Database
from penstock.tables import Table


class OrganizationStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = Table("organizations", Organization, ["organization_id"])
        self.members = Table("organization_members", OrganizationMember, ["organization_id", "user_id"])
