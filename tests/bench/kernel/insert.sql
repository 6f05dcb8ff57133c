-- SPDX-License-Identifier: Apache-2.0
-- The SQLite row: inserts, each in its own transaction and then many in one, timed by the shell's own clock.
PRAGMA journal_mode = WAL;
CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT);
CREATE TEMP TABLE start AS SELECT julianday('now') AS at;
INSERT INTO t VALUES (1, hex(randomblob(50)));
INSERT INTO t VALUES (2, hex(randomblob(50)));
INSERT INTO t VALUES (3, hex(randomblob(50)));
INSERT INTO t VALUES (4, hex(randomblob(50)));
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 5 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, hex(randomblob(50)) FROM n;
COMMIT;
CREATE INDEX by_body ON t (body);
SELECT 'SQLite insert run' || char(9) || cast((julianday('now') - at) * 86400e9 AS INTEGER) FROM start;
