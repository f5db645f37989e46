-- The refresh token that the newest one has replaced, and when: two tabs of a browser that wake together both send it.
ALTER TABLE session ADD COLUMN previous BLOB;
ALTER TABLE session ADD COLUMN rotated_at INTEGER;
