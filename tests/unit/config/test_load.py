"""Loading: what files mean, all that is wrong with its line, and reload as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pooler.config import Config, Database, Peer, UserOptions, load, reload
from pooler.errors import ConfigError, Problem


class Folder:
    """A folder with a configuration p.ini that is written and loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ini = str(path / "p.ini")

    def write(self, text: str, name: str = "p.ini", mode: int = 0o600) -> str:
        file = self.path / name
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        os.chmod(file, mode)
        return str(file)

    def load(self, text: str, **overrides: str) -> Config:
        return load(self.write(text), overrides)

    def fail(self, text: str, **overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(text, **overrides)
        return [self.short(problem) for problem in caught.value.problems]

    def warn(self, text: str) -> list[str]:
        return [self.short(problem) for problem in self.load(text).problems]

    def short(self, problem: Problem) -> str:
        return str(problem).replace(f"{self.path}/", "")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_smallest_file(folder: Folder) -> None:
    config = folder.load("[pgbouncer]\n")
    assert (config.path, config.settings.conffile, config.settings.listen_port) == (
        folder.ini,
        folder.ini,
        6432,
    )
    assert (config.databases, config.users, config.userlist, config.problems) == ({}, {}, {}, ())


def test_settings(folder: Folder) -> None:
    settings = folder.load(
        "[pgbouncer]\nlisten_addr = *\nunix_socket_mode = 0700\nquery_timeout=0.5\npool_mode=TRANSACTION\n"
        "log_stats=0\nadmin_users = a, b\nworkers = 3\nserver_reset_query =\n"
    ).settings
    assert (settings.listen_addr, settings.unix_socket_mode, settings.query_timeout) == (("*",), 0o700, 0.5)
    assert (settings.pool_mode, settings.log_stats, settings.admin_users) == (
        "transaction",
        False,
        ("a", "b"),
    )
    assert (settings.workers, settings.server_reset_query) == (3, "")


def test_section_may_be_called_pooler(folder: Folder) -> None:
    assert folder.load("[pooler]\nlisten_port=7\n").settings.listen_port == 7


def test_databases(folder: Folder) -> None:
    config = folder.load(
        "[databases]\nshop = host=h port=7 dbname=s user=u password='p''w' pool_size=0 reserve_pool=3\n"
        "'my db' =\n* = host=h2 max_db_connections=0 server_lifetime=10\n[pgbouncer]\n"
    )
    assert config.databases == {
        "shop": Database(
            "shop", dbname="s", host="h", port=7, user="u", password="p'w", pool_size=0, reserve_pool_size=3
        ),
        "my db": Database("my db", dbname="my db"),
    }
    assert config.auto_database == Database("*", host="h2", server_lifetime=10.0)


def test_users_and_peers(folder: Folder) -> None:
    config = folder.load(
        "[users]\nu = pool_mode=session pool_size=-1 query_timeout=5 client_idle_timeout=0\n"
        "[peers]\n1 = host=h\n2 = host=i port=7 pool_size=3\n[pgbouncer]\n"
    )
    assert config.users == {"u": UserOptions("u", pool_mode="session", query_timeout=5.0)}
    assert config.peers == {1: Peer(1, host="h"), 2: Peer(2, host="i", port=7, pool_size=3)}


def test_integers_of_entries_are_read_as_pgbouncer_does_but_not_silently(folder: Folder) -> None:
    config = folder.load(
        "[pgbouncer]\n[databases]\nd = pool_size=10x min_pool_size=ten max_db_connections=x\n"
    )
    database = config.databases["d"]
    assert (database.pool_size, database.min_pool_size, database.max_db_connections) == (10, 0, None)
    assert [folder.short(problem) for problem in config.problems] == [
        "p.ini:3: warning: pool_size: not a number, taken as 10, as PgBouncer does",
        "p.ini:3: warning: min_pool_size: not a number, taken as 0, as PgBouncer does",
        "p.ini:3: warning: max_db_connections: not a number, taken as 0, as PgBouncer does",
    ]


def test_a_word_is_no_limit(folder: Folder) -> None:
    """PgBouncer takes it for 0, which is no limit at all."""
    for text in ("two", "0x10", "-"):
        problems = folder.fail(
            f"[pgbouncer]\n[databases]\nd = pool_size={text}\n[users]\nu = pool_size={text}\n"
        )
        assert problems == [f"p.ini:{line}: error: invalid pool_size: not a number" for line in (3, 5)]


def test_a_comment_behind_a_value(folder: Folder) -> None:
    (problem,) = folder.fail("[pgbouncer]\nmax_client_conn = 500 ; enough\n")
    assert problem.endswith("not an integer; comments stand on lines of their own")


@pytest.mark.parametrize("key", ["sslmode", "sslrootcert", "connect_timeout"])
def test_what_connection_strings_have(folder: Folder, key: str) -> None:
    (problem,) = folder.fail(f"[pgbouncer]\n[databases]\nd = host=h {key}=x\n")
    assert problem.startswith(f"p.ini:3: error: unrecognized parameter: {key}; ")
    assert problem.endswith(" in [pgbouncer]")


def test_a_url_in_the_place_of_keys(folder: Folder) -> None:
    config = folder.load(
        "[pgbouncer]\n[databases]\n"
        "a = postgres://me:s%40cret@h1:5433/shop\n"
        "b = postgresql://h1,[::1]/x?pool_size=3 pool_mode=session\n"
        "c = postgres://%2Frun%2Fpostgresql/y\n"
        "d = postgres:///z?host=/tmp&application_name=a%20b\n"
    )
    assert config.databases == {
        "a": Database("a", dbname="shop", host="h1", port=5433, user="me", password="s@cret"),
        "b": Database("b", dbname="x", host="h1,::1", pool_size=3, pool_mode="session"),
        "c": Database("c", dbname="y", host="/run/postgresql"),
        "d": Database("d", dbname="z", host="/tmp", application_name="a b"),
    }


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgres://me:se/cret@h/d", "the host of the URL cannot be read; is all of the password encoded?"),
        ("postgres://h:1,i:2/d", "hosts of one URL have different ports"),
        ("postgres://h/d?sslmode=require", "TLS to PostgreSQL is set by server_tls_sslmode"),
        ("postgres://h/d?pool_size", "a parameter of the URL has no value"),
        ("postgres://h/%zz", "a % in a URL that is no code"),
        ("postgres://h/%00", "a NUL byte in a URL"),
        ("postgres://me:@h/d", "empty value of password"),
        ("postgres://h:70000/d", "invalid port: not a port"),
    ],
)
def test_urls_that_cannot_be_read(folder: Folder, url: str, text: str) -> None:
    (problem,) = folder.fail(f"[pgbouncer]\n[databases]\nd = {url}\n")
    assert problem.startswith("p.ini:3: error: ")
    assert text in problem
    assert "cret" not in problem


