"""Alerts about budgets: noted in the transaction that charges, delivered to a webhook afterwards."""
