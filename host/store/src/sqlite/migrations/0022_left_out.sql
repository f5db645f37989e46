-- What becomes of hints that a provider's protocol lacks (`strict`: they are refused; NULL: they are left out), and what
-- of a request was left out: paths of members, with commas between them.
ALTER TABLE api_key ADD COLUMN translation TEXT;
ALTER TABLE request_record ADD COLUMN left_out TEXT;
