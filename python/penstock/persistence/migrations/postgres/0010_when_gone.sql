-- What becomes of a payer's rates and slots when Redis has been gone for the time of local shares: fail_open, local_share or
-- fail_closed; NULL: what the others that a call stands under say, or else the configuration.
ALTER TABLE keys ADD COLUMN when_gone TEXT COLLATE "C";
ALTER TABLE scopes ADD COLUMN when_gone TEXT COLLATE "C";
