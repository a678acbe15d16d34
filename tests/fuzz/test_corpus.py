"""What coverage-guided fuzzing has found, read again: by the parsers in Python, and by hooks of the core.

The harnesses of libFuzzer themselves are replayed by scripts/sanitize."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from pooler.core import LoginAnswer, LoginPass, LoginQuestion, Relay, Tables
from pooler.core._core import LoginPolicy, Logins, login_packet, login_wanted
from pooler.core.events import LoginAsks, LoginPassed
from pooler.ipc import inbox
from pooler.worker.catalog_queries import CATALOGS
from pooler.worker.session_queries import QUESTIONS
from tests.fuzz.parsers import CORPUS, TARGETS
from tests.support.processes import wait_for

REFUSED = (b"28000", b"no", b"")
METHODS = ("scram-sha-256", "md5", "plain", "any", "pam", "cert", "peer")


def read_startup(data: bytes) -> None:
    """A startup packet, and what it asks to be set."""
    if login_packet(data)[0] == "startup":
        login_wanted(data, [b"IntervalStyle"], [b"extra"], bool(len(data) & 1))


class LoginAtTheCore:
    """Logins whose questions have one answer: by the first byte of an input, as in harness/login.c."""

    def __init__(self) -> None:
        self.boxes = inbox.open_pair()
        ours, theirs = (box.fileno() for box in self.boxes)
        self.tables = Tables(workers=1, slots=2, clients=4)
        self.relay = Relay(self.tables, 0, ours, [theirs] * 2, (), (*QUESTIONS, *CATALOGS))
        self.logins = Logins(self.relay, 1000.0)

    def log_in(self, data: bytes) -> None:
        method = METHODS[data[0] % len(METHODS)] if data else "any"
        policy = LoginPolicy((1, 2), auth_type=method, own_uid=2**31)
        policy.add_secret("me", b"never sent by the fuzzer: 5b1d9c", b"")
        policy.set_automatic(user="me", auth_user=False, follows=True, instance="i")
        policy.add_console("pgbouncer")
        self.relay.set_policy(policy)
        self.logins.obey()
        theirs, ours = socket.socketpair()
        self.logins.accept(ours.detach(), True)
        with contextlib.suppress(ConnectionError):
            theirs.send(data[1:])
        self.logins.run()
        assert not self._let_in() or method == "any", "it got in without the secret"
        theirs.close()
        wait_for(self._is_over, 10, "its end")

    def _is_over(self) -> bool:
        """A thread may be computing for it."""
        self.logins.now += 2
        self.logins.obey()
        self.logins.run()
        self.logins.clock()
        return not self.logins.all()

    def _let_in(self) -> bool:
        """Whether it has proven who it is; what Python got is done with."""
        found = False
        for event in self.relay.events():
            if isinstance(event, LoginAsks):
                found |= event.question == LoginQuestion.POOL
                self.relay.answer_login(event.row, event.client_id, LoginAnswer.FAULT, REFUSED)
            elif isinstance(event, LoginPassed):
                found |= event.how != LoginPass.CANCEL
                os.close(event.fd)
                self.tables.client_free(event.row)
        return found


@pytest.fixture(scope="module")
def core() -> Iterator[LoginAtTheCore]:
    made = LoginAtTheCore()
    yield made
    for box in made.boxes:
        box.close()


def read_all(name: str, read: Callable[[bytes], None]) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        read(path.read_bytes())


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_corpus(target: str) -> None:
    read_all(target, TARGETS[target])


def test_corpus_of_startup_packets() -> None:
    read_all("startup", read_startup)


def test_corpus_of_logins(core: LoginAtTheCore) -> None:
    read_all("login", core.log_in)
    assert not core.logins.all()
    assert core.logins.queue == (0, 0, 0)
