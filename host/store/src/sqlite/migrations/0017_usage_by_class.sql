-- What is counted and priced by class has no column for each class any more, so that a new class needs none. Names of classes are
-- those of `wit/class.rs`; a class of which there is nothing is not named.
--
-- A record holds its usage in one column, as JSON (`{"input":220,"output":180}`): rows of their own would make two or three
-- insertions of each, on the way that every request takes. Counters are few and are added up in SQL, so theirs are rows.

DROP VIEW counted;
DROP VIEW counted_record;

CREATE TABLE record_by_class (
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
    usage              TEXT    NOT NULL,
    quality            TEXT    NOT NULL,
    service_tier       TEXT    NOT NULL,
    hold               INTEGER NOT NULL,
    charge             INTEGER NOT NULL,
    price_version      INTEGER,
    components         INTEGER REFERENCES component_set (id),
    receipt            BLOB,
    filter_hash        BLOB,
    error              TEXT,
    started_at         INTEGER NOT NULL,
    shape              INTEGER
) WITHOUT ROWID;

-- A merge patch leaves out what is NULL.
INSERT INTO record_by_class
SELECT request, user_id, api_key, protocol, operation, provider, model, credential, outcome, status, attempts, latency_ms, ttft_ms,
    streamed,
    json_patch('{}', json_object('input', NULLIF(input, 0), 'cache_read', NULLIF(cache_read, 0),
        'cache_write_short', NULLIF(cache_write_short, 0), 'cache_write_long', NULLIF(cache_write_long, 0),
        'output', NULLIF(output, 0), 'reasoning', NULLIF(reasoning, 0), 'audio_input', NULLIF(audio_input, 0),
        'audio_output', NULLIF(audio_output, 0))),
    quality, 'standard', hold, charge, price_version, components, receipt, filter_hash, error, started_at, shape
FROM request_record;

DROP TABLE request_record;
ALTER TABLE record_by_class RENAME TO request_record;

CREATE INDEX request_of_key ON request_record (api_key, request, shape);
CREATE INDEX request_of_credential ON request_record (credential, request, shape);
CREATE INDEX request_of_shape ON request_record (shape, request);

-- As before (migration 11), the units of each class aside.
CREATE VIEW counted_record AS
SELECT request, started_at,
    kind.kind AS kind,
    CASE kind.kind WHEN 1 THEN user_id WHEN 2 THEN credential WHEN 3 THEN x'' ELSE api_key END AS subject,
    CASE kind.kind WHEN 4 THEN 0 ELSE started_at / 86400000 END AS day,
    CASE kind.kind WHEN 1 THEN COALESCE(api_key, x'') ELSE x'' END AS api_key,
    CASE WHEN kind.kind = 4 OR attempts = 0 THEN '' ELSE COALESCE(model, '') END AS model,
    outcome NOT IN ('ok', 'empty') AS failed,
    operation IN ('generate', 'embed', 'embed-batch') AS billed,
    usage, charge
FROM request_record JOIN (SELECT 1 AS kind UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) AS kind
WHERE subject IS NOT NULL;

-- The same, added up.
CREATE VIEW counted AS
SELECT kind, subject, day, api_key, model, COUNT(*) AS requests, SUM(failed) AS failed, SUM(charge) AS charge,
    MAX(started_at) AS last_at
FROM counted_record
GROUP BY kind, subject, day, api_key, model;

-- The units of each class, one row for each record that counts.
CREATE VIEW counted_units AS
SELECT request, kind, subject, day, api_key, model, used.key AS class, used.value AS units
FROM counted_record JOIN json_each(counted_record.usage) AS used
WHERE billed;

CREATE TABLE usage_counter_units (
    kind     INTEGER NOT NULL,
    subject  BLOB    NOT NULL,
    day      INTEGER NOT NULL,
    api_key  BLOB    NOT NULL,
    model    TEXT    NOT NULL,
    class    TEXT    NOT NULL,
    units    INTEGER NOT NULL,
    PRIMARY KEY (kind, subject, day, api_key, model, class)
) WITHOUT ROWID;

