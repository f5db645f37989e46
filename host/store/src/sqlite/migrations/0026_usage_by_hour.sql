-- What everyone used, by the hour (UTC) in which requests arrived and by model: kind 5, whose `day` is hours since
-- 1970-01-01. The view is that of migration 23 otherwise.
DROP VIEW counted_record;

CREATE VIEW counted_record AS
SELECT request, started_at,
    kind.kind AS kind,
    CASE kind.kind WHEN 1 THEN user_id WHEN 2 THEN credential WHEN 4 THEN api_key ELSE x'' END AS subject,
    CASE kind.kind WHEN 4 THEN 0 WHEN 5 THEN started_at / 3600000 ELSE started_at / 86400000 END AS day,
    CASE kind.kind WHEN 1 THEN COALESCE(api_key, x'') ELSE x'' END AS api_key,
    CASE WHEN kind.kind = 4 OR attempts = 0 THEN '' ELSE COALESCE(model, '') END AS model,
    outcome NOT IN ('ok', 'empty') AS failed,
    operation NOT IN ('', 'count-tokens', 'list-models') AS billed,
    usage, charge
FROM request_record
JOIN (SELECT 1 AS kind UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5) AS kind
WHERE subject IS NOT NULL;

INSERT INTO usage_counter (kind, subject, day, api_key, model, requests, failed, charge, last_at)
SELECT kind, subject, day, api_key, model, requests, failed, charge, last_at FROM counted WHERE kind = 5;

INSERT INTO usage_counter_units (kind, subject, day, api_key, model, class, units)
SELECT kind, subject, day, api_key, model, class,
    -- As in `sums.rs`: a sum past 64 bits must not keep a gateway from starting.
    CASE WHEN SUM(units >> 32) + (SUM(units & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
        ELSE ((SUM(units >> 32) + (SUM(units & 4294967295) >> 32)) << 32) | (SUM(units & 4294967295) & 4294967295) END
FROM counted_units WHERE kind = 5 GROUP BY 1, 2, 3, 4, 5, 6;

-- Everyone's usage by user or by credential is found by its days.
CREATE INDEX usage_counter_of_day ON usage_counter (kind, day);
CREATE INDEX usage_counter_units_of_day ON usage_counter_units (kind, day);
