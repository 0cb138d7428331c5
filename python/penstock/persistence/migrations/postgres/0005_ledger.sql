-- Up to where the usage records of each run of a gateway (an incarnation) are in the ledger. `charged_seq` is up to where
-- they are also in what keys and others have spent; it is behind `seq` by what waits in `ledger_pending`.
CREATE TABLE ledger_progress (
    incarnation TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL DEFAULT 0,
    charged_seq BIGINT NOT NULL DEFAULT 0,
    updated_at BIGINT NOT NULL
);

-- Records beyond `ledger_progress.seq` that came before those between: ranges of ordinals, both ends included.
CREATE TABLE ledger_gaps (
    incarnation TEXT COLLATE "C" NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    PRIMARY KEY (incarnation, first_seq)
);

-- What is in the ledger and charged to nobody yet: charging many at once touches each key's page once. `records` NULL: the
-- rows of `usage` from `first_id` to `last_id`.
CREATE TABLE ledger_pending (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    records BYTEA,
    first_id BIGINT NOT NULL,
    last_id BIGINT NOT NULL
);

-- Sums of `usage` by hour and by day (UTC). `name` is what the dimension calls it: a token, a team, a model, ...
CREATE TABLE usage_rollups (
    period TEXT COLLATE "C" NOT NULL,
    start_at BIGINT NOT NULL,
    dimension TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    failed_calls BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (period, start_at, dimension, name)
);
CREATE INDEX usage_rollups_by_name ON usage_rollups (dimension, name, period, start_at);

-- Who does the work that only one process may do, until when, and which turn it is: a holder that was taken for dead
-- must not finish what another has begun.
CREATE TABLE ledger_leases (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    fence BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Rises with every change, so that an old state of a key that arrives late is told from a new one.
ALTER TABLE keys ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;

-- Windows that began lately, which every gateway looks for.
CREATE INDEX keys_by_window ON keys (budget_window_start) WHERE budget_window_start IS NOT NULL;
