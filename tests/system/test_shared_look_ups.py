"""auth_query: who asks for a user that is about to be asked for shares the answer, and no older one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support.asking import Asking
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import startup

#: Each question is counted, reads, and then waits until nobody holds the lock.
OBJECTS = """
CREATE SEQUENCE questions;
CREATE FUNCTION looks_up(who text, OUT uname text, OUT secret text) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM nextval('questions');
    SELECT rolname, rolpassword FROM pg_authid WHERE rolname = who INTO uname, secret;
    PERFORM pg_advisory_xact_lock_shared(4711);
    IF who = 'fails' THEN RAISE EXCEPTION 'it does not work'; END IF;
END $$;
CREATE ROLE changing LOGIN PASSWORD 'old';
"""
BLOCKED = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture(scope="module")
def pooler(running_postgres: Postgres, start_pooler: StartPooler) -> Iterator[Pooler]:
    running_postgres.sql(OBJECTS, dbname="p3")
    yield start_pooler(
        kind=Asking,
        workers=1,
        auth_type="scram-sha-256",
        auth_user=SUPERUSER,
        databases={"p3": "user=bouncer pool_size=4 auth_query='SELECT * FROM looks_up($1)'"},
        client_login_timeout=20,
    )
    running_postgres.sql("DROP FUNCTION looks_up; DROP SEQUENCE questions", dbname="p3")
    running_postgres.sql("DROP ROLE changing")


@contextmanager
def held(pg: Postgres) -> Iterator[None]:
    """Meanwhile no question has an answer."""
    with pg.connect(dbname="p3") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(4711)")
        yield


def questions(pg: Postgres) -> int:
    ((count,),) = pg.sql("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM questions", dbname="p3")
    return int(count)


def wait_for_question(pg: Postgres, count: int = 1) -> None:
    wait_for(lambda: len(pg.sql(BLOCKED, dbname="p3")) >= count, what="a question that waits")


def wait_for_logins(pooler: Pooler, count: int) -> None:
    def logins() -> int:
        return sum(int(row["items"]) for row in pooler.show("lists") if row["list"] == "login_clients")

    wait_for(lambda: logins() == count, what=f"{count} logins")


def log_in(pooler: Pooler, password: str, user: str = "changing") -> str:
    """Whom the server knows; or why it is not let in."""
    try:
        ((name,),) = pooler.sql("SELECT current_user", user=user, password=password, dbname="p3")
        return str(name)
    except psycopg2.OperationalError as error:
        return str(error)


def results(futures: list[Future[str]]) -> set[str]:
    return {future.result() for future in futures}


def test_many_share_one_question(pooler: Pooler, running_postgres: Postgres) -> None:
    """The first is asked for, the nineteen who come meanwhile are asked for once."""
    pg, before = running_postgres, questions(running_postgres)
    with ThreadPoolExecutor(20) as threads:
        with held(pg):
            futures = [threads.submit(log_in, pooler, "old")]
            wait_for_question(pg)
            futures += [threads.submit(log_in, pooler, "old") for _ in range(19)]
            wait_for_logins(pooler, 20)
        assert results(futures) == {"bouncer"}
    # one per quarter of a second goes out while the first has no answer, until all are there
    assert 2 <= questions(pg) - before <= 10


def test_nobody_shares_an_older_answer(pooler: Pooler, running_postgres: Postgres) -> None:
    """The password is changed between the first question and the second client."""
    pg = running_postgres
    with ThreadPoolExecutor(2) as threads:
        with held(pg):
            first = threads.submit(log_in, pooler, "old")
            wait_for_question(pg)
            pg.sql("ALTER ROLE changing PASSWORD 'new'")
            second = threads.submit(log_in, pooler, "new")
            wait_for_logins(pooler, 2)
        assert (first.result(), second.result()) == ("bouncer", "bouncer")
    pg.sql("ALTER ROLE changing PASSWORD 'old'")


def test_the_one_who_asked_goes_away(pooler: Pooler, running_postgres: Postgres) -> None:
    """Those who share its question are let in all the same; when all have gone it ends."""
    pg = running_postgres
    with ThreadPoolExecutor(5) as threads:
        with held(pg), pooler.wire() as first, pooler.wire() as leaves:
            first.send(startup("changing", "p3"))
            wait_for_question(pg)
            leaves.send(startup("changing", "p3"))
            wait_for_logins(pooler, 2)
            futures = [threads.submit(log_in, pooler, "old") for _ in range(5)]
            wait_for_logins(pooler, 7)
            leaves.socket.close()
            wait_for_logins(pooler, 6)
        assert results(futures) == {"bouncer"}
    with held(pg):
        with pooler.wire() as alone:
            alone.send(startup("changing", "p3"))
            wait_for_question(pg)
        wait_for(lambda: not pg.sql(BLOCKED, dbname="p3"), what="the end of a question of nobody")


def test_all_hear_of_a_failure(pooler: Pooler, running_postgres: Postgres) -> None:
    pg = running_postgres
    with ThreadPoolExecutor(6) as threads:
        with held(pg):
            futures = [threads.submit(log_in, pooler, "old", "fails")]
            wait_for_question(pg)
            futures += [threads.submit(log_in, pooler, "old", "fails") for _ in range(5)]
            wait_for_logins(pooler, 6)
        assert all("bouncer config error" in one for one in results(futures))
    assert log_in(pooler, "old") == "bouncer"


def test_users_do_not_wait_for_each_other(pooler: Pooler, running_postgres: Postgres) -> None:
    pg = running_postgres
    with ThreadPoolExecutor(2) as threads, held(pg):
        futures = [threads.submit(log_in, pooler, "old", user) for user in ("changing", "fails")]
        wait_for_question(pg, 2)
        pg.sql("SELECT pg_advisory_unlock_all()")
    assert {future.done() for future in futures} == {True}


def test_a_stuck_question_holds_up_nobody(pooler: Pooler, running_postgres: Postgres) -> None:
    """The next of the same user does not wait for its answer."""
    pg = running_postgres
    with ThreadPoolExecutor(1) as threads:
        with held(pg), pooler.wire() as stuck:
            stuck.send(startup("changing", "p3"))
            wait_for_question(pg)
            other: Future[Any] = threads.submit(log_in, pooler, "old")
            wait_for_question(pg, 2)
        assert other.result() == "bouncer"
