-- What has changed of all that a server holds in memory, in the order of the commits. A server remembers the last `seq` that it took up
-- and reads from there on: that row itself, which says that none before it is missing, and those after it. This replaces the counter
-- that made it read everything again.
--
-- Triggers write the rows, because whoever changes a row (this version, a later one, a person with a shell) cannot forget them.
-- Points that management books are written in code: a trigger on `transfer` would run for each request too.
CREATE TABLE change (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind  TEXT    NOT NULL
          CHECK (kind IN ('everything', 'user', 'key', 'credential', 'price', 'route', 'points')),
    id    BLOB    NOT NULL
);

INSERT INTO change (kind, id) VALUES ('everything', x'');

-- The feed trims itself. Whoever has missed more than is left finds the row gone where they stopped, and reads everything.
CREATE TRIGGER change_trim AFTER INSERT ON change WHEN NEW.seq % 1024 = 0
BEGIN DELETE FROM change WHERE seq <= NEW.seq - 65536; END;

DROP TRIGGER users_insert;
DROP TRIGGER users_update;
DROP TRIGGER users_delete;
DROP TRIGGER api_key_insert;
DROP TRIGGER api_key_update;
DROP TRIGGER api_key_delete;
DROP TRIGGER credential_insert;
DROP TRIGGER credential_update;
DROP TRIGGER credential_delete;
DROP TRIGGER price_version_insert;
DROP TRIGGER price_version_update;
DROP TRIGGER account_insert;
DROP TRIGGER account_update;
DROP TRIGGER setting_insert;
DROP TRIGGER setting_update;
DROP TRIGGER setting_delete;
DROP TRIGGER pool_loan_insert;
DROP TRIGGER pool_loan_delete;
DROP TRIGGER price_rate_insert;
DROP TRIGGER price_rate_update;
DROP TRIGGER price_rate_delete;
DROP TRIGGER model_route_insert;
DROP TRIGGER model_route_update;
DROP TRIGGER model_route_delete;
DROP TABLE revision;

CREATE TRIGGER users_insert AFTER INSERT ON users
BEGIN INSERT INTO change (kind, id) VALUES ('user', NEW.id); END;
CREATE TRIGGER users_update AFTER UPDATE ON users
BEGIN INSERT INTO change (kind, id) VALUES ('user', NEW.id); END;
CREATE TRIGGER users_delete AFTER DELETE ON users
BEGIN INSERT INTO change (kind, id) VALUES ('user', OLD.id); END;

-- The floor of an account, and what is paid of the prices, are their user's.
CREATE TRIGGER account_update AFTER UPDATE ON account WHEN NEW.owner IS NOT NULL
BEGIN INSERT INTO change (kind, id) VALUES ('user', NEW.owner); END;
CREATE TRIGGER price_rate_insert AFTER INSERT ON price_rate
BEGIN INSERT INTO change (kind, id) VALUES ('user', NEW.user_id); END;
CREATE TRIGGER price_rate_update AFTER UPDATE ON price_rate
BEGIN INSERT INTO change (kind, id) VALUES ('user', NEW.user_id); END;
CREATE TRIGGER price_rate_delete AFTER DELETE ON price_rate
BEGIN INSERT INTO change (kind, id) VALUES ('user', OLD.user_id); END;

CREATE TRIGGER api_key_insert AFTER INSERT ON api_key
BEGIN INSERT INTO change (kind, id) VALUES ('key', NEW.id); END;
CREATE TRIGGER api_key_update AFTER UPDATE ON api_key
BEGIN INSERT INTO change (kind, id) VALUES ('key', NEW.id); END;
CREATE TRIGGER api_key_delete AFTER DELETE ON api_key
BEGIN INSERT INTO change (kind, id) VALUES ('key', OLD.id); END;

CREATE TRIGGER credential_insert AFTER INSERT ON credential
BEGIN INSERT INTO change (kind, id) VALUES ('credential', NEW.id); END;
CREATE TRIGGER credential_update AFTER UPDATE ON credential
BEGIN INSERT INTO change (kind, id) VALUES ('credential', NEW.id); END;
CREATE TRIGGER credential_delete AFTER DELETE ON credential
BEGIN INSERT INTO change (kind, id) VALUES ('credential', OLD.id); END;
CREATE TRIGGER pool_loan_insert AFTER INSERT ON pool_loan
BEGIN INSERT INTO change (kind, id) VALUES ('credential', NEW.credential); END;
CREATE TRIGGER pool_loan_delete AFTER DELETE ON pool_loan
BEGIN INSERT INTO change (kind, id) VALUES ('credential', OLD.credential); END;

CREATE TRIGGER price_version_insert AFTER INSERT ON price_version
BEGIN INSERT INTO change (kind, id) VALUES ('price', x''); END;
CREATE TRIGGER price_version_update AFTER UPDATE ON price_version
BEGIN INSERT INTO change (kind, id) VALUES ('price', x''); END;

CREATE TRIGGER model_route_insert AFTER INSERT ON model_route
BEGIN INSERT INTO change (kind, id) VALUES ('route', NEW.id); END;
CREATE TRIGGER model_route_update AFTER UPDATE ON model_route
BEGIN INSERT INTO change (kind, id) VALUES ('route', NEW.id); END;
CREATE TRIGGER model_route_delete AFTER DELETE ON model_route
BEGIN INSERT INTO change (kind, id) VALUES ('route', OLD.id); END;
