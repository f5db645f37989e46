-- Where a credential is good, if not at its provider itself: a platform that the provider's adapter declares, and what it
-- has to know of the credential, a JSON object of texts.
ALTER TABLE credential ADD COLUMN platform TEXT;
ALTER TABLE credential ADD COLUMN settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings));
