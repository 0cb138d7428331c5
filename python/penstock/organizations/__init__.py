"""Organizations: above teams, with limits over all of them."""
