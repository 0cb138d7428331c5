"""Rows of `customers`."""

from __future__ import annotations

from penstock.customers.models import Customer
from penstock.persistence import Database
from penstock.tables import Table


class CustomerStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = Table("customers", Customer, ["user_id"])
