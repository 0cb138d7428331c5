-- Money is nano-dollars, times are Unix milliseconds, lists and objects are JSON text.

CREATE TABLE keys (
    token TEXT PRIMARY KEY,
    key_name TEXT NOT NULL,
    key_alias TEXT UNIQUE,
    user_id TEXT,
    team_id TEXT,
    org_id TEXT,
    models TEXT NOT NULL,
    aliases TEXT NOT NULL,
    rpm_limit INTEGER,
    tpm_limit INTEGER,
    max_parallel_requests INTEGER,
    max_budget INTEGER,
    budget_duration TEXT,
    budget_window_start INTEGER,
    budget_reset_at INTEGER,
    spend INTEGER NOT NULL DEFAULT 0,
    total_spend INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER,
    blocked INTEGER NOT NULL DEFAULT 0,
    allowed_cidrs TEXT NOT NULL,
    allowed_routes TEXT NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    extra TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    last_active_at INTEGER
) STRICT;
CREATE INDEX keys_by_user ON keys (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX keys_by_team ON keys (team_id) WHERE team_id IS NOT NULL;
CREATE INDEX keys_by_creation ON keys (created_at, token);
CREATE INDEX keys_by_reset ON keys (budget_reset_at) WHERE budget_reset_at IS NOT NULL;

-- Digests that a regenerated key had before: calls made under them are still this key's.
CREATE TABLE key_predecessors (
    old_token TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    retired_at INTEGER NOT NULL
) STRICT;
CREATE INDEX key_predecessors_by_token ON key_predecessors (token);

CREATE TABLE usage (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    call_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    surface TEXT NOT NULL,
    route TEXT NOT NULL,
    token TEXT NOT NULL,
    key_alias TEXT,
    user_id TEXT,
    team_id TEXT,
    org_id TEXT,
    end_user TEXT,
    model TEXT NOT NULL,
    model_group TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    stream INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error_code TEXT,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    usage_source TEXT NOT NULL,
    cost INTEGER NOT NULL,
    price_version TEXT NOT NULL,
    snapshot_version INTEGER NOT NULL,
    ttft_us INTEGER,
    duration_us INTEGER NOT NULL,
    overhead_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    cache TEXT NOT NULL,
    tags TEXT NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_by_time ON usage (started_at, id);
CREATE INDEX usage_by_token ON usage (token, started_at, id);
CREATE INDEX usage_by_user ON usage (user_id, started_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX usage_by_call ON usage (call_id);

-- Spend of everything ever settled, so that totals need no scan of the ledger.
CREATE TABLE spend_totals (
    scope TEXT PRIMARY KEY,
    cost INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
) STRICT;

-- Who changed what, when. Also how one process learns what another one changed.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    origin TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object_type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    fields TEXT NOT NULL
) STRICT;

CREATE TABLE credentials (
    credential_name TEXT PRIMARY KEY,
    sealed_values BLOB NOT NULL,
    hints TEXT NOT NULL,
    info TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;