INSERT INTO usage_counter_units
SELECT kind, subject, day, api_key, model, each.key, each.value
FROM usage_counter JOIN json_each(json_object('input', input, 'cache_read', cache_read,
    'cache_write_short', cache_write_short, 'cache_write_long', cache_write_long, 'output', output,
    'reasoning', reasoning, 'audio_input', audio_input, 'audio_output', audio_output)) AS each
WHERE each.value > 0;

ALTER TABLE usage_counter DROP COLUMN input;
ALTER TABLE usage_counter DROP COLUMN cache_read;
ALTER TABLE usage_counter DROP COLUMN cache_write_short;
ALTER TABLE usage_counter DROP COLUMN cache_write_long;
ALTER TABLE usage_counter DROP COLUMN output;
ALTER TABLE usage_counter DROP COLUMN reasoning;
ALTER TABLE usage_counter DROP COLUMN audio_input;
ALTER TABLE usage_counter DROP COLUMN audio_output;

CREATE TABLE usage_removed_units (
    kind     INTEGER NOT NULL,
    subject  BLOB    NOT NULL,
    day      INTEGER NOT NULL,
    api_key  BLOB    NOT NULL,
    model    TEXT    NOT NULL,
    class    TEXT    NOT NULL,
    units    INTEGER NOT NULL,
    PRIMARY KEY (kind, subject, day, api_key, model, class)
) WITHOUT ROWID;

INSERT INTO usage_removed_units
SELECT kind, subject, day, api_key, model, each.key, each.value
FROM usage_removed JOIN json_each(json_object('input', input, 'cache_read', cache_read,
    'cache_write_short', cache_write_short, 'cache_write_long', cache_write_long, 'output', output,
    'reasoning', reasoning, 'audio_input', audio_input, 'audio_output', audio_output)) AS each
WHERE each.value > 0;

ALTER TABLE usage_removed DROP COLUMN input;
ALTER TABLE usage_removed DROP COLUMN cache_read;
ALTER TABLE usage_removed DROP COLUMN cache_write_short;
ALTER TABLE usage_removed DROP COLUMN cache_write_long;
ALTER TABLE usage_removed DROP COLUMN output;
ALTER TABLE usage_removed DROP COLUMN reasoning;
ALTER TABLE usage_removed DROP COLUMN audio_input;
ALTER TABLE usage_removed DROP COLUMN audio_output;

-- Prices: micro-points of a million units of each class, and of a request; and the tiers in which tokens cost another part of them,
-- in millionths (`{"flex":500000}`).

CREATE TABLE price_by_class (
    version            INTEGER NOT NULL REFERENCES price_version (version),
    model              TEXT    NOT NULL,
    tier               INTEGER NOT NULL CHECK (tier IN (0, 1)),
    provider           TEXT    NOT NULL,
    above_tokens       INTEGER NOT NULL CHECK (above_tokens >= 0),
    output_tokens_max  INTEGER NOT NULL CHECK (output_tokens_max >= 0),
    rates              TEXT    NOT NULL,
    request            INTEGER NOT NULL CHECK (request >= 0),
    service_tiers      TEXT    NOT NULL,
    PRIMARY KEY (version, model, tier)
);

INSERT INTO price_by_class
SELECT version, model, tier, provider, above_tokens, output_tokens_max,
    json_object('input', input, 'cache_read', cache_read, 'cache_write_short', cache_write_short,
        'cache_write_long', cache_write_long, 'output', output, 'reasoning', output, 'audio_input', audio_input,
        'audio_output', audio_output),
    request, '{}'
FROM price;

DROP TABLE price;
ALTER TABLE price_by_class RENAME TO price;

CREATE TRIGGER price_keeps_rows BEFORE DELETE ON price BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;
CREATE TRIGGER price_keeps_values BEFORE UPDATE ON price BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;
