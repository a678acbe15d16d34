"""Passwords that somebody else keeps: a directory (LDAP), PAM. Asking takes what it takes, so it is done in
threads, of which there are few: a server that hangs holds up its own users, and nobody else.
"""

from __future__ import annotations

import gevent
from gevent.threadpool import ThreadPool

from pooler.protocol.conversation import CheckPassword
from pooler.worker import ldap, pam

#: Of one worker, for each method. More clients wait their turn, as long as their login may take.
THREADS = 16

_pools: dict[str, ThreadPool] = {}


def check(request: CheckPassword, address: str) -> bool:
    """Whether the password is right; logs why not. `address` is the client's, empty for a unix socket."""
    method, user, password = request.method, request.user, request.password
    if method.name == "ldap":
        return bool(_pool("ldap").apply(ldap.check, (method.options, user, password)))
    return bool(_pool("pam").apply(pam.check, (user, password, address)))


def _pool(name: str) -> ThreadPool:
    pool = _pools.get(name)
    if pool is None:
        pool = _pools[name] = ThreadPool(THREADS, gevent.get_hub())
    return pool
