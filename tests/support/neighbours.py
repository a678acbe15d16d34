"""Other clients of the same pool: small transactions under other settings, so that servers change hands.

A client that is alone always gets its own server back, and everything seems to work. Beside neighbours each
of its transactions lands on a server that somebody else has used, under the most harmful settings there are.
The neighbours watch themselves too: what a program does must not reach them either.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

import psycopg2
from psycopg2.extensions import connection as Connection

from tests.support.postgres import Postgres
from tests.support.service import Service
from tests.support.wire import SYNC, EndOfStream, bind, execute, parse

ROLE = "neighbour"

#: What would break a program that got it: nothing found, nothing written, other texts, everything cut short.
SETTINGS = {
    "search_path": "neighbour",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "ISO, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "row_security": "off",
    "statement_timeout": "7s",
    "lock_timeout": "3s",
    "client_min_messages": "error",
    "standard_conforming_strings": "off",
    "check_function_bodies": "off",
    "application_name": "neighbour",
    "app.tenant": "neighbour",
    "work_mem": "64kB",
}

#: Names that drivers give to their prepared statements.
STATEMENTS = ("", "s0", "S_1", "_pg3_0", "_pg3_1", "__asyncpg_stmt_1__", "__asyncpg_stmt_2__", "lrupsc_1_0")

#: What pins a server, under names that the programs use too.
SESSION = (
    f"SET ROLE {ROLE}",
    "CREATE TEMPORARY TABLE staging AS SELECT 'neighbour' AS what FROM generate_series(1, 3)",
    "PREPARE add(int, int) AS SELECT 'neighbour'",
    "DECLARE report CURSOR WITH HOLD FOR SELECT what FROM staging",
    "SELECT pg_advisory_lock_shared(808)",
    "CREATE TEMPORARY SEQUENCE job_id_seq; SELECT nextval('job_id_seq')",
    "LISTEN jobs",
)

#: A transaction of a neighbour holds its server for this long. Some pause longer: to disturb, not to load.
HOLD_S = 0.003
PAUSE_S = 0.02

LOOK = (
    "SELECT coalesce(current_setting(name, true), '') FROM unnest(%s) AS name"
    f" UNION ALL SELECT current_user::text UNION ALL (SELECT '' FROM pg_sleep({HOLD_S}))"
)


class Neighbours:
    """They work while the block runs; `check` tells whether anything reached them."""

    def __init__(self, service: Service) -> None:
        self.turns = 0
        self.failures: list[str] = []
        self._service = service
        self._stop = threading.Event()
        kinds = [self._by_startup, self._by_set, self._by_statements, self._by_leaving]
        self._threads = [threading.Thread(target=self._run, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self) -> Neighbours:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        assert not stuck, f"neighbours without an answer: {stuck}"

    def check(self) -> None:
        """Nothing of what others did has reached them."""
        assert not self.failures, "\n".join(self.failures)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (psycopg2.Error, OSError, EndOfStream, AssertionError) as error:
            self.failures.append(f"{work.__name__}: {error!r}")

    def _goes_on(self, pause_s: float = HOLD_S) -> bool:
        self.turns += 1
        return not self._stop.wait(pause_s)

    # The kinds.

    def _by_startup(self) -> None:
        """All of it in the startup message."""
        options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in SETTINGS.items())
        with contextlib.closing(psycopg2.connect(self._service.dsn(options=options))) as connection:
            self._look_again_and_again(connection, "bouncer")

    def _by_set(self) -> None:
        """All of it by SET, and a role."""
        with contextlib.closing(psycopg2.connect(self._service.dsn())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"SET ROLE {ROLE}")
                for name, value in SETTINGS.items():
                    cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            self._look_again_and_again(connection, ROLE)

    def _look_again_and_again(self, connection: Connection, user: str) -> None:
        connection.autocommit = True
        expected = [*SETTINGS.values(), user, ""]
        with connection.cursor() as cursor:
            while self._goes_on():
                cursor.execute(LOOK, (list(SETTINGS),))
                found = [row[0] for row in cursor.fetchall()]
                wrong = [pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1]]
                assert not wrong, f"(found, expected): {wrong}"

    def _by_statements(self) -> None:
        """Statements under the names that drivers use, with other texts, given up now and then."""
        with self._service.wire() as wire:
            while self._goes_on(PAUSE_S):
                for name in STATEMENTS:
                    wire.send(parse(f"SELECT 'neighbour''s {name}'", name), SYNC)
                    wire.expect("1Z")
                for name in STATEMENTS[1:]:
                    wire.send(bind(name=name), execute(), SYNC)
                    (row,) = wire.expect("2DCZ")[1].values
                    assert row == f"neighbour's {name}".encode(), f"{row!r} from {name}"
                wire.query("DEALLOCATE ALL")

    def _by_leaving(self) -> None:
        """Sessions full of everything: thrown away, or left behind by a client that goes without a word."""
        while self._goes_on(PAUSE_S):
            with self._service.wire() as wire:
                for command in SESSION:
                    wire.rows(command)
                assert wire.rows("EXECUTE add(1, 1)") == [[b"neighbour"]]
                assert wire.rows("FETCH ALL FROM report") == [[b"neighbour"]] * 3
                wire.rows("DISCARD ALL")
                answer = wire.query("SELECT * FROM staging")
                assert answer[0].fields["C"] == "42P01", answer
                for command in SESSION[: self.turns % len(SESSION)]:
                    wire.rows(command)


def make_role(pg: Postgres) -> None:
    """The role that a neighbour takes, once in a cluster."""
    if not pg.sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)):
        pg.sql(f"CREATE ROLE {ROLE}")
        pg.sql(f"GRANT {ROLE} TO bouncer")
