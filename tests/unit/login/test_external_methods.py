"""Logins by rules, by the account of a unix socket's peer, by certificate, by a directory and by PAM."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from typing import Any

import pytest

from pooler import tls
from pooler.auth.method import Method
from pooler.config import Config, Database, Settings
from pooler.config.hba import Names
from pooler.config.ident import Identity, IdentMap
from pooler.config.tls import TlsSetup
from pooler.core import LoginQuestion
from pooler.dev.processes import account
from pooler.protocol import codes, frontend
from pooler.worker import external_auth
from pooler.worker.login_questions import account_name
from tests.support.certificates import Authority, Pair
from tests.support.login_peer import Peer
from tests.support.logins import Machine, rule
from tests.unit.login.conftest import MakeMachine
from tests.unit.login.test_opening import context

ME = pwd.getpwuid(os.getuid()).pw_name
MAP = IdentMap("m", (Identity(ME, "me"), Identity("/^(.*)@x$", "\\1")))
#: A user whose password is "secret", and who is known by the name of our account.
USERS = {"me": "secret", ME: ""}
NOBODY = {"x": "x"}


@pytest.fixture
def by(make_machine: MakeMachine) -> Callable[..., Machine]:
    """A machine with one rule for clients on unix sockets, or on TCP."""

    def make(method: str, identities: IdentMap | None = None, known: bool = True, **parts: Any) -> Machine:
        hba = (rule(method, "local", identities), rule(method, "host", identities))
        return make_machine("hba", USERS if known else NOBODY, hba=hba, **parts)

    return make


# Rules.


def test_no_rule(make_machine: MakeMachine) -> None:
    assert make_machine("hba", USERS).start().refused() == "no authentication method is found"
    machine = make_machine("hba", USERS, hba=(rule("trust", "host"),))
    assert machine.start().refused() == "no authentication method is found"
    machine.connect(tcp=True).start().welcome()


def test_reject(by: Callable[..., Machine]) -> None:
    assert by("reject").start().refused() == "login rejected"


def test_unknown_method(by: Callable[..., Machine]) -> None:
    assert by("kerberos").start().refused() == "bouncer config error"


def test_rules_see_user_and_database(make_machine: MakeMachine) -> None:

    hba = (
        rule(
            "trust",
            users=Names(frozenset(), frozenset({"me"})),
            databases=Names(frozenset(), frozenset({"db"})),
        ),
        rule("reject", line=2),
    )
    machine = make_machine(
        "hba", {**USERS, "you": "x"}, hba=hba, databases={n: Database(n) for n in ("db", "e")}
    )
    machine.start("me", "db").welcome()
    assert machine.start("you", "db").refused() == "login rejected"
    assert machine.start("me", "e").refused() == "login rejected"


def test_physical_replication_has_rules_of_its_own(make_machine: MakeMachine) -> None:
    """`all` is not for it; logical replication goes by its database's name."""
    machine = make_machine("hba", USERS, hba=(rule("trust"),))
    assert machine.start(replication="true").refused() == "no authentication method is found"
    machine.start(replication="database")
    machine.passed_as()


@pytest.mark.parametrize("name", ["md5", "plain", "scram-sha-256"])
def test_rules_with_passwords(make_machine: MakeMachine, name: str) -> None:
    """A method of a rule asks as it does as auth_type."""
    by_rule = make_machine("hba", USERS, hba=(rule(name),)).start().request()
    by_type = make_machine(name, USERS).start().request()
    assert (by_rule[0], len(by_rule[1])) == (by_type[0], len(by_type[1]))


# peer


def test_account_name() -> None:
    assert account_name(os.getuid()) == ME
    assert account_name(2**31 - 5) is None


def test_peer(by: Callable[..., Machine]) -> None:
    machine = by("peer")
    machine.start(ME).welcome()
    assert machine.asked == [LoginQuestion.PEER], "the answer may come from a directory"


def test_peer_by_map(by: Callable[..., Machine]) -> None:
    machine = by("peer", MAP)
    machine.start("me").welcome()
    assert machine.start(ME).refused() == "unix socket login rejected"
    machine.logged("ident map m cannot be matched")


@pytest.mark.parametrize(
    ("user", "known", "tcp", "account"),
    [
        ("me", True, False, ME),  # another account's name
        (ME, False, False, ME),
        (ME, True, True, ME),
        (ME, True, False, None),
        (ME, True, False, "else"),
    ],
)
def test_peer_refused(
    by: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch,
    user: str, known: bool, tcp: bool, account: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr("pooler.worker.login_questions.account_name", lambda uid: account)
    machine = by("peer", known=known)
    assert machine.connect(tcp).start(user).refused() == "unix socket login rejected"
    assert machine.questions[0][1][-1] == (b"" if tcp else str(os.getuid()).encode())


# cert


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), account())


@pytest.fixture(scope="module")
def verifying(authority: Authority) -> TlsSetup:
    ours = authority.sign("server", "/CN=localhost", "DNS:localhost")
    settings = Settings(
        client_tls_sslmode="allow",
        client_tls_key_file=str(ours.key),
        client_tls_cert_file=str(ours.cert),
        client_tls_ca_file=str(authority.cert),
    )
    return tls.set_up(Config("p.ini", settings))