def test_the_last_of_equal_keys_counts(folder: Folder) -> None:
    config = folder.load(
        "[pgbouncer]\nlisten_port=1\nlisten_port=2\n[databases]\nd=port=1\nd=host=h host=i\n"
    )
    assert config.settings.listen_port == 2
    assert config.databases["d"] == Database("d", dbname="d", host="i")
    assert [folder.short(p) for p in config.problems] == [
        "p.ini:6: warning: replaces the entry for 'd' at p.ini:5"
    ]


def test_a_section_may_be_reopened(folder: Folder) -> None:
    config = folder.load("[databases]\na=\n[pgbouncer]\n[databases]\nb=\n")
    assert list(config.databases) == ["a", "b"]


def test_second_main_header_resets_what_has_a_default(folder: Folder) -> None:
    users = folder.write('"u" "s"\n', "users")
    config = folder.load(f"[pgbouncer]\nauth_file={users}\nlisten_port=1\n[pgbouncer]\nlog_stats=0\n")
    settings = config.settings
    assert (settings.listen_port, settings.log_stats, settings.auth_file) == (6432, False, users)
    assert [folder.short(p) for p in config.problems] == [
        "p.ini:4: warning: this header resets the settings given before (as in PgBouncer): listen_port"
    ]


def test_overrides_count_more_than_the_file(folder: Folder) -> None:
    config = folder.load("[pgbouncer]\nworkers=2\n", workers="4", verbose="1")
    assert (config.settings.workers, config.settings.verbose) == (4, 1)
    assert folder.fail("[pgbouncer]\n", workers="many") == [
        "command line: error: invalid value 'many' for workers: not an integer; or write auto"
    ]


def test_userlist(folder: Folder) -> None:
    users = folder.write('"u" "s"\n', "users")
    assert folder.load(f"[pgbouncer]\nauth_file={users}\n").userlist == {"u": "s"}


def test_missing_auth_file_is_an_error_with_its_name(folder: Folder) -> None:
    assert folder.fail("[pgbouncer]\nauth_file=/nonexistent/users\n") == [
        "/nonexistent/users: error: could not open auth_file: No such file or directory"
    ]


def test_auth_file_is_not_needed_for_any(folder: Folder) -> None:
    warnings = folder.warn("[pgbouncer]\nauth_type=any\nauth_file=/nonexistent/users\n")
    assert warnings == ["/nonexistent/users: warning: could not open auth_file: No such file or directory"]


