-- What management has changed: one row a change, never changed or removed. `actor` is a user's id, `operator` (the admin
-- secret), or `cli`. `target` is the id or name of what was changed, `detail` JSON without secrets; `request` and `address` are
-- those of the call over HTTP, NULL for the command line.
CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY,
    at_ms        INTEGER NOT NULL,
    actor        TEXT    NOT NULL,
    action       TEXT    NOT NULL,
    target_kind  TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    detail       TEXT,
    request      BLOB,
    address      TEXT
);

CREATE INDEX audit_of_actor ON audit (actor, seq);
CREATE INDEX audit_of_target ON audit (target, seq);

CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_keeps_values BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Calls that make something and carry an Idempotency-Key. `digest` is the SHA-256 of the call; `boot` tells the run of the
-- gateway that took it, so that one which a crash cut off is not taken for one that still runs. `answer` is sealed, because it
-- may show a secret once, and NULL until there is one.
CREATE TABLE idempotency (
    actor       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    digest      BLOB    NOT NULL,
    boot        BLOB    NOT NULL,
    status      INTEGER,
    answer      TEXT,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);
