-- Deployments that the administrator keeps here instead of in the configuration file. How they are called is sealed;
-- `hints` is the same with its secrets masked, for people.
CREATE TABLE models (
    model_id TEXT PRIMARY KEY,
    model_name TEXT NOT NULL,
    sealed_params BLOB NOT NULL,
    hints TEXT NOT NULL,
    model_info TEXT NOT NULL,
    blocked INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;