def test_broken_and_open_auth_file(folder: Folder) -> None:
    users = folder.write('"u" "s"\njunk\n', "users", 0o644)
    assert folder.fail(f"[pgbouncer]\nauth_file={users}\n") == [
        'users:2: error: broken auth file: expected "user" "secret", both in quotes',
        "users: warning: holds secrets and is open to group or others (mode 0644), better: chmod 600",
    ]


def test_everything_wrong_is_reported_with_its_line(folder: Folder) -> None:
    problems = folder.fail(
        "[pgbouncer]\nlisten_port = x\nlisten_prt = 1\n\nnonsense\nauth_type = ldap\n"
        "client_tls_sslmode = require\n[databases]\nd = hst=h port=0\npgbouncer = host=h\ne = password='x\n"
        "f = port=70000 pool_mode=tx\n[user]\nx = y\n[peers]\n0 = port=1\n"
    )
    assert problems == [
        "p.ini:5: error: syntax error: expected name = value",
        "p.ini:2: error: invalid value 'x' for listen_port: not an integer",
        "p.ini:3: error: unknown parameter 'listen_prt', did you mean listen_port?",
        "p.ini:9: error: unrecognized parameter: hst, did you mean host?",
        "p.ini:9: error: invalid port: not a port, allowed is 1 to 65535",
        'p.ini:10: error: database name "pgbouncer" is reserved',
        "p.ini:11: error: syntax error: unterminated quote in value of password",
        "p.ini:12: error: invalid port: not a port, allowed is 1 to 65535",
        "p.ini:12: error: invalid pool_mode: must be one of session, transaction, statement",
        "p.ini:13: error: invalid section 'user', did you mean users?",
        "p.ini:16: error: ids of peers must be numbers from 1 to 65535, not a strange name",
        "p.ini:16: error: host was not provided for peer 0",
        'p.ini:6: warning: auth_ldap_options: authentication method "ldap" requires argument "ldapbasedn",'
        ' "ldapprefix", or "ldapsuffix" to be set; nobody can log in',
    ]


def test_main_section_is_needed(folder: Folder) -> None:
    assert folder.fail("[databases]\nd=\n") == ["p.ini: error: section [pgbouncer] is missing"]
    assert folder.fail("") == ["p.ini: error: section [pgbouncer] is missing"]


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        load("/nonexistent/p.ini")
    assert len(caught.value.problems) == 1


def test_names_that_are_too_long(folder: Folder) -> None:
    problems = folder.fail(
        f"[pgbouncer]\n[databases]\n{'d' * 64}=\n{'d' * 63}=\nx=user={'u' * 128}\n[users]\n{'u' * 128}=\n"
    )
    assert [problem.split(": ")[0] for problem in problems] == ["p.ini:3", "p.ini:5", "p.ini:7"]
    assert all("too long" in problem for problem in problems)


def test_the_console_is_no_auth_dbname(folder: Folder) -> None:
    text = 'cannot use the reserved "pgbouncer" database as an auth_dbname'
    assert f"p.ini:2: error: {text}" in folder.fail("[pgbouncer]\nauth_dbname=pgbouncer\n")
    problems = folder.warn("[pgbouncer]\n[databases]\nd=auth_dbname=pgbouncer\n")
    assert f"p.ini:3: warning: {text}" in problems


@pytest.mark.parametrize("auth_type", ["any", "trust", "plain", "md5", "scram-sha-256", "pam"])
def test_auth_types_that_work(folder: Folder, auth_type: str) -> None:
    assert folder.warn(f"[pgbouncer]\nauth_type={auth_type}\n") == []


def test_hba(folder: Folder) -> None:
    """A line that cannot be read is named, the others count; the file itself has to be there."""
    ident = folder.write("m root all\nbroken\n", "ident")
    rules = folder.write("local all all peer map=m\nhosts all all all trust\nhost all all all md5\n", "hba")
    text = f"[pgbouncer]\nauth_type=hba\nauth_hba_file={rules}\nauth_ident_file={ident}\n"
    assert folder.warn(text) == [
        "ident:2: warning: could not parse ident config line 2: expected a map, a system name and a user",
        "hba:2: warning: could not parse hba config line 2: unknown type",
    ]
    assert [rule.method for rule in folder.load(text).hba] == ["peer", "md5"]
    assert folder.load(text.replace("hba\n", "md5\n", 1)).hba == ()
    os.unlink(rules)
    assert folder.fail(text)[1:] == [
        "hba: error: could not open hba config file hba: No such file or directory"
    ]


def test_hba_by_set(folder: Folder) -> None:
    rules = folder.write("host all all all reject\n", "hba")
    config = folder.load(f"[pgbouncer]\nauth_hba_file={rules}\n")
    assert config.hba == ()
    assert [rule.method for rule in config.with_overrides({"auth_type": "hba"}).hba] == ["reject"]


