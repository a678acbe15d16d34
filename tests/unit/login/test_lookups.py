"""Users that auth_query knows, and what Python answers about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pooler.auth import passwords
from pooler.auth.method import Method
from pooler.config import Database
from pooler.config.hba import Names
from pooler.config.ldap import LdapOptions
from pooler.core import LoginAnswer, LoginQuestion
from pooler.errors import ClientFault
from pooler.protocol import codes, frontend
from pooler.protocol.auth_query import StoredUser
from pooler.worker import external_auth
from pooler.worker.auth_query import config_error
from tests.support.logins import Machine, rule
from tests.support.stored_secrets import scram_secret
from tests.unit.login.conftest import MakeMachine

MD5 = passwords.md5_secret(b"secret", b"me").decode()
SCRAM = scram_secret("secret")
METHODS = ("plain", "md5", "scram-sha-256")


def looked_up(make_machine: MakeMachine, method: str, *found: StoredUser, **parts: Any) -> Machine:
    """A machine that asks PostgreSQL, which knows these users."""
    machine = make_machine(method, {"listed": "x"}, **{"auth_user": "asker", **parts})
    machine.found.users = {user.name: user for user in found}
    return machine


@pytest.mark.parametrize("secret", ["secret", MD5, SCRAM], ids=["plain", "md5", "scram"])
@pytest.mark.parametrize("method", METHODS)
def test_secret_that_is_found(make_machine: MakeMachine, method: str, secret: str) -> None:
    """As one of auth_file; servers get what does not need the client's proof."""
    machine = looked_up(make_machine, method, StoredUser("me", secret))
    if method == "scram-sha-256" and secret == MD5:
        with pytest.raises(ClientFault, match="SASL authentication failed"):
            machine.log_in()
        return
    machine.log_in()
    assert machine.found.asked == [("me", "db")]
    kept = machine.tables.pool_secret(machine.pool())
    assert kept == (None if secret == SCRAM else secret.encode())
    keys = machine.tables.pool_scram_keys(machine.pool())
    assert (keys is not None) == (secret == SCRAM and method != "plain")
    with pytest.raises(ClientFault, match="authentication failed"):
        machine.log_in("wrong")
    assert machine.found.asked == [("me", "db")] * 2, "each login looks again"


def test_a_listed_user_is_not_looked_up(make_machine: MakeMachine) -> None:
    machine = looked_up(make_machine, "md5")
    machine.log_in("x", "listed")
    assert machine.found.asked == []


def test_auth_user_of_one_database(make_machine: MakeMachine) -> None:
    databases = {"db": Database("db", auth_user="asker"), "other": Database("other")}
    machine = looked_up(make_machine, "md5", StoredUser("me", "secret"), auth_user=None, databases=databases)
    machine.log_in()
    with pytest.raises(ClientFault, match="password authentication failed"):
        machine.log_in(database="other")
    assert machine.found.asked == [("me", "db")]


def test_a_database_that_is_not_there_asks_nobody(make_machine: MakeMachine) -> None:
    machine = looked_up(make_machine, "md5", StoredUser("me", "secret"))
    with pytest.raises(ClientFault, match="authentication failed"):
        machine.log_in(database="nowhere")
    assert machine.found.asked == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "found", [None, StoredUser("me", None), StoredUser("me", "")], ids=["no", "NULL", "empty"]
)
def test_nobody_without_a_secret_gets_in(
    make_machine: MakeMachine, method: str, found: StoredUser | None
) -> None:
    machine = looked_up(make_machine, method, *([] if found is None else [found]))
    for password in ("", "secret", "\x01no such user"):
        with pytest.raises(ClientFault, match="authentication failed"):
            machine.log_in(password)
    machine.logged("authentication failed")
    assert ("no such user: me" in machine.text()) == (found is None)


def test_trust(make_machine: MakeMachine) -> None:
    """Nothing is proven there: an unknown user hears what it is."""
    machine = looked_up(make_machine, "trust", StoredUser("me", None))
    machine.start().welcome()
    assert machine.start("ghost").refused() == "no such user"


