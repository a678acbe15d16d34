"""The configuration file: its grammar, what a reload changes, what keeps the program from starting."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg2
import pytest

from tests.pgbouncer.subjects import POOLERS, made_of_each, on_all, on_each, release_of
from tests.support.crowd import refusal
from tests.support.pooler import Bouncer
from tests.support.processes import wait_for

BOUNCER = {"databases": {"p0": "pool_size=3", "p1": ""}}


@dataclass(frozen=True)
class Ini:
    """Lines behind a sound configuration, and what SHOW CONFIG says then; None: the reload fails."""

    name: str
    lines: str
    settings: Mapping[str, str | None] | None = field(default_factory=dict)
    databases: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    since: str = "1.18"


def setting(name: str, line: str, value: str | None, since: str = "1.18") -> Ini:
    return Ini(name, line, {line.split("=")[0].strip(): value}, since=since)


def bad(name: str, lines: str) -> Ini:
    return Ini(name, lines, None)


def database(name: str, entry: str, since: str = "1.18", **row: object) -> Ini:
    return Ini(name, f"[databases]\nx = {entry}", databases={"x": row}, since=since)


GRAMMAR = [
    setting("plain", "server_idle_timeout = 61", "61"),
    setting("no spaces", "server_idle_timeout=62", "62"),
    setting("indented", "   server_idle_timeout =    63   ", "63"),
    setting("comment behind a value is none", "server_check_query = SELECT 1 ; x", "SELECT 1 ; x"),
    setting("hash behind a value", "server_check_query = SELECT 1 # x", "SELECT 1 # x"),
    Ini("comment lines", "; a = 1\n# b = 2\n   ; c\n\t# d\nserver_lifetime = 65", {"server_lifetime": "65"}),
    Ini("last wins", "server_idle_timeout=1\nserver_idle_timeout=66", {"server_idle_timeout": "66"}),
    Ini("empty value", "ignore_startup_parameters =\nserver_check_query=", {"ignore_startup_parameters": ""}),
    Ini("sections again", "[databases]\ny = dbname=p0\n[users]\n[databases]\nz = dbname=p1\n",
        databases={"y": {"database": "p0"}, "z": {"database": "p1"}}),
    Ini("indented headers", "   [databases]\n   y = dbname=p0\n", databases={"y": {"database": "p0"}}),
    Ini("last entry wins", "[databases]\ny = dbname=p0\ny = dbname=p1", databases={"y": {"database": "p1"}}),
    Ini("quoted names", "[databases]\n'my db' = dbname=p0", databases={"my db": {"database": "p0"}},
        since="1.25"),
    Ini("odd bare names", "[databases]\na.b-c_d = dbname=p0\n", databases={"a.b-c_d": {"database": "p0"}}),
    bad("double quotes", '[databases]\n"my db" = dbname=p0\n'),
    bad("bare name with a space", "[databases]\nmy db = dbname=p0\n"),
    bad("unknown setting", "nonsense = 1"),
    bad("unknown section", "[nonsense]"),
    bad("no equals sign", "server_idle_timeout"),
    bad("no bracket", "[databases"),
    bad("include of nothing", "%include /nonexistent/file"),
    bad("reserved name", "[databases]\npgbouncer = dbname=p0\n"),
]  # fmt: skip

NUMBERS = [
    setting("hexadecimal", "stats_period = 0x20", "32"),
    setting("octal", "stats_period = 010", "8"),
    setting("fraction", "server_idle_timeout = 0.5", "0.5"),
    setting("exponent", "server_idle_timeout = 1e2", "100"),
    setting("switch", "log_stats = 0", "0"),
    setting("word in another case", "pool_mode = SESSION", "session"),
    setting("spaces in a list", "ignore_startup_parameters = a, b, c", "a, b, c"),
    *(
        bad(f"{name} = {value}", f"{name} = {value}")
        for name, value in (
            *[("stats_period", "8x"), ("stats_period", "x"), ("stats_period", "1.5"), ("log_stats", "yes")],
            *[("server_idle_timeout", "x"), ("server_idle_timeout", "1s"), ("pool_mode", "x")],
            *[("auth_type", "x"), ("stats_period", "08"), ("pool_mode", "transaction ; x")],
        )
    ),
]

ENTRIES = [
    database("spaces round equals", "dbname = p0  pool_size =  7", database="p0", pool_size=7),
    database("quoted value", "dbname='p0' pool_size='8'", database="p0", pool_size=8),
    database("quote in a value", "dbname='it''s'", database="it's"),
    database("name is the default", "pool_size=9", database="x"),
    database("host and port", "host=h.example port=77", host="h.example", port=77),
    database("no host", "port=78", host=None, port=78),
    database("user", "user=bouncer", force_user="bouncer"),
    database("mode", "pool_mode=statement", pool_mode="statement"),
    database("garbage is 0", "min_pool_size=x", min_pool_size=0),
    database("what follows a number", "pool_size=6x", pool_size=6),
    database("alias", "reserve_pool=4", reserve_pool_size=4, since="1.25"),
    database("limits", "max_db_connections=5", max_connections=5),
    database("last key wins", "pool_size=1 pool_size=2", pool_size=2),
    *(
        bad(entry, f"[databases]\nx = {entry}")
        for entry in (
            *["nonsense=1", "dbname=", "dbname", "dbname='x", "dbname=''", "port=0", "port=x"],
            *["pool_mode=x", "=p0"],
        )
    ),
    bad("unknown key of a user", "[users]\nbouncer = nonsense=1"),
]


@contextmanager
def replaced(bouncer: Bouncer, text: str) -> Iterator[None]:
    """This file in force for the block, or as much of it as RELOAD takes."""
    good = bouncer.ini.read_text()
    bouncer.ini.write_text(text)
    try:
        yield
    finally:
        bouncer.ini.write_text(good)
        bouncer.console("RELOAD")


def config(bouncer: Bouncer, name: str) -> str | None:
    value: str | None = bouncer.show("config", key=name)[0]["value"]
    return value


def assert_reload_fails(bouncer: Bouncer) -> None:
    """The answer says so, of older PgBouncers only the log."""
    bouncer.new_log()
    if release_of(bouncer) < (1, 25):
        bouncer.console("RELOAD")
        assert re.search(r"\] (ERROR|WARNING) ", bouncer.new_log())
        return
    with pytest.raises(psycopg2.Error, match="RELOAD failed, see logs for additional details") as failed:
        bouncer.console("RELOAD")
    assert failed.value.pgcode == "F0000"
    assert re.search(r"\] ERROR ", bouncer.new_log())


@on_all([*GRAMMAR, *NUMBERS, *ENTRIES])
def test_reload(subject: Bouncer, case: Ini) -> None:
    with replaced(subject, f"{subject.ini.read_text()}{case.lines}\n"):
        if case.settings is None:
            assert_reload_fails(subject)
            return
        subject.console("RELOAD")
        assert {name: config(subject, name) for name in case.settings} == case.settings
        for name, row in case.databases.items():
            (shown,) = subject.show("databases", name=name)
            assert {key: shown[key] for key in row} == row


@on_all([bad("port=65536", "[databases]\nx = port=65536")], subjects=POOLERS)
def test_numbers_out_of_range(subject: Bouncer, case: Ini) -> None:
    """PgBouncer takes it."""
    with replaced(subject, f"{subject.ini.read_text()}{case.lines}\n"):
        assert_reload_fails(subject)


@on_each()
def test_a_second_header_resets(subject: Bouncer) -> None:
    """As if the first block were not there, but for settings whose default is NULL."""
    good = subject.ini.read_text()
    text = good.replace(
        "[pgbouncer]", "[pgbouncer]\nserver_idle_timeout = 5\nauth_user = somebody\n[pgbouncer]"
    )
    with replaced(subject, text):
        subject.console("RELOAD")
        assert (config(subject, "server_idle_timeout"), config(subject, "auth_user")) == ("600", "somebody")


@on_each()
def test_includes(subject: Bouncer) -> None:
    """Relative to the folder of the process; the section goes on across them."""
    (subject.directory / "one.ini").write_text("server_idle_timeout = 7\n%include two.ini\n")
    (subject.directory / "two.ini").write_text("server_lifetime = 8\n[databases]\n")
    with replaced(subject, f"{subject.ini.read_text()}%include one.ini\nincluded = dbname=p1\n"):
        subject.console("RELOAD")
        assert (config(subject, "server_idle_timeout"), config(subject, "server_lifetime")) == ("7", "8")
        assert subject.show("databases", name="included")[0]["database"] == "p1"


@on_each()
def test_an_include_of_itself(subject: Bouncer) -> None:
    (subject.directory / "self.ini").write_text("%include self.ini\n")
    with replaced(subject, f"{subject.ini.read_text()}%include self.ini\n"):
        assert_reload_fails(subject)


# SET and RELOAD.


@on_each()
def test_set_is_lost_on_reload(subject: Bouncer) -> None:
    subject.console("SET stats_period = 77")
    assert config(subject, "stats_period") == "77"
    subject.console("RELOAD")
    assert config(subject, "stats_period") == "60"


@on_each()
def test_set_without_default_survives_reload(subject: Bouncer) -> None:
    subject.console("SET auth_user = 'someone'")
    subject.console("RELOAD")
    assert config(subject, "auth_user") == "someone"


@on_each()
def test_what_needs_a_restart_is_left_alone(subject: Bouncer) -> None:
    before = config(subject, "listen_port")
    subject.console("SET listen_port = 1")
    assert config(subject, "listen_port") == before
    with replaced(subject, f"{subject.ini.read_text()}listen_backlog = 7\n"):
        subject.console("RELOAD")
        assert config(subject, "listen_backlog") == "128"


@made_of_each()
def test_conffile(start: Callable[..., Bouncer]) -> None:
    """The file that the next reload reads."""
    bouncer = start()
    other = bouncer.directory / "other.ini"
    other.write_text(bouncer.ini.read_text() + "stats_period = 33\n")
    bouncer.owner.give(other)
    bouncer.console(f"SET conffile = '{other}'")
    bouncer.console("RELOAD")
    assert config(bouncer, "stats_period") == "33"


@made_of_each()
def test_changed_database(start: Callable[..., Bouncer]) -> None:
    """Clients stay, servers are replaced; a removed database ends its clients."""
    bouncer = start(databases={"d": "dbname=p0", "gone": "dbname=p1"})
    with bouncer.connect(dbname="d") as one, bouncer.connect(dbname="gone") as other:
        with one.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            assert cursor.fetchone() == ("p0",)
        bouncer.databases = {"d": "dbname=p2"}
        bouncer.write_config()
        bouncer.console("RELOAD")
        with one.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            assert cursor.fetchone() == ("p2",)
        with pytest.raises(psycopg2.Error), other.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert "no such database: gone" in refusal(bouncer.dsn(dbname="gone"))


@made_of_each()
def test_users_of_the_userlist(start: Callable[..., Bouncer]) -> None:
    """Read again by RELOAD, not before."""
    bouncer = start()
    text = '"trust" authentication failed'
    assert text in refusal(bouncer.dsn(user="fresh"))
    bouncer.passwords["fresh"] = ""
    bouncer.write_config()
    assert text in refusal(bouncer.dsn(user="fresh"))
    bouncer.console("RELOAD")
    assert 'role "fresh" does not exist' in refusal(bouncer.dsn(user="fresh"))


@made_of_each()
def test_users_removed_from_the_userlist(start: Callable[..., Bouncer]) -> None:
    """They can't come back, and are not thrown out."""
    bouncer = start(start=False, auth_type="md5")
    bouncer.passwords["postgres"] = "for the console"
    bouncer.launch()
    wait_for(lambda: bouncer.log.exists() and "process up" in bouncer.log.read_text(), 10, "readiness")
    with bouncer.connect(user="muser") as inside:
        del bouncer.passwords["muser"]
        bouncer.write_config()
        bouncer.sql("RELOAD", user="postgres", password="for the console", dbname="pgbouncer")
        with inside.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert "password authentication failed" in refusal(bouncer.dsn(user="muser"))


