"""Requests of pooler's own that fail are not taken for done, and never let a statement run as somebody
else's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.exchange import direct, function_call, pooled, wait_until_read
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.spoiler import FAILING, Spoiler
from tests.support.wire import FLUSH, SYNC, EndOfStream, Message, Wire, bind, execute, message, parse, query
from tests.system.conftest import MakeShared


@pytest.fixture(scope="module")
def spoiler(running_postgres: Postgres) -> Iterator[Spoiler]:
    running_postgres.ensure_running()
    with Spoiler(running_postgres) as spoiler:
        yield spoiler


@pytest.fixture(scope="module")
def pooler(make_shared: MakeShared, spoiler: Spoiler) -> Pooler:
    place = f"dbname=p0 host=127.0.0.1 port={spoiler.port} pool_size=1"
    return make_shared(
        workers=1,
        databases={
            "auto": place,
            "strict": f"{place} session_state=strict",
            "session": f"{place} pool_mode=session",
        },
    )


@pytest.fixture(autouse=True)
def healthy(spoiler: Spoiler) -> Iterator[None]:
    spoiler.heals()
    yield
    spoiler.heals()


def errors(got: list[Message]) -> list[str]:
    return [one.fields["C"] for one in got if one.type == "E"]


def reports(got: list[Message]) -> list[bytes]:
    return [one.body for one in got if one.type == "S"]


def value(wire: Wire, name: str) -> str:
    ((shown,),) = wire.rows(f"SHOW {name}")
    assert shown is not None
    return shown.decode()


def until_end(wire: Wire) -> list[Message]:
    """What comes until ReadyForQuery, or the end."""
    got: list[Message] = []
    try:
        while not got or got[-1].type != "Z":
            got.append(wire.receive())
    except EndOfStream:
        pass
    return got


# Startup values behind RESET.

OWN = "-c temp_buffers=200 -c app.own=mine -c search_path=here"
USE = "SET temp_buffers = 300; CREATE TEMP TABLE mine AS SELECT 1 AS n"


@pytest.mark.parametrize("reset", ["RESET ALL", "RESET temp_buffers; RESET search_path; RESET TimeZone"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("database", ["auto", "strict", "session"])
def test_one_value_that_is_refused(pooler: Pooler, database: str, inside: bool, reset: str) -> None:
    """A larger temp_buffers is in use: the client's own is refused, all others are put back."""
    with pooler.wire() as wire:
        wire.login(database=database, options=OWN, TimeZone="Asia/Tokyo")
        assert value(wire, "search_path") == "here"
        wire.rows(USE)
        wire.rows("SET search_path = there; SET TimeZone = 'Asia/Seoul'; SET app.own = 'other'")
        if inside:
            wire.rows("BEGIN")
        got = wire.query(reset)
        assert errors(got) == []
        assert got[-1].body == (b"T" if inside else b"I")
        assert value(wire, "search_path") == "here"
        assert value(wire, "TimeZone") == "Asia/Tokyo"
        assert value(wire, "app.own") == ("mine" if reset == "RESET ALL" else "other")
        if inside:
            assert errors(wire.query("COMMIT")) == []
        assert value(wire, "search_path") == "here"
        assert value(wire, "TimeZone") == "Asia/Tokyo"
        wire.close()


@pytest.mark.parametrize("database", ["auto", "strict", "session"])
def test_values_that_are_refused_once(pooler: Pooler, spoiler: Spoiler, database: str) -> None:
    """Outside of a transaction pooler asks again."""
    with pooler.wire() as wire:
        wire.login(database=database, options="-c search_path=here", TimeZone="Asia/Tokyo")
        wire.rows("SET search_path = there; SET TimeZone = 'Asia/Seoul'")
        spoiler.fails(b"here", b"Tokyo", times=1)
        assert errors(wire.query("RESET ALL")) == []
        assert len(spoiler.spoilt) == 1
        assert value(wire, "search_path") == "here"
        assert value(wire, "TimeZone") == "Asia/Tokyo"
        wire.close()


@pytest.mark.parametrize("database", ["auto", "strict", "session"])
def test_values_that_are_refused_in_a_transaction(pooler: Pooler, spoiler: Spoiler, database: str) -> None:
    """It has failed, and its client is told so."""
    with pooler.wire() as wire:
        wire.login(database=database, options="-c search_path=here", TimeZone="Asia/Tokyo")
        wire.rows("SET search_path = there; SET TimeZone = 'Asia/Seoul'")
        wire.rows("BEGIN")
        spoiler.fails(b"pooler_restore")
        got = wire.query("RESET search_path")
        assert spoiler.spoilt
        assert got[-1].body == b"E"
        assert errors(got) == ["40000"]
        spoiler.heals()
        assert errors(wire.query("ROLLBACK")) == []
        assert value(wire, "search_path") == "there"
        assert value(wire, "TimeZone") == "Asia/Seoul"
        wire.close()


