-- A user's own credentials, and those for one provider, are listed without a look at all the others.
CREATE INDEX credential_of_user ON credential (user_id, id);
CREATE INDEX credential_of_provider ON credential (provider, id);
-- Credentials of an older Tollgate that are not yet known again. Every start asks for them.
CREATE INDEX credential_without_fingerprint ON credential (id) WHERE fingerprint IS NULL;
