-- The ledger: two tables that are only appended to, one counter over both.
-- Version 1; see docs/internals.md.
CREATE TABLE event (
    seq     INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    at      REAL    NOT NULL,  -- seconds since 1970
    mono    REAL    NOT NULL,  -- seconds of the monotonic clock of that boot
    kind    TEXT    NOT NULL,
    study   INTEGER,
    trial   INTEGER,
    attempt INTEGER,
    reason  TEXT,              -- of attempt_ended
    score   REAL,              -- of attempt_ended
    body    TEXT    NOT NULL,  -- the fact
    crc     INTEGER NOT NULL
) STRICT;
CREATE TABLE report (
    seq     INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    at      REAL    NOT NULL,
    mono    REAL    NOT NULL,
    study   INTEGER NOT NULL,
    trial   INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    step    INTEGER NOT NULL,
    metrics TEXT    NOT NULL,
    crc     INTEGER NOT NULL
) STRICT;
CREATE INDEX event_by_kind ON event (kind, study, trial, attempt, reason, score, at);
CREATE INDEX event_by_trial ON event (study, trial);
CREATE INDEX report_by_trial ON report (study, trial, step);
PRAGMA user_version = 1;
