-- What was asked and answered, for calls with an API key of which an operator wants it: redacted before it comes here, and sealed
-- under the master key (nonce, then ciphertext). `_bytes` is how long it was, `_cut` whether less than that is kept.
-- An id begins with its time, so the primary key is also the order in which rows go.
ALTER TABLE api_key ADD COLUMN keep_bodies INTEGER NOT NULL DEFAULT 0 CHECK (keep_bodies IN (0, 1));

CREATE TABLE request_body (
    request         BLOB    NOT NULL PRIMARY KEY,
    api_key         BLOB    NOT NULL,
    asked           BLOB    NOT NULL,
    asked_bytes     INTEGER NOT NULL,
    asked_cut       INTEGER NOT NULL,
    answered        BLOB    NOT NULL,
    answered_bytes  INTEGER NOT NULL,
    answered_cut    INTEGER NOT NULL
);