@pytest.mark.parametrize("limit", ["idle_transaction_timeout", "client_idle_timeout"])
def test_a_client_that_waits_for_us_is_not_idle(
    make_shared: MakeShared, spoiler: Spoiler, limit: str
) -> None:
    """Its startup values take long to be put back behind a RESET; idle it is from its answer on."""
    place = f"dbname=p0 host=127.0.0.1 port={spoiler.port} pool_size=1"
    pooler = make_shared(workers=1, databases={"one": place}, **{limit: 1})
    with pooler.wire() as wire:
        wire.login(database="one", options="-c app.own=mine")
        wire.rows("BEGIN" if limit == "idle_transaction_timeout" else "SELECT pg_advisory_lock(4712)")
        spoiler.spoil = lambda text: text + b", pg_catalog.pg_sleep(2)" if b"mine" in text else None
        assert errors(wire.query("RESET ALL")) == []
        spoiler.heals()
        assert value(wire, "app.own") == "mine"
        assert errors(until_end(wire)) == ["08P01"]


# Settings in front of a statement.

ZONE = "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = German"
NOTED = "INSERT INTO noted SELECT current_setting('TimeZone')"


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("database", ["auto", "strict"])
def test_nothing_runs_under_settings_of_others(
    pooler: Pooler, spoiler: Spoiler, database: str, protocol: str
) -> None:
    """Only values that the server reports differ."""
    with pooled(pooler, database) as wire, pooled(pooler, database) as other:
        wire.rows("DROP TABLE IF EXISTS noted; CREATE TABLE noted (zone text)")
        wire.rows("SET TimeZone = 'Asia/Tokyo'")
        other.rows("SET TimeZone = 'Europe/Berlin'")
        other.rows("SELECT 1")
        wire.rows("SELECT 1")
        other.rows("SELECT 1")
        spoiler.fails(b"Asia/Tokyo")
        both = {"simple": query(NOTED), "extended": parse(NOTED) + bind() + execute() + SYNC}
        wire.send(both[protocol])
        got = until_end(wire)
        assert spoiler.spoilt
        spoiler.heals()
        assert other.rows("SELECT zone FROM noted") in ([], [[b"Asia/Tokyo"]])
        assert errors(got) or got[-1].type == "Z"
        other.close()


#: What would notice a transaction around it, or one that has begun before.
ALONE = {
    "vacuum": [query("VACUUM noted")],
    "vacuum_extended": [parse("VACUUM noted") + bind() + execute() + SYNC],
    "begin": [
        query("BEGIN ISOLATION LEVEL SERIALIZABLE"),
        query("SHOW transaction_isolation"),
        query("ROLLBACK"),
    ],
    "begin_extended": [
        parse("BEGIN ISOLATION LEVEL SERIALIZABLE") + bind() + execute() + SYNC,
        parse("SHOW transaction_isolation") + bind() + execute() + SYNC,
        parse("ROLLBACK") + bind() + execute() + SYNC,
    ],
    "call": [query("CALL commits()")],
    "call_extended": [parse("CALL commits()") + bind() + execute() + SYNC],
    "pipeline": [parse("SELECT 1") + bind() + execute() + SYNC + query("VACUUM noted"), b""],
    "failing": [parse("SELECT 1/0") + bind() + execute() + SYNC],
    "failing_query": [query("SELECT 1/0")],
    "function": [function_call(885, b" x ")],
    "flushed": [parse("SELECT 1") + FLUSH + bind() + execute() + SYNC],
}


@pytest.mark.parametrize("script", ALONE)
@pytest.mark.parametrize("database", ["auto", "strict"])
def test_settings_in_front_are_not_noticed(pooler: Pooler, pg: Postgres, database: str, script: str) -> None:
    """Each step behind another client with other settings gets what PostgreSQL says itself."""
    made = "CREATE OR REPLACE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'"
    with direct(pg) as plain:
        plain.rows(f"DROP TABLE IF EXISTS noted; CREATE TABLE noted (zone text); {made}")
        plain.rows("SET TimeZone = 'Asia/Tokyo'")
        expected = []
        for step in ALONE[script]:
            plain.send(step)
            expected += plain.receive_until()
    with pooled(pooler, database) as wire, pooled(pooler, database) as other:
        wire.rows("SET TimeZone = 'Asia/Tokyo'")
        other.rows("SET TimeZone = 'Europe/Berlin'")
        wire.rows("SELECT 1")
        other.rows("SELECT 1")
        got = []
        for step in ALONE[script]:
            wire.send(step)
            got += wire.receive_until()
        assert got == expected
        assert value(wire, "TimeZone") == "Asia/Tokyo"
        assert value(other, "TimeZone") == "Europe/Berlin"
        other.close()
        wire.close()


