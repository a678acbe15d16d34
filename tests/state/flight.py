"""Kinds of state of a session in the middle of something: transactions, portals, COPY, pipelines."""

from __future__ import annotations

from tests.state.kind import Kind
from tests.support.wire import FLUSH, SYNC, bind, execute, parse, query
from tests.support.wire import message as packet

OPENED = "SELECT count(*) FROM opened"
PORTAL = parse("SELECT generate_series(1, 9)") + bind(portal="p") + execute("p", 2) + SYNC
MORE = execute("p", 2) + SYNC

IN_TRANSACTION = [
    Kind("transaction", ("BEGIN", "INSERT INTO opened VALUES (1)"), OPENED, open=True),
    Kind("transaction by START", ("START TRANSACTION", "INSERT INTO opened VALUES (1)"), OPENED, open=True),
    Kind(
        "transaction in a text",
        ("SELECT 1; BEGIN; INSERT INTO opened VALUES (1)",),
        OPENED,
        open=True,
        simple=True,
    ),
    Kind("failed transaction", ("BEGIN", "SELECT 1/0"), OPENED, open=True, fails=True),
    Kind(
        "subtransaction",
        ("BEGIN", "SAVEPOINT s", "INSERT INTO opened VALUES (1)"),
        "ROLLBACK TO SAVEPOINT s",
        open=True,
    ),
    Kind("isolation", ("BEGIN ISOLATION LEVEL SERIALIZABLE",), "SHOW transaction_isolation", open=True),
    Kind("SET uncommitted", ("BEGIN", "SET work_mem = '6789kB'"), "SHOW work_mem", open=True),
    Kind("SET LOCAL uncommitted", ("BEGIN", "SET LOCAL ROLE leaks_role"), "SELECT current_user", open=True),
    Kind("chained", ("BEGIN", "COMMIT AND CHAIN", "INSERT INTO opened VALUES (1)"), OPENED, open=True),
    Kind("portal", ("BEGIN", PORTAL), MORE, open=True),
    Kind("cursor", ("BEGIN", "DECLARE c CURSOR FOR VALUES (1)"), "FETCH FROM c", open=True),
    Kind("large object", ("BEGIN", "SELECT lo_open(lo_create(0), 131072)"), "SELECT lo_tell(0)", open=True),
    Kind("temp table uncommitted", ("BEGIN", "CREATE TEMP TABLE u (n int)"), "SELECT * FROM u", open=True),
    Kind("PREPARE uncommitted", ("BEGIN", "PREPARE u AS SELECT 1"), "EXECUTE u", open=True),
]

COPY_OUT = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT"

IN_FLIGHT = [
    Kind("COPY in", (query("COPY opened FROM STDIN") + packet("d", b"1\n"),), OPENED, until="G"),
    Kind(
        "COPY in by Execute",
        (parse("COPY opened FROM STDIN") + bind() + execute() + SYNC,),
        OPENED,
        until="G",
    ),
    Kind("COPY out", (query(COPY_OUT),), OPENED, until="d"),
    Kind(
        "pipeline", (parse("INSERT INTO opened VALUES (1)") + bind() + execute() + FLUSH,), OPENED, until="C"
    ),
    Kind(
        "pipeline with SET",
        (parse("SET work_mem = '7890kB'") + bind() + execute() + FLUSH,),
        "SHOW work_mem",
        until="C",
    ),
    Kind("failed pipeline", (parse("SELECT nonsense") + bind() + execute() + FLUSH,), OPENED, until="E"),
    Kind(
        "statement without Sync",
        (parse("SELECT 'secret'", "s") + FLUSH,),
        bind(name="s") + execute() + SYNC,
        until="1",
    ),
]

FLIGHT = [*IN_TRANSACTION, *IN_FLIGHT]