def test_cert_needs_certificates(folder: Folder) -> None:
    assert folder.fail("[pgbouncer]\nauth_type=cert\n") == [
        "p.ini:2: error: auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL",
        "p.ini:2: error: auth_type=cert requires client_tls_ca_file",
    ]


@pytest.mark.parametrize("value", ["", "none", "scram-sha-256,md5", "!password, !none"])
def test_server_require_auth(folder: Folder, value: str) -> None:
    assert folder.warn(f"[pgbouncer]\nserver_require_auth={value}\n") == []


@pytest.mark.parametrize("value", ["gss", "!plain", "md5,!none"])
def test_bad_server_require_auth(folder: Folder, value: str) -> None:
    (problem,) = folder.fail(f"[pgbouncer]\nserver_require_auth={value}\n")
    assert problem.startswith("p.ini:2: error: ")
    assert "server_require_auth" in problem


def test_what_works_does_not_warn(folder: Folder) -> None:
    assert folder.warn("[pgbouncer]\nmax_prepared_statements=200\npkt_buf=8192\nsbuf_loopcnt=9\n") == []
    assert folder.warn("[pgbouncer]\nclient_tls_dheparams=legacy\nauth_user=x\ndns_max_ttl=5\n") == []
    assert folder.warn("[pgbouncer]\n[peers]\n" + "".join(f"{i} = host=x\n" for i in range(1, 50))) == []


def test_thousands_of_mistakes_are_not_all_read(folder: Folder) -> None:
    problems = folder.fail("[pgbouncer]\n" + "nonsense=1\n" * 20_000)
    assert len(problems) < 1000
    assert "too many problems" in problems[-1]


def test_keys_of_an_invalid_section_are_not_reported_too(folder: Folder) -> None:
    assert folder.fail("[pgbouncer]\n[nonsense]\na=b\n") == ["p.ini:2: error: invalid section 'nonsense'"]


def test_passwords_do_not_get_into_problems(folder: Folder) -> None:
    problems = folder.fail(
        "[pgbouncer]\nx=\n[databases]\nd = password=hunter2 hunter2\ne=password='hunter2\n"
    )
    assert len(problems) == 3
    assert "hunter2" not in "".join(problems)


def test_reload(folder: Folder) -> None:
    old = folder.load("[pgbouncer]\nlisten_port=1\nmax_client_conn=5\n[databases]\na=\n")
    folder.write("[pgbouncer]\nlisten_port=2\nmax_client_conn=6\n[databases]\nb=\n")
    new, changes = reload(old)
    assert (new.settings.listen_port, new.settings.max_client_conn) == (1, 6)
    assert changes.restart_only == ("listen_port",)
    assert changes.settings == {"max_client_conn": (5, 6)}
    assert (changes.databases_added, changes.databases_removed) == (("b",), ("a",))
    assert changes.new is new


def test_failed_reload_leaves_everything(folder: Folder) -> None:
    old = folder.load("[pgbouncer]\nmax_client_conn=5\n")
    folder.write("[pgbouncer]\nmax_client_conn=6\nnonsense\n")
    with pytest.raises(ConfigError):
        reload(old)
    assert old.settings.max_client_conn == 5


def test_reload_keeps_what_has_no_default_and_resets_the_rest(folder: Folder) -> None:
    old = folder.load("[pgbouncer]\nauth_dbname=x\nmax_client_conn=5\n")
    old = old.with_overrides({"auth_user": "y", "query_timeout": "1"})
    folder.write("[pgbouncer]\n")
    new, _ = reload(old)
    assert (new.settings.auth_dbname, new.settings.auth_user) == ("x", "y")
    assert (new.settings.max_client_conn, new.settings.query_timeout) == (100, 0.0)


def test_empty_value_does_away_with_what_has_no_default(folder: Folder) -> None:
    old = folder.load("[pgbouncer]\nauth_dbname=x\n")
    folder.write("[pgbouncer]\nauth_dbname=\n")
    assert reload(old)[0].settings.auth_dbname is None


def test_conffile_says_what_the_next_reload_reads(folder: Folder) -> None:
    other = folder.write("[pgbouncer]\nmax_client_conn=7\n", "other.ini")
    old = folder.load(f"[pgbouncer]\nconffile={other}\n")
    assert (old.path, old.settings.max_client_conn) == (folder.ini, 100)
    new, _ = reload(old)
    assert (new.path, new.settings.conffile, new.settings.max_client_conn) == (other, other, 7)


def test_reload_of_an_unchanged_file_changes_nothing(folder: Folder) -> None:
    old = folder.load("[pgbouncer]\nworkers=2\n[databases]\n*=host=h\n[users]\nu=\n")
    new, changes = reload(old)
    assert new == old
    assert changes.empty
