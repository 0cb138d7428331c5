"""Provider credentials kept in the database, sealed; they go in and are used, and never come out again."""
