"""Limits, slots and budgets that replicas share through Redis: leases of rates, absolute holds, and what happens without it."""
