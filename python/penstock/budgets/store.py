"""Rows of `budgets`."""

from __future__ import annotations

from penstock.budgets.models import Budget
from penstock.persistence import Database
from penstock.tables import Table


class BudgetStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = Table("budgets", Budget, ["budget_id"])
