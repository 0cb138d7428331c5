"""Scopes: whoever a limit or a budget belongs to beside the key itself, and the one place where their spend is kept."""
