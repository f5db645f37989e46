-- What a credential is limited to; NULL where it is not.
ALTER TABLE credential ADD COLUMN requests_per_minute INTEGER CHECK (requests_per_minute > 0);
ALTER TABLE credential ADD COLUMN tokens_per_minute INTEGER CHECK (tokens_per_minute > 0);
ALTER TABLE credential ADD COLUMN tokens_per_day INTEGER CHECK (tokens_per_day > 0);
ALTER TABLE credential ADD COLUMN concurrency INTEGER CHECK (concurrency > 0);

-- By which a key is known again: an HMAC of provider and key under a key that is itself sealed. Says nothing without it.
ALTER TABLE credential ADD COLUMN fingerprint BLOB;

-- How a credential is. Apart from its row, so that what happens on the road does not make a server read everything anew.
-- `until_ms`: when a rest ends, or when a disabled credential is checked again. `result`: `good`, or the class of the failure
-- of the last check.
CREATE TABLE credential_state (
    credential  BLOB    NOT NULL PRIMARY KEY REFERENCES credential (id) ON DELETE CASCADE,
    condition   TEXT    NOT NULL DEFAULT 'good' CHECK (condition IN ('good', 'resting', 'disabled')),
    reason      TEXT,
    until_ms    INTEGER,
    failures    INTEGER NOT NULL DEFAULT 0,
    checked_at  INTEGER,
    result      TEXT,
    status      INTEGER
) WITHOUT ROWID;

-- Keys and provider accounts, by fingerprint, whose first credential was rewarded. Rows outlive credentials and users' wishes:
-- that is what makes the reward a single one.
CREATE TABLE credential_reward (
    fingerprint  BLOB    NOT NULL PRIMARY KEY,
    provider     TEXT    NOT NULL,
    user_id      BLOB    NOT NULL REFERENCES users (id),
    transfer     BLOB    REFERENCES transfer (id),
    at_ms        INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER credential_reward_keeps_rows BEFORE DELETE ON credential_reward
BEGIN SELECT RAISE(ABORT, 'rewards are granted once'); END;
