-- Model routes that were made while the gateway ran; those of the configuration file are not in here. `definition` is an
-- entry of `[[models]]` in JSON.
CREATE TABLE model_route (
    id          BLOB    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    definition  TEXT    NOT NULL CHECK (json_valid(definition)),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER model_route_insert AFTER INSERT ON model_route BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER model_route_update AFTER UPDATE ON model_route BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER model_route_delete AFTER DELETE ON model_route BEGIN UPDATE revision SET value = value + 1; END;
