-- Who writes the books: an installation is a node, whose id its data directory keeps too. A node is taken for alive until its
-- lease ends, in milliseconds since 1970; 0 where it ended in order, or was found dead. Up to the transfer `swept` nothing
-- that it held is open.
CREATE TABLE node (
    number       INTEGER NOT NULL PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    lease_until  INTEGER NOT NULL,
    swept        INTEGER NOT NULL
);

-- Which node's writer wrote a transfer. What bears no number is of the first node, or was written by management.
ALTER TABLE transfer ADD COLUMN node INTEGER;

DROP TABLE swept;
