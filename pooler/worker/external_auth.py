"""Passwords that somebody else keeps: a directory (LDAP), PAM. Asking takes what it takes, so it is done in
threads, of which there are few: a server that hangs holds up its own users, and nobody else; and who tries
passwords, which PAM likes to answer late, holds up those at the same address.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

import gevent
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from pooler.auth.method import Method
from pooler.config.ldap import LdapOptions
from pooler.worker import ldap, pam

#: Of one worker, for PAM and for each directory. More clients wait, as long as their login may take.
THREADS = 16
#: Of these, for the clients at one address.
THREADS_EACH = 8
#: A thread without work ends then: a reload may name other directories.
IDLE_S = 60.0


class Keeper:
    """A directory, with all its servers, or PAM: passwords are kept there."""

    def __init__(self) -> None:
        self._threads = ThreadPool(THREADS, gevent.get_hub(), idle_task_timeout=IDLE_S)
        self._turns: WeakValueDictionary[str, BoundedSemaphore] = WeakValueDictionary()

    def ask(self, address: str, wanted: Callable[[], bool], function: Callable[[], bool]) -> bool:
        """What the function says, from a thread, if it is wanted still when it is its turn."""
        turn = self._turns.get(address)
        if turn is None:
            turn = self._turns[address] = BoundedSemaphore(THREADS_EACH)
        with turn:
            return bool(self._threads.apply(lambda: wanted() and function()))


_keepers: dict[str, Keeper] = {}


def check(method: Method, user: str, password: bytes, address: str, wanted: Callable[[], bool]) -> bool:
    """Whether the password is right; logs why not. `address` is the client's, empty for a unix socket;
    `wanted`: asked once more when a thread is free, for the client may have left."""
    if method.name == "ldap":
        options = method.options
        return keeper(directory(options)).ask(address, wanted, lambda: ldap.check(options, user, password))
    return keeper("").ask(address, wanted, lambda: pam.check(user, password, address))


def directory(options: LdapOptions | None) -> str:
    """By what a directory is known, whatever else is asked of it."""
    return "ldap " + (" ".join(options.hosts) or options.ldapbasedn or "" if options is not None else "")


def keeper(name: str) -> Keeper:
    """That of a directory; "": PAM."""
    found = _keepers.get(name)
    if found is None:
        found = _keepers[name] = Keeper()
    return found
