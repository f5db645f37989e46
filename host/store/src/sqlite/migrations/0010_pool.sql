-- The shared pool: users' own credentials that are lent to others. A row is a consent that stands; it is gone with the loan, and
-- the audit log keeps that it was given. `number` only grows, so that a server can tell an older loan from a newer one.
-- `consent`: version of the text that was agreed to. `actor`: who agreed.
CREATE TABLE pool_loan (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    credential        BLOB    NOT NULL UNIQUE REFERENCES credential (id) ON DELETE CASCADE,
    fingerprint       BLOB    NOT NULL UNIQUE,
    requests_per_day  INTEGER NOT NULL CHECK (requests_per_day > 0),
    consent           TEXT    NOT NULL,
    actor             TEXT    NOT NULL,
    at_ms             INTEGER NOT NULL
);

CREATE TRIGGER pool_loan_insert AFTER INSERT ON pool_loan BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER pool_loan_delete AFTER DELETE ON pool_loan BEGIN UPDATE revision SET value = value + 1; END;

-- Each time that a lent credential was used for somebody else's request, written before the request is sent. `attempt` counts
-- from 1. What the use earned is the transfer of code 21 of the same request.
CREATE TABLE pool_use (
    number      INTEGER PRIMARY KEY,
    request     BLOB    NOT NULL,
    attempt     INTEGER NOT NULL,
    credential  BLOB    NOT NULL,
    lender      BLOB    NOT NULL REFERENCES users (id),
    model       TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL,
    UNIQUE (request, attempt)
);

CREATE INDEX pool_use_credential ON pool_use (credential);

-- What lenders earned, for their statements.
CREATE INDEX transfer_earned ON transfer (credit, seq) WHERE code = 21;