def test_the_usual_kind_is_learned(make_machine: MakeMachine) -> None:
    """What auth_query has brought tells what a user who does not exist is asked."""
    machine = looked_up(make_machine, "md5", StoredUser("me", scram_secret("secret", iterations=321)))
    assert machine.start("ghost").request()[0] == codes.AUTH_MD5
    for _ in range(2):
        machine.log_in()
    peer = machine.start("ghost")
    assert peer.request()[0] == codes.AUTH_SASL
    peer.say(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
    assert peer.request()[1].endswith(b",i=321")


def test_another_name(make_machine: MakeMachine) -> None:
    """The one that auth_query says counts for the pool and the limits."""
    machine = make_machine("plain", {"listed": "x"}, auth_user="asker")
    machine.found.users = {"Me": StoredUser("me", "secret")}
    machine.log_in(user="Me")
    assert [row["user"] for row in machine.tables.clients()] == ["me"]
    assert machine.tables.pool_secret(machine.pool("me")) == b"secret"
    machine.logged("login attempt: db=db user=Me")


def test_another_name_for_which_another_rule_decides(make_machine: MakeMachine) -> None:
    everybody_else = rule("trust", line=2)
    hba = (rule("reject", users=Names(frozenset(), frozenset({"me"}))), everybody_else)
    machine = make_machine("hba", {"listed": "x"}, auth_user="asker", hba=hba)
    machine.found.users = {"Me": StoredUser("me", "secret"), "Mo": StoredUser("mo", "secret")}
    assert machine.start("Me").refused() == "login rejected"
    machine.logged("auth_query calls the user me, for whom another line of auth_hba_file decides")
    machine.start("Mo").welcome()


def test_a_name_that_is_too_long(make_machine: MakeMachine) -> None:
    machine = make_machine("plain", {"listed": "x"}, auth_user="asker")
    machine.found.users = {"me": StoredUser("n" * 128, "secret")}
    assert machine.start().refused() == "bouncer config error"
    machine.logged("auth_query has returned a name that is too long")


def test_the_console_looks_up_too(make_machine: MakeMachine) -> None:
    machine = looked_up(make_machine, "md5", StoredUser("me", "secret"), stats_users=("me",))
    machine.log_in(database="pgbouncer")
    assert machine.found.asked == [("me", "")]


# -- answers --


def test_a_look_up_that_fails(make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise config_error("error response from auth_query: no")

    machine = looked_up(make_machine, "md5")
    monkeypatch.setattr(machine.found, "find", fail)
    assert machine.start().refused() == "bouncer config error"
    machine.logged("closing because: bouncer config error", "error response from auth_query: no")


@pytest.mark.parametrize("how", ["leaves", "time is over", "is killed"])
def test_the_end_of_who_is_looked_up(make_machine: MakeMachine, how: str) -> None:
    """The look-up ends with it, and what it may still answer concerns no client."""
    parts = {"client_login_timeout": 0.2} if how == "time is over" else {}
    machine = looked_up(make_machine, "md5", StoredUser("me", "secret"), **parts)
    machine.found.hold = lambda: False
    peer = machine.start()
    machine.until(lambda: machine.found.asked, "the question")
    if how == "leaves":
        peer.close()
        machine.logged("client unexpected eof")
    elif how == "is killed":
        machine.kill()
        assert peer.refused() == "admin forced disconnect"
    else:
        assert peer.refused() == "client_login_timeout (server down)"
    machine.until(lambda: not machine.worker.services.questions._asking, "the end of the look-up")
    machine.found.hold = None
    machine.log_in()


def test_a_bug_in_an_answer_is_a_refusal(make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong, there is an answer."""
    machine = make_machine("ldap", {"me": "x"}, may_log_bugs=True)
    monkeypatch.setattr(external_auth, "check", lambda *arguments: 1 / 0)
    peer = machine.start()
    peer.request()
    assert peer.say(frontend.password(b"secret")).refused() == "internal error"
    machine.logged("bug in", "ZeroDivisionError")


def test_a_reload_between_question_and_answer(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of the login counts, as it was when the login began; too many reloads, and it is refused."""
    asked: list[object] = []

    def check(method: Method, user: str, password: bytes, address: str, wanted: Callable[[], bool]) -> bool:
        assert wanted()
        asked.append(method.options)
        return True

    monkeypatch.setattr(external_auth, "check", check)
    first = rule("ldap", options="ldapserver=one ldapprefix=a")
    machine = make_machine("hba", {"me": "x"}, hba=(first,))
    peers = [machine.start() for _ in range(2)]
    for peer in peers:
        peer.request()
    config = machine.worker.context.config
    machine.worker.services.questions.adopt(config)
    peers[0].say(frontend.password(b"secret")).welcome()
    (options,) = asked
    assert isinstance(options, LdapOptions)
    assert (options.ldapserver, options.ldapprefix) == ("one", "a")
    for _ in range(20):
        machine.worker.services.questions.adopt(config)
    assert peers[1].say(frontend.password(b"secret")).refused() == "bouncer config error"
    machine.logged("the configuration was replaced too often while this client logged in")
    assert [question for question, _ in machine.questions].count(LoginQuestion.LDAP) == 2


def test_answers_to_who_has_left_are_nobodys(make_machine: MakeMachine) -> None:
    machine = make_machine("md5", {"me": "secret"})
    relay = machine.worker.context.relay
    for row in (-1, 0, 1, 10_000):
        relay.answer_login(row, 1, 0, (b"me", b"1", b"secret", b"secret"))
    peer = machine.start()
    peer.request()
    (number,) = machine.clients()
    row = machine.tables.find_client(number)
    for verdict in LoginAnswer:
        relay.answer_login(row, number, verdict, ())  # it has not asked
    machine.log_in()
    peer.say(frontend.password(b"wrong"))
    assert peer.refused() == "password authentication failed"