@made_of_each(subjects=POOLERS)
def test_users_removed_who_need_no_password(start: Callable[..., Bouncer]) -> None:
    """PgBouncer only takes the password of who is removed: where none is asked for, he is let in."""
    bouncer = start()
    with bouncer.connect(user="limited") as inside:
        del bouncer.passwords["limited"]
        bouncer.write_config()
        bouncer.console("RELOAD")
        with inside.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert '"trust" authentication failed' in refusal(bouncer.dsn(user="limited"))


# Starts that fail.


@made_of_each()
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[databases]\n", None),  # no [pgbouncer]
        ("[pgbouncer]\nnonsense = 1\n", "nonsense"),
        ("[pgbouncer]\n[nonsense]\n", "nonsense"),
        ("[pgbouncer]\npool_mode = nonsense\n", "pool_mode"),
        ("[pgbouncer]\n[databases]\nx = nonsense=1\n", "nonsense"),
        ("", None),
    ],
    ids=["no section", "unknown setting", "unknown section", "bad value", "bad entry", "empty"],
)
def test_does_not_start(start: Callable[..., Bouncer], text: str, said: str | None) -> None:
    bouncer = start(start=False)
    bouncer._write(bouncer.ini, text)
    program = bouncer.command()
    done = subprocess.run(
        [*program.argv, str(bouncer.ini)], env=program.env, cwd=bouncer.directory, timeout=20, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **bouncer.owner.identity(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot load config file" in done.stdout
    assert said is None or said in done.stdout
