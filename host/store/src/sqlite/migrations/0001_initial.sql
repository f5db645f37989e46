-- Ids are 16-byte UUIDs, digests 32 bytes, times milliseconds since 1970-01-01 UTC, amounts micro-points.
-- Nothing here is SQLite's alone but BLOB, WITHOUT ROWID and the syntax of the triggers.

-- Who may call.

CREATE TABLE users (
    id          BLOB    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    enabled     INTEGER NOT NULL DEFAULT 1,
    created_at  INTEGER NOT NULL
);

CREATE TABLE api_key (
    id          BLOB    NOT NULL PRIMARY KEY,
    user_id     BLOB    NOT NULL REFERENCES users (id),
    name        TEXT    NOT NULL,
    sha256      BLOB    NOT NULL UNIQUE,
    hint        TEXT    NOT NULL,
    enabled     INTEGER NOT NULL DEFAULT 1,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER
);

-- A provider key, sealed: nonce and ciphertext say nothing without the master key.
CREATE TABLE credential (
    id               BLOB    NOT NULL PRIMARY KEY,
    owner            TEXT    NOT NULL CHECK (owner IN ('user', 'platform', 'shared')),
    user_id          BLOB    REFERENCES users (id),
    provider         TEXT    NOT NULL,
    label            TEXT    NOT NULL,
    nonce            BLOB    NOT NULL,
    sealed           BLOB    NOT NULL,
    hint             TEXT    NOT NULL,
    weight           INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 1000),
    enabled          INTEGER NOT NULL DEFAULT 1,
    disabled_reason  TEXT,
    created_at       INTEGER NOT NULL,
    CHECK (owner <> 'user' OR user_id IS NOT NULL)
);

-- What requests cost. A version is published whole and never changes.

CREATE TABLE price_version (
    version     INTEGER NOT NULL PRIMARY KEY,
    created_at  INTEGER NOT NULL
);

-- Micro-points per million tokens; `tier` 0 holds the ordinary prices, 1 those above `above_tokens` prompt tokens.
CREATE TABLE price (
    version            INTEGER NOT NULL REFERENCES price_version (version),
    model              TEXT    NOT NULL,
    tier               INTEGER NOT NULL CHECK (tier IN (0, 1)),
    provider           TEXT    NOT NULL,
    above_tokens       INTEGER NOT NULL CHECK (above_tokens >= 0),
    output_tokens_max  INTEGER NOT NULL CHECK (output_tokens_max >= 0),
    input              INTEGER NOT NULL CHECK (input >= 0),
    cache_read         INTEGER NOT NULL CHECK (cache_read >= 0),
    cache_write_short  INTEGER NOT NULL CHECK (cache_write_short >= 0),
    cache_write_long   INTEGER NOT NULL CHECK (cache_write_long >= 0),
    output             INTEGER NOT NULL CHECK (output >= 0),
    audio_input        INTEGER NOT NULL CHECK (audio_input >= 0),
    audio_output       INTEGER NOT NULL CHECK (audio_output >= 0),
    request            INTEGER NOT NULL CHECK (request >= 0),
    PRIMARY KEY (version, model, tier)
);

-- The books: double entry, append-only.

-- `floor` is the least balance that a user's holds may leave.
CREATE TABLE account (
    id     INTEGER NOT NULL PRIMARY KEY,
    kind   TEXT    NOT NULL CHECK (kind IN ('issuance', 'revenue', 'bad-debt', 'user')),
    owner  BLOB    UNIQUE REFERENCES users (id),
    floor  INTEGER NOT NULL DEFAULT 0,
    CHECK ((kind = 'user') = (owner IS NOT NULL))
);

INSERT INTO account (id, kind) VALUES (1, 'issuance'), (2, 'revenue'), (3, 'bad-debt');

-- kind: 1 hold, 2 post, 3 void, 4 single. A hold reserves and moves nothing; a post or void resolves it, once; posts
-- and singles move `amount` from `debit` to `credit`. The id of a hold is that of its request.
-- code: 1 request, 2 overrun, 3 bad debt, 4 grant. memo: the model of a hold, the actor and reason of a grant.
-- origin: 0 the server's writer, 1 management (which a running server must be told of).
-- Rows are never deleted, so that `seq` only grows.
CREATE TABLE transfer (
    seq       INTEGER PRIMARY KEY,
    id        BLOB    NOT NULL UNIQUE,
    kind      INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    debit     INTEGER NOT NULL REFERENCES account (id),
    credit    INTEGER NOT NULL REFERENCES account (id),
    amount    INTEGER NOT NULL CHECK (amount >= 0),
    resolves  BLOB    UNIQUE REFERENCES transfer (id),
    request   BLOB,
    code      INTEGER NOT NULL,
    memo      TEXT,
    origin    INTEGER NOT NULL,
    at_ms     INTEGER NOT NULL,
    CHECK ((kind IN (2, 3)) = (resolves IS NOT NULL))
);

