"""Rows of `teams` and `team_members`."""

from __future__ import annotations

from penstock.persistence import Database
from penstock.tables import Table
from penstock.teams.models import Team, TeamMember


class TeamStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = Table("teams", Team, ["team_id"])
        self.members = Table("team_members", TeamMember, ["team_id", "user_id"])
