-- What management books: a grant, a top-up, a redeemed code, a refund (codes 4 to 7 of `transfer`). Who did it stands in `actor`,
-- why in `memo`. `reference` makes it happen once: a payment's number, a code and its user, a refund's key.
ALTER TABLE transfer ADD COLUMN actor TEXT;
ALTER TABLE transfer ADD COLUMN reference TEXT;

CREATE UNIQUE INDEX transfer_reference ON transfer (code, reference) WHERE reference IS NOT NULL;
CREATE INDEX transfer_refund ON transfer (request) WHERE code = 7;

-- A user's statement: what was taken from an account, and what management put on it.
CREATE INDEX transfer_taken ON transfer (debit, seq) WHERE kind IN (2, 4);
CREATE INDEX transfer_given ON transfer (credit, seq) WHERE origin <> 0;

-- Codes that are worth points, made by the batch. Of a code its SHA-256 is kept, and the first signs.
CREATE TABLE code_batch (
    id           BLOB    NOT NULL PRIMARY KEY,
    label        TEXT    NOT NULL,
    points       INTEGER NOT NULL CHECK (points > 0),
    uses_max     INTEGER NOT NULL CHECK (uses_max > 0),
    expires_at   INTEGER,
    disabled_at  INTEGER,
    created_at   INTEGER NOT NULL,
    actor        TEXT    NOT NULL
) WITHOUT ROWID;

-- `uses` counts the redemptions: no more than the batch allows, by the statement that counts up.
CREATE TABLE redeem_code (
    id           BLOB    NOT NULL PRIMARY KEY,
    batch        BLOB    NOT NULL REFERENCES code_batch (id),
    sha256       BLOB    NOT NULL UNIQUE,
    hint         TEXT    NOT NULL,
    uses         INTEGER NOT NULL DEFAULT 0 CHECK (uses >= 0)
) WITHOUT ROWID;

CREATE INDEX redeem_code_of_batch ON redeem_code (batch);

CREATE TABLE redemption (
    code      BLOB    NOT NULL REFERENCES redeem_code (id),
    user_id   BLOB    NOT NULL REFERENCES users (id),
    transfer  BLOB    NOT NULL UNIQUE REFERENCES transfer (id),
    at_ms     INTEGER NOT NULL,
    PRIMARY KEY (code, user_id)
) WITHOUT ROWID;

-- The last transfer before the process that serves began: every hold up to it was resolved by then.
CREATE TABLE swept (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL
);

INSERT INTO swept (id, seq) VALUES (1, 0);
