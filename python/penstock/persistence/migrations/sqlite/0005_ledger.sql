-- Up to where the usage records of each run of a gateway (an incarnation) are in the ledger. `charged_seq` is up to where
-- they are also in what keys and others have spent; it is behind `seq` by what waits in `ledger_pending`.
CREATE TABLE ledger_progress (
    incarnation TEXT PRIMARY KEY,
    seq INTEGER NOT NULL DEFAULT 0,
    charged_seq INTEGER NOT NULL DEFAULT 0,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Records beyond `ledger_progress.seq` that came before those between: ranges of ordinals, both ends included.
CREATE TABLE ledger_gaps (
    incarnation TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (incarnation, first_seq)
) STRICT, WITHOUT ROWID;

-- What is in the ledger and charged to nobody yet: charging many at once touches each key's page once. `records` NULL: the
-- rows of `usage` from `first_id` to `last_id`.
CREATE TABLE ledger_pending (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    records BLOB,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL
) STRICT;

-- Sums of `usage` by hour and by day (UTC). `name` is what the dimension calls it: a token, a team, a model, ...
CREATE TABLE usage_rollups (
    period TEXT NOT NULL,
    start_at INTEGER NOT NULL,
    dimension TEXT NOT NULL,
    name TEXT NOT NULL,
    calls INTEGER NOT NULL,
    failed_calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (period, start_at, dimension, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_rollups_by_name ON usage_rollups (dimension, name, period, start_at);

-- Who does the work that only one process may do, until when, and which turn it is: a holder that was taken for dead
-- must not finish what another has begun.
CREATE TABLE ledger_leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fence INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Rises with every change, so that an old state of a key that arrives late is told from a new one.
ALTER TABLE keys ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;

-- Windows that began lately, which every gateway looks for.
CREATE INDEX keys_by_window ON keys (budget_window_start) WHERE budget_window_start IS NOT NULL;
