-- SPDX-License-Identifier: Apache-2.0
-- A day in the life of a database: bulk insert, indexes, joins, constraints, rollback, WAL, vacuum.
PRAGMA journal_mode = DELETE;
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, city INTEGER, born INTEGER);
CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO cities SELECT i, 'city-' || i FROM n;
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
    INSERT INTO people SELECT i, 'name-' || i, 1 + i * 7919 % 100, 1900 + i * 31 % 100 FROM n;
COMMIT;
CREATE INDEX by_city ON people (city, born);
SELECT c.name, count(*), avg(p.born) FROM people p JOIN cities c ON c.id = p.city GROUP BY c.id ORDER BY 2 DESC, 1 LIMIT 5;
BEGIN;
DELETE FROM people WHERE born < 1950;
SELECT count(*) FROM people;
ROLLBACK;
SELECT count(*) FROM people;
UPDATE people SET name = name || '!' WHERE city = 7;
SELECT name FROM people WHERE city = 7 ORDER BY id LIMIT 3;
INSERT INTO people VALUES (1, 'again', 1, 1);
PRAGMA integrity_check;
PRAGMA journal_mode = WAL;
DELETE FROM people WHERE id % 3 = 0;
PRAGMA wal_checkpoint(TRUNCATE);
SELECT count(*), sum(id) FROM people;
SELECT upper(hex(sum(length(name)))), total(born) FROM people;
CREATE VIRTUAL TABLE texts USING fts5(body);
INSERT INTO texts SELECT 'the ' || name || ' lives in ' || city FROM people LIMIT 500;
SELECT count(*) FROM texts WHERE texts MATCH 'lives';
PRAGMA journal_mode = DELETE;
VACUUM;
PRAGMA integrity_check;
SELECT json_group_array(name) FROM cities WHERE id < 5;
.tables
.schema people
