-- Which providers an API key may reach (names separated by spaces; NULL for all), and how much of a conversation is sent on:
-- with `context_management` the oldest turns beyond `context_window` tokens are left out.
ALTER TABLE api_key ADD COLUMN providers TEXT;
ALTER TABLE api_key ADD COLUMN context_management INTEGER NOT NULL DEFAULT 0;
ALTER TABLE api_key ADD COLUMN context_window INTEGER CHECK (context_window > 0);

-- Wrong passwords, so that a restart does not forget them. `guessed` is the SHA-256 of a name (kind 1) or an address (kind 2):
-- what is typed where a name belongs may be a password.
CREATE TABLE lockout (
    kind     INTEGER NOT NULL CHECK (kind IN (1, 2)),
    guessed  BLOB    NOT NULL,
    wrong    INTEGER NOT NULL CHECK (wrong > 0),
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (kind, guessed)
) WITHOUT ROWID;