# Channels.


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("database", ["auto", "strict"])
def test_channels_that_are_not_listened_on_again(
    pooler: Pooler, spoiler: Spoiler, database: str, inside: bool
) -> None:
    """Before an UNLISTEN of one the server is to listen on all of them: where it does not none is lost."""
    pooler.learn_catalogs(database)
    with pooled(pooler, database) as wire, pooled(pooler, database) as other:
        for channel in ("first", "second"):
            wire.rows(f"LISTEN {channel}")
        if inside:
            wire.rows("BEGIN")
        spoiler.fails(b'LISTEN "', times=1)
        got = wire.query("UNLISTEN first")
        assert spoiler.spoilt
        spoiler.heals()
        assert errors(got) == (["25P02"] if inside else [])
        if inside:
            wire.rows("ROLLBACK")
        other.rows("NOTIFY first; NOTIFY second")
        heard = [one.body[4:].split(b"\0")[0] for one in wire.query("SELECT 1") if one.type == "A"]
        for _ in range(2 if inside else 1):
            if len(heard) < (2 if inside else 1):
                heard.append(wire.expect("A")[0].body[4:].split(b"\0")[0])
        assert heard == ([b"first", b"second"] if inside else [b"second"])
        wire.expect_silence(0.1)
        other.close()
        wire.close()


@pytest.mark.parametrize("database", ["auto", "strict"])
def test_a_server_that_goes_on_listening(pooler: Pooler, spoiler: Spoiler, database: str) -> None:
    """Each notification comes once, and the answer to LISTEN does not wait."""
    with pooled(pooler, database) as wire:
        spoiler.fails(b"UNLISTEN *", times=1)
        wire.socket.settimeout(5)
        wire.rows("LISTEN third")
        assert spoiler.spoilt
        with direct(spoiler.pg) as other:
            other.rows("NOTIFY third")
        wire.expect("A")
        wire.expect_silence(0.2)
        wire.close()


# Sequences.


@pytest.mark.parametrize("named", ["", "mine"])
@pytest.mark.parametrize("known", [False, True])
def test_portals_outlive_what_is_discarded(pooler: Pooler, named: str, known: bool) -> None:
    """A portal of an earlier pipeline of the transaction."""
    if known:
        pooler.learn_catalogs("auto")
    with pooled(pooler, "auto") as wire, pooled(pooler, "auto") as other:
        wire.rows("DROP SEQUENCE IF EXISTS drawn; CREATE SEQUENCE drawn")
        other.rows("SELECT nextval('drawn')")
        wire.rows("BEGIN")
        wire.send(parse("SELECT generate_series(1, 9)"), bind(portal=named), execute(named, 2), SYNC)
        assert [one.values for one in wire.receive_until() if one.type == "D"] == [[b"1"], [b"2"]]
        wire.send(parse("SELECT nextval('drawn'), lastval()", "s"), SYNC)
        assert errors(wire.receive_until()) == []
        wire.send(execute(named, 2), SYNC)
        got = wire.receive_until()
        assert errors(got) == []
        assert [one.values for one in got if one.type == "D"] == [[b"3"], [b"4"]]
        wire.rows("COMMIT")
        other.close()
        wire.close()


@pytest.mark.parametrize("named", ["", "mine"])
def test_portals_of_a_transaction_that_has_just_begun(pooler: Pooler, pg: Postgres, named: str) -> None:
    """Nothing of it is answered when the statement comes that needs sequences without what others left."""
    with pooled(pooler, "auto") as wire:
        wire.rows("DROP TABLE IF EXISTS numbered; CREATE TABLE numbered (id serial, n int)")
    pooler.learn_anew("auto")
    at_once = (
        query("BEGIN"),
        parse("SELECT generate_series(1, 9)") + bind(portal=named) + execute(named, 2) + SYNC,
        parse("INSERT INTO numbered (n) VALUES (1)", "s") + bind(name="s", portal="i") + execute("i") + SYNC,
        execute(named, 2) + SYNC,
        query("COMMIT"),
    )

    def answers(wire: Wire) -> list[Message]:
        wire.send(*at_once)
        return [one for _ in at_once for one in wire.receive_until()]

    with direct(pg) as plain:
        expected = answers(plain)
    with pooled(pooler, "auto") as wire, pooled(pooler, "auto") as other:
        other.rows("SELECT nextval('numbered_id_seq')")
        wire.rows("SELECT 1")
        assert answers(wire) == expected
        other.close()
        wire.close()


