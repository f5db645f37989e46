-- How far the journal beside this database has been read into its tables: the sequence number of a segment, and a byte
-- offset in it. Moves in the same commits as what was read.
CREATE TABLE journal (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence  INTEGER NOT NULL,
    position  INTEGER NOT NULL
);

INSERT INTO journal (id, sequence, position) VALUES (1, 1, 0);