Certify = Callable[[str | None], Pair | None]


@pytest.fixture(scope="module")
def certify(authority: Authority) -> Certify:
    """The certificate of an owner; None: none is shown, "": it has a subject without common name."""
    made: dict[str, Pair] = {}

    def find(owner: str | None) -> Pair | None:
        if owner is not None and owner not in made:
            subject = f"/CN={owner}" if owner else "/O=nobody"
            made[owner] = authority.sign(f"client{len(made)}", subject, ours=True)
        return None if owner is None else made[owner]

    return find


def over_tls(machine: Machine, authority: Authority, pair: Pair | None, direct: bool = False) -> Peer:
    tls_context = context(authority, pair, "postgresql" if direct else "")
    return machine.connect(tcp=True).start_tls(tls_context, ask=not direct).start()


def test_certificate(
    by: Callable[..., Machine], authority: Authority, verifying: TlsSetup, certify: Certify
) -> None:
    machine = by("cert", tls=verifying)
    for direct in (False, True):
        over_tls(machine, authority, certify("me"), direct).welcome()
    assert machine.asked == []
    machine = by("cert", MAP, tls=verifying)
    over_tls(machine, authority, certify("me@x")).welcome()
    assert machine.asked == [LoginQuestion.MAP]


@pytest.mark.parametrize(
    ("identities", "owner", "known", "reason"),
    [
        (None, None, True, "TLS client certificate required"),
        (None, "", True, "TLS client certificate required"),
        (None, "you", True, "TLS certificate name mismatch"),
        (None, "ME", True, "TLS certificate name mismatch"),
        (MAP, "me", True, "ident map: m does not have a match"),
        (MAP, "you@x", True, "ident map: m does not have a match"),
        (None, "me", False, None),
        (MAP, "me@x", False, None),
    ],
)
def test_certificate_refused(
    by: Callable[..., Machine], authority: Authority, verifying: TlsSetup, certify: Certify,
    identities: IdentMap | None, owner: str | None, known: bool, reason: str | None,
) -> None:  # fmt: skip
    machine = by("cert", identities, known=known, tls=verifying)
    text = over_tls(machine, authority, certify(owner)).refused()
    assert text == "certificate authentication failed"
    machine.logged(f"pooler error: {text}")
    assert reason is None or reason in machine.text()


def test_certificate_without_tls(by: Callable[..., Machine], verifying: TlsSetup) -> None:
    machine = by("cert", tls=verifying)
    for tcp in (False, True):
        assert machine.connect(tcp).start().refused() == "certificate authentication failed"
    machine.logged("TLS connection required")


# ldap, pam


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bytes, str]]:
    """A directory, and PAM, which find one password right; what they were asked."""
    asked: list[tuple[str, str, bytes, str]] = []

    def check(method: Method, user: str, password: bytes, address: str, wanted: Callable[[], bool]) -> bool:
        assert wanted()
        asked.append((method.name, user, password, address))
        return password in (b"outside", b"")

    monkeypatch.setattr(external_auth, "check", check)
    return asked


@pytest.mark.parametrize("name", ["ldap", "pam"])
def test_password_of_somebody_else(
    by: Callable[..., Machine], outside: list[tuple[str, str, bytes, str]], name: str
) -> None:
    """It is asked for in clear text, and is then good for servers, too."""
    machine = by(name, verbose=2)
    peer = machine.start()
    assert peer.request() == (codes.AUTH_CLEARTEXT, b"")
    peer.say(frontend.password(b"outside")).welcome()
    assert machine.tables.pool_secret(machine.pool()) == b"outside"
    assert outside == [(name, "me", b"outside", "")]
    machine.logged("me")
    assert "outside" not in machine.text()
    machine.connect(tcp=True).start().say(frontend.password(b"outside")).request()
    machine.until(lambda: len(outside) == 2, "the second question")
    assert outside[1] == (name, "me", b"outside", "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "password", "known", "checked"),
    [
        ("ldap", b"secret", True, True),  # of auth_file: it is not asked
        ("ldap", b"", True, False),  # would be an anonymous login, which succeeds
        ("ldap", b"outside", False, True),  # takes as long as for others
        ("pam", b"secret", True, True),
        ("pam", b"", True, False),
    ],
)
def test_password_refused(
    by: Callable[..., Machine], outside: list[tuple[str, str, bytes, str]],
    name: str, password: bytes, known: bool, checked: bool,
) -> None:  # fmt: skip
    machine = by(name, known=known)
    peer = machine.start()
    assert peer.request() == (codes.AUTH_CLEARTEXT, b"")
    assert peer.say(frontend.password(password)).refused() == f"{name.upper()} authentication failed"
    assert bool(outside) == checked


def test_unknown_user_of_pam_is_its_own_affair(
    by: Callable[..., Machine], outside: list[tuple[str, str, bytes, str]]
) -> None:
    machine = by("pam", known=False)
    peer = machine.start()
    peer.request()
    peer.say(frontend.password(b"outside")).welcome()


def test_pam_and_auth_user_do_not_go_together(make_machine: MakeMachine) -> None:
    machine = make_machine("pam", databases={"db": Database("db", auth_user="asker")})
    assert machine.start().refused() == "bouncer config error"
    machine.logged("PAM can't be used together with database authentication")