#: Nobody can see that it reads what nextval has left, and it may have to run alone.
HIDDEN = (
    "DO $$DECLARE v bigint; BEGIN EXECUTE 'SELECT last' || 'val()' INTO v; "
    "RAISE division_by_zero USING MESSAGE = v::text; END$$"
)
RUN = bind() + execute()
ASKING = {
    "simple": query("SELECT lastval()"),
    "extended": parse("SELECT lastval()") + RUN + SYNC,
    "function": function_call(2559),
    "behind": query("SELECT pg_sleep(0.1)") + query("SELECT lastval()"),
    "hidden": parse(HIDDEN) + RUN + SYNC,
    "hidden_by_name": parse(HIDDEN, "hidden") + bind(name="hidden") + execute() + SYNC,
    "hidden_behind": query("SELECT 17") + parse(HIDDEN, "hidden") + bind(name="hidden") + execute() + SYNC,
    "hidden_in_a_pipeline": parse("SELECT 17") + RUN + parse(HIDDEN) + RUN + SYNC,
    "query_behind_a_pipeline": parse("SELECT 17") + RUN + query("SELECT lastval()"),
    "executed": parse("SELECT lastval()", "asks") + SYNC + query("EXECUTE asks"),
    "executed_by_parse": parse("SELECT lastval()", "asks") + SYNC + parse("EXECUTE asks") + RUN + SYNC,
}
TWICE = ("behind", "hidden_behind", "executed", "executed_by_parse")


@pytest.mark.parametrize("script", ASKING)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_what_is_not_discarded_is_not_told(
    pooler: Pooler, spoiler: Spoiler, script: str, inside: bool, known: bool
) -> None:
    if known:
        pooler.learn_catalogs("auto")
    with pooled(pooler, "auto") as wire, pooled(pooler, "auto") as other:
        wire.rows("CREATE SEQUENCE IF NOT EXISTS drawn")
        wire.rows("SELECT 1")
        other.rows("SELECT nextval('drawn')")
        other.rows("SELECT 1")
        if inside:
            wire.rows("BEGIN")
        spoiler.fails(b"DISCARD SEQUENCES", times=1)
        wire.send(ASKING[script])
        got = wire.receive_until()
        if script in TWICE:
            got += wire.receive_until()
        spoiler.heals()
        assert [one.values for one in got if one.type == "D"] in ([], [[b""]], [[b"17"]])
        assert not [one for one in got if one.type == "V"]
        assert errors(got)
        assert set(errors(got)) <= {"55000", "42703", "25P02"}
        if inside:
            wire.rows("ROLLBACK")
        other.close()
        wire.close()


def test_nothing_of_ours_comes_into_half_a_message(pooler: Pooler) -> None:
    """CopyData that nobody reads comes in two writes, and behind its end what asks for sequences."""
    with pooled(pooler, "auto") as wire:
        wire.rows("CREATE SEQUENCE IF NOT EXISTS drawn")
    pooler.learn_anew("auto")
    stray = message("d", b"x" * 100)
    with pooled(pooler, "auto", unix=True) as wire, pooled(pooler, "auto") as other:
        other.rows("SELECT nextval('drawn')")
        wire.rows("BEGIN")
        wire.send(stray[:50])
        wait_until_read(wire)
        wire.send(stray[50:], query("SELECT lastval()"))
        assert errors(wire.receive_until()) == ["55000"]
        wire.rows("ROLLBACK")
        other.close()
        wire.close()


# Errors.


def test_an_error_of_ours_takes_the_place_of_no_other(pooler: Pooler, spoiler: Spoiler) -> None:
    """A statement cannot be prepared for an EXECUTE, which succeeds; what fails is the Query behind it."""
    with pooled(pooler, "auto") as wire, pooled(pooler, "auto") as other:
        wire.send(parse("SELECT 4711", "a") + SYNC)
        assert errors(wire.receive_until()) == []
        other.rows("DISCARD ALL")  # of the only server
        wire.rows("SELECT pg_advisory_lock(4711)")  # and it stays

        def spoil(text: bytes) -> bytes | None:
            if text == b"SELECT 4711":
                return FAILING
            return b"SELECT 17" if text.startswith(b"EXECUTE") else None

        spoiler.spoil = spoil
        wire.send(query("EXECUTE a"), query("SELECT 1/0"))
        assert [one.values for one in wire.receive_until() if one.type == "D"] == [[b"17"]]
        assert errors(wire.receive_until()) == ["22012"]
        other.close()
        wire.close()
