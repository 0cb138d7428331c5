-- When a key with a budget was last charged, by the database's clock; rises with every charge of it. Replicas follow each
-- other's charges and the budget windows that began by it.
ALTER TABLE keys ADD COLUMN charged_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX keys_by_charge ON keys (charged_at, token) WHERE charged_at > 0;
DROP INDEX keys_by_window;
