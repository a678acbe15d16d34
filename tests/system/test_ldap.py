"""auth_type ldap and rules with it, against a real slapd: both ways to bind, URLs, TLS, trouble."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import free_port
from pooler.dev.program import Program, console_answers
from tests.support.crowd import at_once, refusal
from tests.support.install import python_package
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.slapd import ADMIN, ADMIN_PASSWORD, BASE, Slapd
from tests.support.wire import message, startup

FAILED = "LDAP authentication failed"

#: What rules and auth_ldap_options may say, of bouncer, who is right below the base.
OPTIONS = {
    "simple bind": 'ldapserver=127.0.0.1 ldapport={port} ldapprefix="uid=" ldapsuffix=",{base}"',
    "search": 'ldapserver=127.0.0.1 ldapport={port} ldapbasedn="{base}"',
    "attribute": "ldapserver=127.0.0.1 ldapport={port} ldapbasedn={quoted} ldapsearchattribute=cn",
    "filter": 'ldapserver=127.0.0.1 ldapport={port} ldapbasedn="{base}" ldapsearchfilter="uid=$username"',
    "commas": 'ldapserver=127.0.0.1 "ldapport"={port} ldapbasedn="{base}" ,ldapsearchattribute=uid',
    "several servers": 'ldapserver="127.0.0.2 127.0.0.1" ldapport={port} ldapbasedn="{base}"',
    "binddn": 'ldapserver=127.0.0.1 ldapport={port} ldapbasedn="{base}" ldapbinddn="{admin}"'
    ' ldapbindpasswd="{password}"',
    "url": 'ldapurl="ldap://127.0.0.1:{port}/{base}?uid?sub"',
    "url with filter": 'ldapurl="ldap://127.0.0.1:{port}/{base}??sub?(|(uid=$username)(mail=$username))"',
    "ldaps": 'ldapurl="ldaps://127.0.0.1:{tls_port}/{base}?uid?sub"',
    "ldaps by scheme": "ldapscheme=ldaps ldapserver=127.0.0.1 ldapport={tls_port} ldapbasedn={quoted}",
    "starttls": 'ldapserver=127.0.0.1 ldapport={port} ldapprefix="uid=" ldapsuffix=",{base}" ldaptls=1',
    "starttls and search": 'ldapserver=127.0.0.1 ldapport={port} ldapbasedn="{base}" ldaptls=1',
}

BAD = {
    "ldaps on the plain port": (
        'ldapurl="ldaps://127.0.0.1:{port}/{base}?uid?sub"',
        "could not perform initial",
    ),
    "starttls on the other": (
        'ldapserver=127.0.0.1 ldapport={tls_port} ldapbasedn="{base}" ldaptls=1',
        "could not start LDAP TLS session",
    ),
    "starttls within ldaps": (
        'ldapurl="ldaps://127.0.0.1:{tls_port}/{base}?uid?sub" ldaptls=1',
        "could not start LDAP TLS session",
    ),
    "nobody listens": (
        'ldapserver=127.0.0.1 ldapport={closed} ldapbasedn="{base}"',
        "could not perform initial",
    ),
    "wrong binddn": (
        'ldapserver=127.0.0.1 ldapport={port} ldapbasedn="{base}" ldapbinddn="{admin}" ldapbindpasswd=no',
        "could not perform initial LDAP bind for ldapbinddn",
    ),
    "other base": ('ldapserver=127.0.0.1 ldapport={port} ldapbasedn="dc=example,dc=org"', "does not exist"),
    "base only": ('ldapurl="ldap://127.0.0.1:{port}/{base}?uid"', "does not exist"),
    "bad filter": (
        'ldapserver=127.0.0.1 ldapport={port} ldapbasedn="{base}" ldapsearchfilter="(uid=$username"',
        "could not search LDAP for filter",
    ),
    "no options": ("", "requires argument"),
    "unknown domain": ('ldapbasedn="dc=nosuch,dc=invalid"', "could not find DNS SRV records"),
    "no domain": ("ldapbasedn=o=nosuch", "could not extract domain name from ldapbasedn"),
}


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    headers = (("libldap-dev", "/usr/include/ldap.h"), ("libsasl2-dev", "/usr/include/sasl/sasl.h"))
    python_package("python-ldap", "ldap", *headers)
    server = Slapd(tmp_path_factory.mktemp("slapd"))
    server.start()
    yield server
    server.stop()


class Directed(Pooler):
    """Its console is reached by the unix socket; it trusts the directory's certificate."""

    def __init__(self, *arguments: Any, slapd: Slapd, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.slapd = slapd
        self.rules = self.directory / "hba"

    def command(self) -> Program:
        program = super().command()
        certificate = self.directory / "ca.pem"
        self._write(certificate, (self.slapd.folder / "cert.pem").read_text())
        return replace(program, env={**program.env, "LDAPTLS_CACERT": str(certificate)})

    def write_config(self) -> None:
        super().write_config()
        if not self.rules.exists():
            self.write_rules("")

    def write_rules(self, options: str) -> None:
        """Everybody by LDAP, but for the console's user."""
        text = f"host all {SUPERUSER} all trust\nhost all all all ldap {options}\n"
        self._write(self.rules, text)


@pytest.fixture(scope="module", params=[1, 3], ids=["1-worker", "3-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler, slapd: Slapd) -> Pooler:
    return start_pooler(
        kind=Directed,
        slapd=slapd,
        workers=request.param,
        auth_type="hba",
        auth_hba_file="hba",
        databases={"p0": "", "p1": "user=bouncer"},
    )


def filled(text: str, slapd: Slapd) -> str:
    return text.format(
        port=slapd.port,
        tls_port=slapd.tls_port,
        closed=free_port(),
        base=BASE,
        quoted=f'"{BASE}"',
        admin=ADMIN,
        password=ADMIN_PASSWORD,
    )


def use(pooler: Pooler, options: str, way: str = "hba") -> None:
    assert isinstance(pooler, Directed)
    if way == "hba":
        pooler.write_rules(options)
        pooler.configure(auth_type="hba", auth_hba_file=pooler.rules)
    else:
        pooler.configure(auth_type="hba")
        pooler.settings.update(auth_type="ldap", auth_ldap_options=options)
        pooler.write_config()
        pooler.reload()


@pytest.fixture(autouse=True)
def reachable(pooler: Pooler) -> Iterator[None]:
    """By rules again after each test, so that the console's user gets in."""
    yield
    assert isinstance(pooler, Directed)
    if pooler.settings["auth_type"] == "hba":
        return
    pooler.settings.update(auth_type="hba", auth_hba_file=pooler.rules)
    pooler.write_config()
    pooler.signal(signal.SIGHUP)
    dsn = pooler.dsn(user=SUPERUSER, dbname="pgbouncer")
    wait_for(lambda: console_answers(dsn), 5, "the console")


def enters(pooler: Pooler, user: str = "bouncer", password: str = "ldapsecret") -> bool:
    return pooler.sql("SELECT 1", user=user, password=password, dbname="p1") == [(1,)]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("way", ["hba", "auth_type"])
def test_ways_to_ask(pooler: Pooler, slapd: Slapd, name: str, way: str) -> None:
    use(pooler, filled(OPTIONS[name], slapd), way)
    assert enters(pooler)
    assert FAILED in refusal(pooler.dsn(password="wrong", dbname="p1"))
    assert FAILED in refusal(pooler.dsn(user="stranger", password="strange", dbname="p1")), "not in auth_file"
    assert FAILED in refusal(pooler.dsn(user="puser", password="pfoo", dbname="p1")), "not in the directory"
    assert enters(pooler)


@pytest.mark.parametrize("name", BAD)
def test_trouble_is_logged_and_the_client_refused(pooler: Pooler, slapd: Slapd, name: str) -> None:
    options, text = BAD[name]
    use(pooler, filled(options, slapd))
    with pooler.expect_log(text):
        assert FAILED in refusal(pooler.dsn(password="ldapsecret", dbname="p1"))
    use(pooler, filled(OPTIONS["search"], slapd))
    assert enters(pooler)


def test_user_who_is_there_twice(pooler: Pooler, slapd: Slapd) -> None:
    use(pooler, filled(OPTIONS["search"], slapd))
    with pooler.expect_log('LDAP user "muser" is not unique'):
        assert FAILED in refusal(pooler.dsn(user="muser", password="twin", dbname="p1"))


@pytest.mark.parametrize("user", ["*", "bou*", "(uid=bouncer", "bouncer)(uid=*", "a\\\\b", "a/b"])
def test_no_filter_by_a_users_name(pooler: Pooler, slapd: Slapd, user: str) -> None:
    use(pooler, filled(OPTIONS["search"], slapd))
    pooler.passwords[user.replace("\\\\", "\\")] = ""
    pooler.configure()
    try:
        with pooler.expect_log("invalid character in user name for LDAP authentication"):
            assert FAILED in refusal(pooler.dsn(user=user, password="ldapsecret", dbname="p1"))
    finally:
        del pooler.passwords[user.replace("\\\\", "\\")]


def test_empty_password_is_no_anonymous_login(pooler: Pooler, slapd: Slapd) -> None:
    use(pooler, filled(OPTIONS["simple bind"], slapd))
    with pooler.wire() as wire, pytest.raises(AssertionError, match=FAILED):
        wire.login("bouncer", "p1", "")


def test_password_serves_at_postgres(pooler: Pooler, slapd: Slapd) -> None:
    """Which asks for it, too: what the client has typed is all there is."""
    use(pooler, filled(OPTIONS["search"], slapd))
    pooler.passwords["suser"] = ""
    pooler.configure()
    pooler.console("RECONNECT p0")
    for _ in range(3):
        rows = pooler.sql("SELECT session_user", user="suser", password="sfoo", dbname="p0")
        assert rows == [("suser",)]
    pooler.console("RECONNECT p0")
    assert pooler.sql("SELECT session_user", user="suser", password="sfoo", dbname="p0") == [("suser",)]


def test_wrong_password_on_a_warm_pool(pooler: Pooler, slapd: Slapd) -> None:
    use(pooler, filled(OPTIONS["search"], slapd))
    for _ in range(3):
        assert enters(pooler)
        assert FAILED in refusal(pooler.dsn(password="wrong", dbname="p1"))


def test_directory_that_hangs_holds_up_nobody_else(pooler: Pooler) -> None:
    """A crowd waits for a server that answers nothing; who does not need it gets in meanwhile."""
    with socket.socket() as silent, contextlib.ExitStack() as stack:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        port = silent.getsockname()[1]
        use(pooler, f'ldapserver=127.0.0.1 ldapport={port} ldapprefix="uid=" ldapsuffix=",{BASE}"')
        for _ in range(40):
            wire = stack.enter_context(pooler.wire())
            wire.send(startup("bouncer", "p1"))
            wire.expect("R")
            wire.send(message("p", "ldapsecret"))
        for _ in range(5):
            assert pooler.console("SHOW VERSION")


def test_psycopg3_and_psql(pooler: Pooler, slapd: Slapd) -> None:
    use(pooler, filled(OPTIONS["starttls and search"], slapd))
    with psycopg.connect(pooler.dsn(password="ldapsecret", dbname="p1")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    dsn = "dbname=p1 user=bouncer password=ldapsecret"
    assert pooler.run_program("psql", "-XAtc", "SELECT 42", dsn).strip() == "42"


def test_crowd(pooler: Pooler, slapd: Slapd) -> None:
    use(pooler, filled(OPTIONS["search"], slapd))
    assert at_once(20, lambda _: enters(pooler)) == [True] * 20


def test_directory_comes_back(pooler: Pooler, slapd: Slapd) -> None:
    use(pooler, filled(OPTIONS["search"], slapd))
    slapd.stop()
    with pooler.expect_log("could not perform initial LDAP bind"):
        assert FAILED in refusal(pooler.dsn(password="ldapsecret", dbname="p1"))
    slapd.start()
    assert enters(pooler)


def test_passwords_are_not_logged(pooler: Pooler) -> None:
    text = pooler.log.read_text()
    assert not [word for word in (ADMIN_PASSWORD, "ldapsecret", "strange'") if word in text]
