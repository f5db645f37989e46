-- What an API key is limited to; NULL where it is not. `protocols` holds names, `models` patterns, both separated by
-- spaces, which neither can contain.
ALTER TABLE api_key ADD COLUMN protocols TEXT;
ALTER TABLE api_key ADD COLUMN models TEXT;
ALTER TABLE api_key ADD COLUMN requests_per_minute INTEGER CHECK (requests_per_minute > 0);
ALTER TABLE api_key ADD COLUMN tokens_per_minute INTEGER CHECK (tokens_per_minute > 0);
ALTER TABLE api_key ADD COLUMN tokens_per_day INTEGER CHECK (tokens_per_day > 0);
ALTER TABLE api_key ADD COLUMN concurrency INTEGER CHECK (concurrency > 0);

CREATE INDEX api_key_of_user ON api_key (user_id);
