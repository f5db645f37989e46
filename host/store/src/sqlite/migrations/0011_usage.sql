-- What was used, counted in the same commits as the records that it is counted from.

-- One row of this for each row that counts a record: the rule, written once. `kind`: 1 a user (by day, API key and model),
-- 2 a credential (by day and model), 3 everyone (by day and model), 4 an API key since it was made. `day`: days since
-- 1970-01-01 UTC on which requests arrived; 0 for kind 4. `model` is empty for what was refused before any attempt, because
-- anyone can name a model that is not. Tokens are those of billed operations.
CREATE VIEW counted_record AS
SELECT request, started_at,
    kind.kind AS kind,
    CASE kind.kind WHEN 1 THEN user_id WHEN 2 THEN credential WHEN 3 THEN x'' ELSE api_key END AS subject,
    CASE kind.kind WHEN 4 THEN 0 ELSE started_at / 86400000 END AS day,
    CASE kind.kind WHEN 1 THEN COALESCE(api_key, x'') ELSE x'' END AS api_key,
    CASE WHEN kind.kind = 4 OR attempts = 0 THEN '' ELSE COALESCE(model, '') END AS model,
    outcome NOT IN ('ok', 'empty') AS failed,
    operation IN ('generate', 'embed', 'embed-batch') AS billed,
    input, cache_read, cache_write_short, cache_write_long, output, reasoning, audio_input, audio_output, charge
FROM request_record JOIN (SELECT 1 AS kind UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) AS kind
WHERE subject IS NOT NULL;

-- The same, added up.
CREATE VIEW counted AS
SELECT kind, subject, day, api_key, model,
    COUNT(*) AS requests,
    SUM(failed) AS failed,
    SUM(CASE WHEN billed THEN input ELSE 0 END) AS input,
    SUM(CASE WHEN billed THEN cache_read ELSE 0 END) AS cache_read,
    SUM(CASE WHEN billed THEN cache_write_short ELSE 0 END) AS cache_write_short,
    SUM(CASE WHEN billed THEN cache_write_long ELSE 0 END) AS cache_write_long,
    SUM(CASE WHEN billed THEN output ELSE 0 END) AS output,
    SUM(CASE WHEN billed THEN reasoning ELSE 0 END) AS reasoning,
    SUM(CASE WHEN billed THEN audio_input ELSE 0 END) AS audio_input,
    SUM(CASE WHEN billed THEN audio_output ELSE 0 END) AS audio_output,
    SUM(charge) AS charge,
    MAX(started_at) AS last_at
FROM counted_record
GROUP BY kind, subject, day, api_key, model;

CREATE TABLE usage_counter (
    kind               INTEGER NOT NULL,
    subject            BLOB    NOT NULL,
    day                INTEGER NOT NULL,
    api_key            BLOB    NOT NULL,
    model              TEXT    NOT NULL,
    requests           INTEGER NOT NULL,
    failed             INTEGER NOT NULL,
    input              INTEGER NOT NULL,
    cache_read         INTEGER NOT NULL,
    cache_write_short  INTEGER NOT NULL,
    cache_write_long   INTEGER NOT NULL,
    output             INTEGER NOT NULL,
    reasoning          INTEGER NOT NULL,
    audio_input        INTEGER NOT NULL,
    audio_output       INTEGER NOT NULL,
    charge             INTEGER NOT NULL,
    last_at            INTEGER NOT NULL,
    PRIMARY KEY (kind, subject, day, api_key, model)
) WITHOUT ROWID;

-- What records that retention has removed were counted as: with it, the counters can still be computed again.
CREATE TABLE usage_removed (
    kind               INTEGER NOT NULL,
    subject            BLOB    NOT NULL,
    day                INTEGER NOT NULL,
    api_key            BLOB    NOT NULL,
    model              TEXT    NOT NULL,
    requests           INTEGER NOT NULL,
    failed             INTEGER NOT NULL,
    input              INTEGER NOT NULL,
    cache_read         INTEGER NOT NULL,
    cache_write_short  INTEGER NOT NULL,
    cache_write_long   INTEGER NOT NULL,
    output             INTEGER NOT NULL,
    reasoning          INTEGER NOT NULL,
    audio_input        INTEGER NOT NULL,
    audio_output       INTEGER NOT NULL,
    charge             INTEGER NOT NULL,
    last_at            INTEGER NOT NULL,
    PRIMARY KEY (kind, subject, day, api_key, model)
) WITHOUT ROWID;

INSERT INTO usage_counter SELECT * FROM counted;

-- How far retention has come: it has removed the records up to this one. Receipts are money's, and stay.
CREATE TABLE request_horizon (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    request  BLOB    NOT NULL,
    removed  INTEGER NOT NULL
);

INSERT INTO request_horizon (id, request, removed) VALUES (1, x'', 0);

CREATE TABLE kept_receipt (
    request  BLOB NOT NULL PRIMARY KEY,
    receipt  BLOB NOT NULL
) WITHOUT ROWID;

-- What few values go together in most records. One index by the shape's id serves filters on each of them; empty and 0
-- stand for NULL. `model` is empty where nothing was known of it, as it is for anyone's made-up name.
CREATE TABLE request_shape (
    id         INTEGER NOT NULL PRIMARY KEY,
    protocol   TEXT    NOT NULL,
    operation  TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    UNIQUE (protocol, operation, provider, model, outcome, status)
);

-- No REFERENCES: it would cost a lookup for each record.
ALTER TABLE request_record ADD COLUMN shape INTEGER;

INSERT INTO request_shape (protocol, operation, provider, model, outcome, status)
SELECT DISTINCT COALESCE(protocol, ''), COALESCE(operation, ''), COALESCE(provider, ''),
    CASE WHEN attempts > 0 OR price_version IS NOT NULL THEN COALESCE(model, '') ELSE '' END,
    outcome, COALESCE(status, 0)
FROM request_record;

UPDATE request_record SET shape = (
    SELECT id FROM request_shape
    WHERE request_shape.protocol = COALESCE(request_record.protocol, '')
    AND request_shape.operation = COALESCE(request_record.operation, '')
    AND request_shape.provider = COALESCE(request_record.provider, '')
    AND request_shape.model = CASE WHEN attempts > 0 OR price_version IS NOT NULL
        THEN COALESCE(request_record.model, '') ELSE '' END
    AND request_shape.outcome = request_record.outcome
    AND request_shape.status = COALESCE(request_record.status, 0)
);

-- The log by what it is asked for most. Ids are ordered by time; the shape stands in the first two so that a filter on both
-- need not look at the records. A user's log is that of his keys, and of what has none.
CREATE INDEX request_of_key ON request_record (api_key, request, shape);
CREATE INDEX request_of_credential ON request_record (credential, request, shape);
CREATE INDEX request_of_shape ON request_record (shape, request);

-- The attempts of a request, where there was more than one: what each met. The last one's latency is not over when it has
-- begun to answer, so `took_ms` is the time to its first byte.
CREATE TABLE request_attempt (
    request     BLOB    NOT NULL,
    number      INTEGER NOT NULL,
    credential  BLOB    NOT NULL,
    status      INTEGER,
    failure     TEXT,
    took_ms     INTEGER NOT NULL,
    PRIMARY KEY (request, number)
) WITHOUT ROWID;
