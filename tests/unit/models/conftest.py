"""Databases of both kinds."""

from tests.unit.persistence.conftest import database, open_again, settings

__all__ = ["database", "open_again", "settings"]
