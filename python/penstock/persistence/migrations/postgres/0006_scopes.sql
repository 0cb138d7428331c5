-- Whoever a limit or a budget belongs to, beside the keys themselves: teams, members, users, organizations, customers,
-- tags, keys that share a budget, and each of these for one model. Limits and spend of every level are here and only here.
CREATE TABLE scopes (
    name TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    parent TEXT COLLATE "C",
    above TEXT COLLATE "C",
    only_model TEXT COLLATE "C",
    from_budget BIGINT NOT NULL DEFAULT 0,
    alias TEXT COLLATE "C",
    blocked BIGINT NOT NULL DEFAULT 0,
    models TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    rpm BIGINT,
    tpm BIGINT,
    max_parallel_requests BIGINT,
    max_budget BIGINT,
    soft_budget BIGINT,
    budget_id TEXT COLLATE "C",
    budget_duration TEXT COLLATE "C",
    budget_window_start BIGINT,
    budget_reset_at BIGINT,
    spend BIGINT NOT NULL DEFAULT 0,
    total_spend BIGINT NOT NULL DEFAULT 0,
    last_active_at BIGINT,
    charged_at BIGINT NOT NULL DEFAULT 0,
    revision BIGINT NOT NULL DEFAULT 1,
    updated_at BIGINT NOT NULL
);
CREATE INDEX scopes_by_parent ON scopes (parent) WHERE parent IS NOT NULL;
CREATE INDEX scopes_by_above ON scopes (above) WHERE above IS NOT NULL;
CREATE INDEX scopes_by_budget ON scopes (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX scopes_by_reset ON scopes (budget_reset_at) WHERE budget_reset_at IS NOT NULL;
CREATE INDEX scopes_by_charge ON scopes (charged_at) WHERE charged_at > 0;
CREATE INDEX scopes_by_kind ON scopes (kind, id);

-- Limits that any number of scopes refer to; each is held to them with its own spend.
CREATE TABLE budgets (
    budget_id TEXT COLLATE "C" PRIMARY KEY,
    max_budget BIGINT,
    soft_budget BIGINT,
    max_parallel_requests BIGINT,
    rpm BIGINT,
    tpm BIGINT,
    budget_duration TEXT COLLATE "C",
    model_limits TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    extra TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL
);

CREATE TABLE organizations (
    organization_id TEXT COLLATE "C" PRIMARY KEY,
    organization_alias TEXT COLLATE "C" NOT NULL,
    metadata TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    extra TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL
);

CREATE TABLE organization_members (
    organization_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    user_role TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX organization_members_by_user ON organization_members (user_id);

CREATE TABLE teams (
    team_id TEXT COLLATE "C" PRIMARY KEY,
    team_alias TEXT COLLATE "C",
    organization_id TEXT COLLATE "C",
    member_budget_id TEXT COLLATE "C",
    model_aliases TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    metadata TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    extra TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL
);
CREATE INDEX teams_by_organization ON teams (organization_id) WHERE organization_id IS NOT NULL;
CREATE INDEX teams_by_creation ON teams (created_at, team_id);

CREATE TABLE team_members (
    team_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX team_members_by_user ON team_members (user_id);

CREATE TABLE users (
    user_id TEXT COLLATE "C" PRIMARY KEY,
    user_email TEXT COLLATE "C" UNIQUE,
    user_alias TEXT COLLATE "C",
    user_role TEXT COLLATE "C" NOT NULL,
    sso_user_id TEXT COLLATE "C",
    metadata TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    extra TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL
);
CREATE INDEX users_by_creation ON users (created_at, user_id);

-- Whom a request names as its `user`.
CREATE TABLE customers (
    user_id TEXT COLLATE "C" PRIMARY KEY,
    alias TEXT COLLATE "C",
    allowed_model_region TEXT COLLATE "C",
    default_model TEXT COLLATE "C",
    extra TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL
);
CREATE INDEX customers_by_creation ON customers (created_at, user_id);

CREATE TABLE tags (
    name TEXT COLLATE "C" PRIMARY KEY,
    description TEXT COLLATE "C",
    models TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    model_info TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    extra TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL
);

-- Alerts to be delivered and those that were: the primary key is what makes each happen once per window.
CREATE TABLE alerts (
    scope TEXT COLLATE "C" NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    threshold BIGINT NOT NULL,
    window_start BIGINT NOT NULL,
    spend BIGINT NOT NULL,
    max_budget BIGINT,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    next_attempt_at BIGINT NOT NULL,
    delivered_at BIGINT,
    PRIMARY KEY (scope, event, threshold, window_start)
);
CREATE INDEX alerts_to_deliver ON alerts (next_attempt_at) WHERE delivered_at IS NULL;
