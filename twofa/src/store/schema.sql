-- What administrators change. What logins change is in state/UID (see record.rs).
--
-- A row's factors are sealed (seal.rs) for this uid, name and generation. A generation is a random number: every
-- change brings another, so a user who is removed and added again never meets what was left of the first.
CREATE TABLE account (
    uid        INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    factors    BLOB    NOT NULL
) STRICT;
