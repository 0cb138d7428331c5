-- Usage records that could not be written to the ledger, as the data plane told them, for a person to look into.
CREATE TABLE usage_rejected (
    digest TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
