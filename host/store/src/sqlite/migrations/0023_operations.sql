-- Whatever a record names is billed, but for counts of tokens and lists of models: operations come, and each would have
-- to be named here. The view is that of migration 17 otherwise.
DROP VIEW counted_record;

CREATE VIEW counted_record AS
SELECT request, started_at,
    kind.kind AS kind,
    CASE kind.kind WHEN 1 THEN user_id WHEN 2 THEN credential WHEN 3 THEN x'' ELSE api_key END AS subject,
    CASE kind.kind WHEN 4 THEN 0 ELSE started_at / 86400000 END AS day,
    CASE kind.kind WHEN 1 THEN COALESCE(api_key, x'') ELSE x'' END AS api_key,
    CASE WHEN kind.kind = 4 OR attempts = 0 THEN '' ELSE COALESCE(model, '') END AS model,
    outcome NOT IN ('ok', 'empty') AS failed,
    operation NOT IN ('', 'count-tokens', 'list-models') AS billed,
    usage, charge
FROM request_record JOIN (SELECT 1 AS kind UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) AS kind
WHERE subject IS NOT NULL;
