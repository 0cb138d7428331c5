"""Spend: the ledger of settled calls and the questions people ask of it."""
