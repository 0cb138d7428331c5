-- Deployments that the administrator keeps here instead of in the configuration file. How they are called is sealed;
-- `hints` is the same with its secrets masked, for people.
CREATE TABLE models (
    model_id TEXT COLLATE "C" PRIMARY KEY,
    model_name TEXT COLLATE "C" NOT NULL,
    sealed_params BYTEA NOT NULL,
    hints TEXT COLLATE "C" NOT NULL,
    model_info TEXT COLLATE "C" NOT NULL,
    blocked BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C" NOT NULL
);
