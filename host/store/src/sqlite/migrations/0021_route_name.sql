-- The names of model routes, further names included: two routes of one name would leave it to chance which is meant.
-- `definition` holds them too, for the server; here they are found without reading all routes.
CREATE TABLE model_route_name (
    name   TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    route  BLOB NOT NULL REFERENCES model_route (id) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE INDEX model_route_name_of_route ON model_route_name (route);

INSERT OR IGNORE INTO model_route_name (name, route) SELECT name, id FROM model_route;
INSERT OR IGNORE INTO model_route_name (name, route)
    SELECT alias.value, model_route.id FROM model_route, json_each(model_route.definition, '$.aliases') AS alias
    WHERE alias.type = 'text' AND alias.value <> '';
