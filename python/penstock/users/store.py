"""Rows of `users`."""

from __future__ import annotations

from penstock.persistence import Database
from penstock.tables import Table
from penstock.users.models import User


class UserStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = Table("users", User, ["user_id"])
