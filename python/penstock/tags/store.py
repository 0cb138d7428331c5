"""Rows of `tags`."""

from __future__ import annotations

from penstock.persistence import Database
from penstock.tables import Table
from penstock.tags.models import Tag


class TagStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = Table("tags", Tag, ["name"])
