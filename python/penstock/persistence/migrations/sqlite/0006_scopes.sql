-- Whoever a limit or a budget belongs to, beside the keys themselves: teams, members, users, organizations, customers,
-- tags, keys that share a budget, and each of these for one model. Limits and spend of every level are here and only here.
CREATE TABLE scopes (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT,
    above TEXT,
    only_model TEXT,
    from_budget INTEGER NOT NULL DEFAULT 0,
    alias TEXT,
    blocked INTEGER NOT NULL DEFAULT 0,
    models TEXT NOT NULL DEFAULT '[]',
    rpm INTEGER,
    tpm INTEGER,
    max_parallel_requests INTEGER,
    max_budget INTEGER,
    soft_budget INTEGER,
    budget_id TEXT,
    budget_duration TEXT,
    budget_window_start INTEGER,
    budget_reset_at INTEGER,
    spend INTEGER NOT NULL DEFAULT 0,
    total_spend INTEGER NOT NULL DEFAULT 0,
    last_active_at INTEGER,
    charged_at INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 1,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX scopes_by_parent ON scopes (parent) WHERE parent IS NOT NULL;
CREATE INDEX scopes_by_above ON scopes (above) WHERE above IS NOT NULL;
CREATE INDEX scopes_by_budget ON scopes (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX scopes_by_reset ON scopes (budget_reset_at) WHERE budget_reset_at IS NOT NULL;
CREATE INDEX scopes_by_charge ON scopes (charged_at) WHERE charged_at > 0;
CREATE INDEX scopes_by_kind ON scopes (kind, id);

-- Limits that any number of scopes refer to; each is held to them with its own spend.
CREATE TABLE budgets (
    budget_id TEXT PRIMARY KEY,
    max_budget INTEGER,
    soft_budget INTEGER,
    max_parallel_requests INTEGER,
    rpm INTEGER,
    tpm INTEGER,
    budget_duration TEXT,
    model_limits TEXT NOT NULL DEFAULT '{}',
    extra TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations (
    organization_id TEXT PRIMARY KEY,
    organization_alias TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}',
    extra TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organization_members (
    organization_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    user_role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX organization_members_by_user ON organization_members (user_id);

CREATE TABLE teams (
    team_id TEXT PRIMARY KEY,
    team_alias TEXT,
    organization_id TEXT,
    member_budget_id TEXT,
    model_aliases TEXT NOT NULL DEFAULT '{}',
    metadata TEXT NOT NULL DEFAULT '{}',
    extra TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX teams_by_organization ON teams (organization_id) WHERE organization_id IS NOT NULL;
CREATE INDEX teams_by_creation ON teams (created_at, team_id);

CREATE TABLE team_members (
    team_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (team_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_members_by_user ON team_members (user_id);

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    user_email TEXT UNIQUE,
    user_alias TEXT,
    user_role TEXT NOT NULL,
    sso_user_id TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    extra TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX users_by_creation ON users (created_at, user_id);

-- Whom a request names as its `user`.
CREATE TABLE customers (
    user_id TEXT PRIMARY KEY,
    alias TEXT,
    allowed_model_region TEXT,
    default_model TEXT,
    extra TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX customers_by_creation ON customers (created_at, user_id);

CREATE TABLE tags (
    name TEXT PRIMARY KEY,
    description TEXT,
    models TEXT NOT NULL DEFAULT '[]',
    model_info TEXT NOT NULL DEFAULT '{}',
    extra TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Alerts to be delivered and those that were: the primary key is what makes each happen once per window.
CREATE TABLE alerts (
    scope TEXT NOT NULL,
    event TEXT NOT NULL,
    threshold INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    spend INTEGER NOT NULL,
    max_budget INTEGER,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    delivered_at INTEGER,
    PRIMARY KEY (scope, event, threshold, window_start)
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_to_deliver ON alerts (next_attempt_at) WHERE delivered_at IS NULL;
