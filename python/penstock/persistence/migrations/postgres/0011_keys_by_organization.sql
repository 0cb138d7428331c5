-- The keys of an organization are asked for when it changes or goes.
CREATE INDEX keys_by_organization ON keys (org_id) WHERE org_id IS NOT NULL;
