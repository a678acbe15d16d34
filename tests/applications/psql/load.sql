-- Files, variables, conditions; included scripts; rows fetched in parts.
\set ON_ERROR_STOP on
\set path file:me
\copy (SELECT n, 'line ' || n FROM generate_series(1, 400) AS n) TO 'lines.txt'
CREATE TEMPORARY TABLE loaded (n int, line text);
\copy loaded FROM 'lines.txt'
SELECT count(*) AS lines, max(n) AS last FROM loaded \gset
\echo :lines :last
\if :{?lines}
INSERT INTO job (what, taken_by) SELECT line, :'me' FROM loaded;
\else
\echo never
\endif
\set FETCH_COUNT 30
SELECT count(*) FROM (SELECT 1 FROM loaded) AS one;
SELECT n FROM loaded WHERE n % 100 = 0 ORDER BY n;
\set FETCH_COUNT 0
SELECT format('SELECT %s * 2', n) FROM generate_series(1, 3) AS n \gexec
\ir include/part.sql
SELECT 'one' \; SELECT 'two';
COPY job (what, taken_by) FROM STDIN;
inline	stdin
\.
DROP TABLE loaded;
SELECT count(*) FROM job WHERE taken_by = :'me';
LISTEN scripts;
\set ON_ERROR_STOP off
SELECT 1 / 0;
\echo :LAST_ERROR_SQLSTATE :SQLSTATE
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT nothing;
SELECT 'goes on';
COMMIT;
UNLISTEN scripts;
\connect
SELECT 'again';