CREATE INDEX transfer_external ON transfer (seq) WHERE origin <> 0;

CREATE TRIGGER transfer_keeps_rows BEFORE DELETE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;

CREATE TRIGGER transfer_keeps_values BEFORE UPDATE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END;

-- Balances up to and including transfer `seq`, so that a start need not add up all of history. No hold before
-- `holds_from` was open then.
CREATE TABLE balance_snapshot (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq         INTEGER NOT NULL,
    holds_from  INTEGER NOT NULL
);

INSERT INTO balance_snapshot (id, seq, holds_from) VALUES (1, 0, 1);

CREATE TABLE balance (
    account  INTEGER NOT NULL PRIMARY KEY REFERENCES account (id),
    posted   INTEGER NOT NULL
);

-- What happened.

-- The components that served a request; an empty digest where there was none.
CREATE TABLE component_set (
    id        INTEGER NOT NULL PRIMARY KEY,
    adapter   BLOB    NOT NULL,
    selector  BLOB    NOT NULL,
    pricing   BLOB    NOT NULL,
    filter    BLOB    NOT NULL,
    UNIQUE (adapter, selector, pricing, filter)
);

-- Request ids are ordered by time, so the primary key is also the order in which logs are read.
CREATE TABLE request_record (
    request            BLOB    NOT NULL PRIMARY KEY,
    user_id            BLOB    NOT NULL,
    api_key            BLOB,
    protocol           TEXT,
    operation          TEXT,
    provider           TEXT,
    model              TEXT,
    credential         BLOB,
    outcome            TEXT    NOT NULL,
    status             INTEGER,
    attempts           INTEGER NOT NULL,
    latency_ms         INTEGER NOT NULL,
    ttft_ms            INTEGER,
    streamed           INTEGER NOT NULL,
    input              INTEGER NOT NULL,
    cache_read         INTEGER NOT NULL,
    cache_write_short  INTEGER NOT NULL,
    cache_write_long   INTEGER NOT NULL,
    output             INTEGER NOT NULL,
    reasoning          INTEGER NOT NULL,
    audio_input        INTEGER NOT NULL,
    audio_output       INTEGER NOT NULL,
    quality            TEXT    NOT NULL,
    hold               INTEGER NOT NULL,
    charge             INTEGER NOT NULL,
    price_version      INTEGER,
    components         INTEGER REFERENCES component_set (id),
    receipt            BLOB,
    filter_hash        BLOB,
    error              TEXT,
    started_at         INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE plugin_event (
    id         INTEGER PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    component  TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    digest     BLOB,
    event      TEXT    NOT NULL,
    detail     TEXT
);

CREATE TABLE setting (
    name   TEXT NOT NULL PRIMARY KEY,
    value  TEXT NOT NULL
);

-- Counts every change that a running server has to notice; it polls this one row. Grants bump it in code, because a
-- trigger on `transfer` would run for each request too.
CREATE TABLE revision (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    value  INTEGER NOT NULL
);

INSERT INTO revision (id, value) VALUES (1, 0);

CREATE TRIGGER users_insert AFTER INSERT ON users BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER users_update AFTER UPDATE ON users BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER users_delete AFTER DELETE ON users BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER api_key_insert AFTER INSERT ON api_key BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER api_key_update AFTER UPDATE ON api_key BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER api_key_delete AFTER DELETE ON api_key BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER credential_insert AFTER INSERT ON credential BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER credential_update AFTER UPDATE ON credential BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER credential_delete AFTER DELETE ON credential BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER price_version_insert AFTER INSERT ON price_version BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER account_insert AFTER INSERT ON account BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER account_update AFTER UPDATE ON account BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER setting_insert AFTER INSERT ON setting BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER setting_update AFTER UPDATE ON setting BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER setting_delete AFTER DELETE ON setting BEGIN UPDATE revision SET value = value + 1; END;
