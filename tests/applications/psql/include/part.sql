-- Included by load.sql.
SELECT 'part', (SELECT count(*) FROM loaded);
