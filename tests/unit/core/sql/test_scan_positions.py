"""What the lack of a name in the catalogs means depends on where it stands: functions, relations, types and
operators that are unknown may be anything, columns, aliases and the like are nothing.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.core import _core as core

EVERYTHING = {"settings", "locks", "temp", "prepared", "cursors", "channels", "unsure"}

#: What the catalogs have: PostgreSQL's own, two relations, a type, and what leaves a lock.
BUILTIN = (
    *(
        "count",
        "sum",
        "length",
        "now",
        "coalesce",
        "concat",
        "lower",
        "rank",
        "generate_series",
        "date_trunc",
    ),
    *("=", "<", ">", "<=", ">=", "<>", "+", "-", "*", "/", "||", "->", "->>", "@>", "~~", "bernoulli"),
)
KNOWN: dict[bytes, tuple[str, ...]] = {
    **{name.encode(): () for name in (*BUILTIN, "accounts", "branches", "mood", "date", "f", "größe")},
    **{name.encode(): ("locks",) for name in ("locker", 'say "x"', "n" * 63, "<@@>", "schlüssel")},
}


def traits(text: str) -> set[str]:
    found: set[str] = core.scan(text.encode(), False, KNOWN)[0]
    return found


#: All names in a position that counts are known.
CLEAN = [
    "SELECT a.x, lower(a.name) AS n FROM accounts AS a WHERE a.id = $1 AND a.n IN (1, 2, 3)",
    "SELECT count(*) FILTER (WHERE x > 1), sum(x) OVER (PARTITION BY y ORDER BY z) FROM accounts",
    "SELECT rank() OVER w FROM accounts WINDOW w AS (PARTITION BY b)",
    "SELECT x FROM accounts a, branches b JOIN accounts USING (id, bid) ORDER BY (x) LIMIT 1 OFFSET 2",
    "SELECT x FROM (accounts a JOIN branches b ON (a.id = b.id)) FOR UPDATE SKIP LOCKED",
    "SELECT x FROM accounts FOR NO KEY UPDATE OF accounts NOWAIT",
    "SELECT 1 FROM accounts WHERE x IS DISTINCT FROM y AND z BETWEEN 1 AND 2",
    "SELECT extract(year FROM made), substring(x FROM 2 FOR 3), trim(both FROM y) FROM accounts",
    "SELECT extract(epoch FROM (SELECT now() FROM accounts)) FROM branches, accounts",
    "SELECT x::int, CAST(x AS numeric(10, 2)), x::mood, mood 'sad', CAST(y AS mood), int '1'",
    "SELECT DATE '2020-01-01', INTERVAL '1 day', TIMESTAMP WITH TIME ZONE '2020-01-01', x AT TIME ZONE 'UTC'",
    "SELECT * FROM (VALUES (1, 'a')) AS v (n, t), generate_series(1, 2) g (n)",
    "SELECT CASE WHEN (x > 1) THEN (2) ELSE (3) END, coalesce(a, b), ARRAY[1, 2], ROW(1, 2), NULLIF(a, b)",
    "WITH q AS (SELECT 1), r (a, b) AS (SELECT * FROM q) SELECT * FROM q, r JOIN q AS s USING (a)",
    "WITH RECURSIVE t (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT sum(n) FROM t",
    "INSERT INTO accounts (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    "INSERT INTO accounts AS a (id) SELECT id FROM branches RETURNING a.id",
    "UPDATE accounts SET (a, b) = (1, 2) FROM branches b WHERE b.id = accounts.id RETURNING *",
    "UPDATE ONLY accounts AS a SET x = x + 1",
    "DELETE FROM accounts USING branches AS b WHERE b.id = accounts.bid",
    "MERGE INTO accounts a USING branches b ON a.id = b.id WHEN MATCHED THEN UPDATE SET x = b.x "
    "WHEN NOT MATCHED THEN INSERT (id) VALUES (b.id)",
    "COPY accounts (id, name) FROM STDIN WITH (FORMAT csv, HEADER)",
    "COPY (SELECT * FROM accounts) TO STDOUT",
    "TRUNCATE TABLE accounts, branches",
    "LOCK TABLE accounts IN SHARE MODE",
    "TABLE accounts",
    "FETCH FORWARD 10 FROM some_cursor",
    "DECLARE c NO SCROLL CURSOR FOR SELECT x FROM accounts",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SAVEPOINT s; RELEASE SAVEPOINT s; COMMIT AND CHAIN",
    "SELECT x FROM accounts TABLESAMPLE bernoulli (10) REPEATABLE (1)",
    "SELECT count(*) FROM accounts GROUP BY GROUPING SETS ((a), ()), ROLLUP (b), CUBE (c) HAVING (1 > 2)",
    "SELECT data->'a'->>'b', data @> '{}' FROM accounts",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT x FROM accounts",
    "SELECT größe, a.größe FROM accounts a",
    'SELECT "Quoted Column", a."Other" FROM "accounts" a',
    "SELECT DISTINCT ON (x) x, lower(y) FROM accounts",
    "SELECT x FROM accounts WHERE name LIKE 'a%' ESCAPE '!' AND y SIMILAR TO 'b'",
    "VALUES (1), (2)",
    "(SELECT 1) UNION (SELECT 2) ORDER BY 1",
]

#: Something in a position that counts is not known.
UNKNOWN = [
    "SELECT g(1)",
    "SELECT s.g (1)",
    'SELECT "g"()',
    "SELECT count(*), g(1) FROM accounts",
    "SELECT DISTINCT ON (x) g(x) FROM accounts",
    "SELECT 1 OPERATOR(pg_catalog.+) g(1)",
    "SELECT CASE WHEN g(1) THEN 1 END",
    "SELECT x AT TIME ZONE g()",
    "SELECT 1 FROM accounts WHERE x LIKE g(1)",
    "SELECT 1 FROM accounts, LATERAL g(1)",
    "SELECT * FROM ROWS FROM (g())",
    "CALL p()",
    "SELECT * FROM others",
    "SELECT * FROM accounts a, others b",
    "SELECT * FROM accounts JOIN others ON true",
    "SELECT * FROM accounts WHERE id IN (SELECT id FROM others)",
    "SELECT * FROM public.others",
    "INSERT INTO others (a) VALUES (1)",
    "UPDATE others SET a = 1",
    "DELETE FROM accounts USING others WHERE true",
    "TABLE others",
    "TRUNCATE accounts, others",
    "COPY others (a) FROM STDIN",
    "COPY (TABLE others) TO STDOUT",
    "MERGE INTO accounts USING others ON true WHEN MATCHED THEN DELETE",
    "SELECT 1::other",
    "SELECT 1::public.other",
    "SELECT CAST(1 AS other)",
    "SELECT other '1'",
    "SELECT other $$1$$",
    "SELECT other E'1'",
    "SELECT 1 ### 2",
    "SELECT 1 OPERATOR(public.###) 2",
    "SELECT 1 INTO accounts_copy",
    "WITH q AS (SELECT * FROM q) SELECT * FROM q",
    "WITH q AS (SELECT 1) SELECT * FROM public.q",
    "SELECT * FROM (WITH q AS (SELECT 1) TABLE q) s, q",
    "WITH q AS (SELECT 1) SELECT * FROM q; SELECT * FROM q",
    "SELECT count(*) FROM accounts TABLESAMPLE sampled (1)",
    "CREATE TABLE accounts (n int)",
    "REINDEX TABLE accounts",
    "VACUUM",
    "ANALYZE accounts",
    "EXPLAIN ANALYZE SELECT g(1)",
    "FROBNICATE accounts",
    "SELECT 1; FROBNICATE accounts",
    "SECURITY LABEL ON TABLE accounts IS 'x'",
    "SELECT " + "(" * 80 + "1" + ")" * 80,
]

#: What leaves a lock is called.
CALLED = [
    "SELECT locker()",
    "SELECT LOCKER ()",
    'SELECT "locker"()',
    "SELECT public . locker ( )",
    "SELECT a.locker FROM accounts a",
    "SELECT (a).locker FROM accounts a",
    "SELECT a.b.locker FROM accounts a",
    "TABLE locker",
    "SELECT * FROM accounts, locker",
    "SELECT 1::locker",
    "SELECT locker '1'",
    "SELECT CAST(1 AS locker)",
    "SELECT * FROM f() AS x (a locker)",
    'SELECT "say ""x"""()',
    f"SELECT {'n' * 63}()",
    f"SELECT {'n' * 100}()",
    f'SELECT "{"n" * 64}"()',
    "SELECT schlüssel()",
    "SELECT 1 <@@> 2",
    "SELECT 1 OPERATOR(public.<@@>) 2",
    "SELECT 1<@@>-2",
    "SELECT 1 /* */ <@@>/* */ 2",
    "SELECT x'1', locker()",
    "SELECT $1::int, locker()",
    "WITH locker AS (SELECT 1) SELECT * FROM locker",
]


@pytest.mark.parametrize("text", CLEAN)
def test_known_names(text: str) -> None:
    assert traits(text) - {"insert"} == set()


@pytest.mark.parametrize("text", UNKNOWN)
def test_unknown_names(text: str) -> None:
    assert traits(text) >= EVERYTHING


@pytest.mark.parametrize("text", CALLED)
def test_called_names(text: str) -> None:
    assert "locks" in traits(text)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*CLEAN, *UNKNOWN, *CALLED]), min_size=1, max_size=4))
def test_no_statement_hides_another(texts: list[str]) -> None:
    found = traits("; ".join(texts))
    for text in texts:
        assert traits(text) <= found
