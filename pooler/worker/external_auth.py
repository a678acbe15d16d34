"""Passwords that somebody else keeps: a directory (LDAP), PAM. Asking takes what it takes, so it is done in
threads, of which there are few: a server that hangs holds up its own users, and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.threadpool import ThreadPool

from pooler.auth.method import Method
from pooler.worker import ldap, pam

#: Of one worker, for each method. More clients wait their turn, as long as their login may take.
THREADS = 16

_pools: dict[str, ThreadPool] = {}


def check(method: Method, user: str, password: bytes, address: str, wanted: Callable[[], bool]) -> bool:
    """Whether the password is right; logs why not. `address` is the client's, empty for a unix socket;
    `wanted`: asked once more when a thread is free, for the client may have left."""
    if method.name == "ldap":
        return bool(_pool("ldap").apply(_if_wanted, (wanted, ldap.check, method.options, user, password)))
    return bool(_pool("pam").apply(_if_wanted, (wanted, pam.check, user, password, address)))


def _if_wanted(wanted: Callable[[], bool], function: Callable[..., bool], *arguments: object) -> bool:
    return wanted() and function(*arguments)


def _pool(name: str) -> ThreadPool:
    pool = _pools.get(name)
    if pool is None:
        pool = _pools[name] = ThreadPool(THREADS, gevent.get_hub())
    return pool
