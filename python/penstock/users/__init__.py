"""Users: who owns keys and belongs to teams, with a role and limits over all of their keys."""
