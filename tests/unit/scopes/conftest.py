"""Scopes on an empty database of either kind."""

from tests.unit.persistence.conftest import database, open_again, settings
from tests.unit.scopes.rig import rig

__all__ = ["database", "open_again", "rig", "settings"]
