-- Who may do what by the management API. `password` is an argon2id hash in the PHC form; without one there is no login.
ALTER TABLE users ADD COLUMN role TEXT NOT NULL DEFAULT 'user' CHECK (role IN ('admin', 'user'));
ALTER TABLE users ADD COLUMN password TEXT;

-- A login. `token` is the SHA-256 of the one refresh token that is good now; each use replaces it. One that comes again
-- was stolen, or its replacement was: `ended_at` is set then, and no token of the session is good any more.
CREATE TABLE session (
    id          BLOB    NOT NULL PRIMARY KEY,
    user_id     BLOB    NOT NULL REFERENCES users (id),
    token       BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    ended_at    INTEGER
) WITHOUT ROWID;

CREATE INDEX session_of_user ON session (user_id);
