-- Whether calls of a user, or of one key, may be served by the user's own credentials alone: never by the operator's or
-- by lent ones, which cost the whole price.
ALTER TABLE users ADD COLUMN own_only INTEGER NOT NULL DEFAULT 0 CHECK (own_only IN (0, 1));
ALTER TABLE api_key ADD COLUMN own_only INTEGER NOT NULL DEFAULT 0 CHECK (own_only IN (0, 1));
