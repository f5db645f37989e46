-- A movement of more than ten thousand million points (10^16 micro-points) is damage: nobody can have meant it, and a
-- few of them pass 64 bits. It stays where it is, no balance counts it, and `ledger verify` and readiness name it.
CREATE INDEX transfer_impossible ON transfer (seq) WHERE amount > 10000000000000000;

-- Sums that counted one are made again.
UPDATE balance_snapshot SET seq = 0, holds_from = 1
WHERE EXISTS (SELECT 1 FROM transfer WHERE amount > 10000000000000000);
DELETE FROM balance WHERE EXISTS (SELECT 1 FROM transfer WHERE amount > 10000000000000000);

-- A counter that passed 64 bits became a floating-point number.
UPDATE usage_counter SET charge = CAST(charge AS INTEGER) WHERE typeof(charge) = 'real';
UPDATE usage_counter_units SET units = CAST(units AS INTEGER) WHERE typeof(units) = 'real';
UPDATE usage_removed SET charge = CAST(charge AS INTEGER) WHERE typeof(charge) = 'real';
UPDATE usage_removed_units SET units = CAST(units AS INTEGER) WHERE typeof(units) = 'real';

-- The sums of migration 17, which no number of units or points makes an error: they stick at the end of 64 bits.
DROP VIEW counted;
DROP VIEW counted_units;

CREATE VIEW counted AS
SELECT kind, subject, day, api_key, model, COUNT(*) AS requests, SUM(failed) AS failed,
    CASE WHEN SUM(charge >> 32) + (SUM(charge & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
        ELSE ((SUM(charge >> 32) + (SUM(charge & 4294967295) >> 32)) << 32) | (SUM(charge & 4294967295) & 4294967295) END AS charge,
    MAX(started_at) AS last_at
FROM counted_record
GROUP BY kind, subject, day, api_key, model;

CREATE VIEW counted_units AS
SELECT request, kind, subject, day, api_key, model, used.key AS class, CAST(used.value AS INTEGER) AS units
FROM counted_record JOIN json_each(counted_record.usage) AS used
WHERE billed;
