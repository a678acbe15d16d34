"""TLS of a worker: contexts of the configuration in force, and handshakes that delay no other client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from pooler import tls
from pooler.config.tls import TlsSetup
from pooler.core import TlsContext, TlsSession

#: Threads that compute handshakes and passwords leave the cores to the relay, which serves running queries.
BACKGROUND_NICE = 10

#: Makes a session for one connection, when it is time for it.
MakeSession = Callable[[], TlsSession]

_here = threading.local()


class Contexts:
    """What connections are made with from now on; those that exist keep what they began with."""

    def __init__(self, setup: TlsSetup) -> None:
        self.client: TlsContext | None = tls.client_context(setup.client)
        self.server: TlsContext | None = tls.server_context(setup.server)
        self.setup = setup

    def adopt(self, setup: TlsSetup) -> None:
        """Another configuration, as it was tried out by the master."""
        if setup.client != self.setup.client:
            self.client = tls.client_context(setup.client)
        if setup.server != self.setup.server:
            self.server = tls.server_context(setup.server)
        self.setup = setup

    def for_server(self, host: str | None) -> MakeSession | None:
        """For a connection to PostgreSQL on `host` (None: a unix socket); None: it is to be plain."""
        context, match = self.server, self.setup.server.mode == "verify-full"
        if context is None or host is None:
            return None
        return lambda: context.session(host, match)


def in_background() -> None:
    """Called in a thread of the pool: its work yields to the relay's."""
    if not getattr(_here, "nice", False):
        _here.nice = True
        thread = threading.get_native_id()
        niceness = max(BACKGROUND_NICE, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
