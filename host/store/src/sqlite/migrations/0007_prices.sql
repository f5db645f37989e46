-- From when on a version of the prices is in force, until one takes over whose moment is later. A version that is still to come
-- may be withdrawn. `actor` and `note` say who published it, and what for.
ALTER TABLE price_version ADD COLUMN effective_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE price_version ADD COLUMN withdrawn_at INTEGER;
ALTER TABLE price_version ADD COLUMN actor TEXT;
ALTER TABLE price_version ADD COLUMN note TEXT;

UPDATE price_version SET effective_at = created_at;

CREATE TRIGGER price_version_update AFTER UPDATE ON price_version BEGIN UPDATE revision SET value = value + 1; END;

-- Prices of a version never change: a receipt rests on them.
CREATE TRIGGER price_keeps_rows BEFORE DELETE ON price BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;
CREATE TRIGGER price_keeps_values BEFORE UPDATE ON price BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;

-- What a user pays of the prices, in millionths; whoever has no row pays them whole. Apart from `users`, so that nothing that shows
-- a user can show it by accident: only operators may see it.
CREATE TABLE price_rate (
    user_id     BLOB    NOT NULL PRIMARY KEY REFERENCES users (id),
    ppm         INTEGER NOT NULL CHECK (ppm BETWEEN 0 AND 100000000),
    changed_at  INTEGER NOT NULL,
    actor       TEXT    NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER price_rate_insert AFTER INSERT ON price_rate BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER price_rate_update AFTER UPDATE ON price_rate BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER price_rate_delete AFTER DELETE ON price_rate BEGIN UPDATE revision SET value = value + 1; END;
