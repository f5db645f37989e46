-- What was decided about a request on its way, in the bytes of `host/core/src/decisions.rs`; NULL for records that are
-- older.
ALTER TABLE request_record ADD COLUMN decisions BLOB;
