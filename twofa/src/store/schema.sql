-- What administrators change. What logins change is in state/UID (see record.rs).
--
-- A row's factors are sealed (seal.rs) for this uid, name and generation. Generations come from one counter
-- for the whole store, so that a user who is removed and added again never meets what was left of the first.
CREATE TABLE account (
    uid        INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    generation INTEGER NOT NULL UNIQUE,
    factors    BLOB    NOT NULL
) STRICT;

CREATE TABLE counter (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    generation INTEGER NOT NULL
) STRICT;

INSERT INTO counter VALUES (1, 0);
