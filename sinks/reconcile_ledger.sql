-- name: create
PRAGMA journal_mode = off;
PRAGMA synchronous = off;
PRAGMA cache_size = -65536;
CREATE TABLE accepted (
    id      BLOB PRIMARY KEY,
    user_id BLOB NOT NULL,
    marks   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE letters (
    id       BLOB NOT NULL,
    topic    TEXT NOT NULL,
    redrives INTEGER NOT NULL,
    PRIMARY KEY (id, topic)
) WITHOUT ROWID;
CREATE TABLE redriven (
    id       BLOB NOT NULL,
    topic    TEXT NOT NULL,
    redrives INTEGER NOT NULL,
    PRIMARY KEY (id, topic)
) WITHOUT ROWID;
CREATE TABLE missing (
    id   BLOB PRIMARY KEY,
    loss TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE tally (
    user_id BLOB NOT NULL,
    hour    INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    alerts  INTEGER NOT NULL,
    PRIMARY KEY (user_id, hour, outcome)
) WITHOUT ROWID;
BEGIN

-- name: accept
INSERT INTO accepted (id, user_id, marks) VALUES (?1, ?2, ?3)
ON CONFLICT (id) DO UPDATE SET marks = marks | excluded.marks WHERE marks | excluded.marks <> marks

-- name: mark
UPDATE accepted SET marks = marks | ?2 WHERE id = ?1 AND marks | ?2 <> marks

-- name: letter
INSERT INTO letters (id, topic, redrives) VALUES (?1, ?2, ?3)
ON CONFLICT (id, topic) DO UPDATE SET redrives = max(redrives, excluded.redrives)

-- name: redriven
INSERT INTO redriven (id, topic, redrives) VALUES (?1, ?2, ?3)
ON CONFLICT (id, topic) DO UPDATE SET redrives = max(redrives, excluded.redrives)

-- name: accepted
SELECT count(*) FROM accepted

-- name: traces
SELECT id, user_id, marks, EXISTS (
    SELECT 1
    FROM letters
    LEFT JOIN redriven ON redriven.id = letters.id AND redriven.topic = letters.topic
    WHERE letters.id = accepted.id AND coalesce(redriven.redrives, 0) <= letters.redrives
)
FROM accepted
WHERE id > ?1
ORDER BY id
LIMIT ?2

-- name: missing_traces
SELECT accepted.id, user_id, marks, EXISTS (
    SELECT 1
    FROM letters
    LEFT JOIN redriven ON redriven.id = letters.id AND redriven.topic = letters.topic
    WHERE letters.id = accepted.id AND coalesce(redriven.redrives, 0) <= letters.redrives
)
FROM missing
JOIN accepted ON accepted.id = missing.id
WHERE missing.id > ?1
ORDER BY missing.id
LIMIT ?2

-- name: count
INSERT INTO tally (user_id, hour, outcome, alerts) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (user_id, hour, outcome) DO UPDATE SET alerts = alerts + excluded.alerts

-- name: lose
INSERT INTO missing (id, loss) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET loss = excluded.loss

-- name: find
DELETE FROM missing WHERE id = ?1

-- name: tally
SELECT user_id, hour, outcome, alerts FROM tally WHERE alerts > 0 ORDER BY user_id, hour

-- name: totals
SELECT outcome, sum(alerts) FROM tally GROUP BY outcome

-- name: missing
SELECT missing.id, user_id, loss FROM missing JOIN accepted ON accepted.id = missing.id ORDER BY missing.id LIMIT ?1
