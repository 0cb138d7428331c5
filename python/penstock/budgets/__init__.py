"""Budgets: named limits that teams, members, users, organizations, customers, tags and keys refer to."""
