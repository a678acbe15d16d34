"""Directories and PAM are asked in threads: who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from pooler.auth.method import Method
from pooler.config.ldap import LdapOptions
from pooler.worker import external_auth, ldap, pam
from pooler.worker.external_auth import THREADS, THREADS_EACH

HANGS, ANSWERS = (Method("ldap", options=LdapOptions(ldapserver=name)) for name in ("hangs", "answers"))


class Hanging:
    """What has been asked and hangs, until the end of the test."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ends = threading.Event()
        self.waiting: list[Any] = []

    def hang(self, user: str) -> bool:
        self.asked.append(user)
        return self.ends.wait(20)

    def begin(self, method: Method, user: str, address: str) -> None:
        """A login that nobody waits for."""
        arguments = method, user, b"secret", address, lambda: True
        self.waiting.append(gevent.spawn(external_auth.check, *arguments))

    def until(self, count: int) -> None:
        """So many hang, and no more."""
        with gevent.Timeout(10):
            while len(self.asked) < count:
                gevent.sleep(0.001)
        gevent.sleep(0.05)
        assert len(self.asked) == count


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    made = Hanging()

    def directory(options: LdapOptions, user: str, _: bytes) -> bool:
        return made.hang(user) if options.ldapserver == "hangs" else True

    def by_pam(user: str, _password: bytes, _address: str) -> bool:
        return made.hang(user) if user == "tries" else True

    monkeypatch.setattr(ldap, "check", directory)
    monkeypatch.setattr(pam, "check", by_pam)
    monkeypatch.setattr(external_auth, "_keepers", {})
    yield made
    made.ends.set()
    gevent.joinall(made.waiting, 10)


def check(method: Method, address: str) -> bool:
    with gevent.Timeout(10):
        return external_auth.check(method, "me", b"secret", address, lambda: True)


def test_a_directory_that_hangs_holds_up_its_own_users(hanging: Hanging) -> None:
    for number in range(3 * THREADS):
        hanging.begin(HANGS, "other", f"10.0.0.{number}")
    hanging.until(THREADS)
    assert check(ANSWERS, "10.0.0.1")
    assert check(Method("pam"), "10.0.0.1")


def test_who_tries_passwords_holds_up_those_at_the_same_address(hanging: Hanging) -> None:
    for _ in range(3 * THREADS):
        hanging.begin(Method("pam"), "tries", "10.0.0.1")
    hanging.until(THREADS_EACH)
    assert check(Method("pam"), "10.0.0.2")
    assert check(Method("pam"), "")
