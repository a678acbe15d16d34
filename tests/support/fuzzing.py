"""A seeded byte fuzzer: streams of well-behaved clients and servers, bent, cut and sent to a living pooler.

The same seed gives the same bytes. What the pooler makes of them is judged afterwards: see `check`.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from pooler.dev.processes import account, workplace
from tests.support.fakeserver import ANSWER, AUTH_OK, WELCOME, Peer, authentication, error, parameter
from tests.support.health import (
    assert_consistent,
    assert_no_bugs,
    descriptor_counts,
    restarts,
    wait_for_descriptors,
    wait_until_empty,
    wait_until_slots_work,
)
from tests.support.lying import LyingServers, lied_to
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import (
    FLUSH,
    GSSENC_REQUEST,
    SSL_REQUEST,
    SYNC,
    TERMINATE,
    bind,
    close,
    describe,
    execute,
    message,
    parse,
    query,
    startup,
    untyped,
)

#: Pools in each mode, all of the same size; the console by a user who may only look.
DATABASES = {
    "p0": "pool_size=3",
    "p2": "pool_size=3 pool_mode=session",
    "p3": "pool_size=3 pool_mode=statement",
}
POOL_SIZE = 3

#: The shared table of databases has about a thousand rows.
MAX_DATABASES = 500

#: Databases whose servers lie: pools are new for most seeds, so that nobody backs off.
LIAR_DATABASES = 400

#: Clients that are under way at the same time, so that what one leaves behind meets another.
AT_ONCE = 6

EXTENDED = parse("SELECT $1::text") + bind([b"value"]) + describe() + execute()

#: What clients send once they are logged in.
SESSIONS: dict[str, Sequence[bytes]] = {
    "simple": (query("SELECT 1"), query(""), query("SELECT 1; SELECT 2"), query("x")),
    "transaction": (query("BEGIN"), query("SELECT 1"), query("SELECT 1/0"), query("ROLLBACK")),
    "extended": (EXTENDED, SYNC, EXTENDED, FLUSH, SYNC),
    "named": (parse("SELECT 1", "s"), describe("S", "s"), bind(name="s"), execute(), close("S", "s"), SYNC),
    "portal": (query("BEGIN"), parse("SELECT generate_series(1, 9)"), bind(), execute(max_rows=2), FLUSH),
    "failing": (parse("SELECT nonsense"), bind(), execute(), SYNC, query("SELECT 1")),
    "copy in": (
        query("CREATE TEMP TABLE t (n int); COPY t FROM STDIN"),
        message("d", b"1\n2\n"),
        message("c"),
        query("DISCARD ALL"),
    ),
    "copy fail": (query("COPY pg_class FROM STDIN"), message("d", b"x"), message("f", "no"), SYNC),
    "copy out": (query("COPY (SELECT generate_series(1, 5000)) TO STDOUT"), query("SELECT 1")),
    "large result": (query("SELECT repeat('x', 100) FROM generate_series(1, 5000)"), SYNC),
    "settings": (query("SET TimeZone = 'Europe/Berlin'"), query("SHOW TimeZone"), query("RESET ALL")),
    "function call": (message("F", struct.pack("!IHHH", 1598, 0, 0, 0)), query("SELECT 1")),
    "sleep": (query("SELECT pg_sleep(0.01)"), query("SELECT pg_sleep(1)")),
    "console": (query("SHOW POOLS"), query("SHOW CLIENTS"), query("SHOW HELP"), query("RELOAD")),
}

#: What clients begin with.
OPENINGS = (
    startup(),
    startup(application_name="fuzz", client_encoding="UTF8", options="-c TimeZone=UTC"),
    untyped(SSL_REQUEST),
    untyped(GSSENC_REQUEST),
    untyped(80877102, struct.pack("!II", 1, 2)),
)

#: What servers send: a login, then an answer.
SERVER_STREAMS = (
    WELCOME + ANSWER,
    authentication(3) + WELCOME + ANSWER,
    authentication(5, b"salt") + WELCOME,
    authentication(10, b"SCRAM-SHA-256\0\0") + authentication(11, b"r=x,s=QUJD,i=4096") + AUTH_OK,
    error(b"SFATAL\0C28P01\0Mno\0\0"),
    WELCOME + parameter("TimeZone", "UTC") + message("N", b"SNOTICE\0Mhi\0\0") + ANSWER + ANSWER,
    WELCOME + message("G", b"\0\0\0") + ANSWER,
)

INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0\0\0",
    b"\0\0\0\4",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The stream with a few bytes changed, put in, taken out, doubled or cut off."""
    result = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(result) + 1)
        what = chance.randrange(7)
        if what == 0 and at < len(result):
            result[at] ^= 1 << chance.randrange(8)
        elif what == 1 and at < len(result):
            result[at] = chance.randrange(256)
        elif what == 2:
            token = chance.choice(INTERESTING)
            result[at : at + len(token)] = token
        elif what == 3:
            result[at:at] = chance.randbytes(chance.choice((1, 2, 4, 64)))
        elif what == 4:
            del result[at : at + chance.choice((1, 2, 4, 64))]
        elif what == 5:
            result[at:at] = result[at : at + chance.choice((5, 20, 200))]
        elif at:
            del result[at:]
    return bytes(result)


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    """The stream as it is sent: in one, in several, or (short ones) in single bytes."""
    if len(data) < 80 and chance.random() < 0.1:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 3))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def client_stream(chance: random.Random) -> bytes:
    """Everything one client sends."""
    session = chance.choice(sorted(SESSIONS))
    database = "pgbouncer" if session == "console" else chance.choice(sorted(DATABASES))
    opening = startup(database=database)
    messages = list(SESSIONS[session])
    if chance.random() < 0.3:
        chance.shuffle(messages)
    if chance.random() < 0.2:
        messages += SESSIONS[chance.choice(sorted(SESSIONS))]
    if chance.random() < 0.5:
        messages.append(TERMINATE)
    if chance.random() < 0.3:
        return mutated(chance.choice(OPENINGS) + opening + b"".join(messages), chance)
    return opening + mutated(b"".join(messages), chance)


def server_script(seed: int) -> bytes:
    """Everything one server sends."""
    chance = random.Random(f"server {seed}")
    return mutated(chance.choice(SERVER_STREAMS), chance)


class BentServers:
    """A script for the fake server: each connection sends the stream of `seed`, and waits a moment."""

    def __init__(self) -> None:
        self.seed = 0

    def __call__(self, peer: Peer) -> None:
        peer.socket.settimeout(0.3)
        peer.send(server_script(self.seed))
        peer.wait_for_end()


class Fuzzer:
    """Sends bent streams to a pooler."""

    def __init__(self, pooler: Pooler, pg: Postgres) -> None:
        self.pooler = pooler
        self.pg = pg
        for database in DATABASES:
            wait_until_empty(pooler, pg, database)
        self.before = descriptor_counts(pooler)

    def clients(self, seed: int) -> None:
        """A handful of clients at once, each with a stream of its own, then they leave one way or another."""
        chance = random.Random(seed)
        under_way = []
        for _ in range(chance.randint(1, AT_ONCE)):
            sock = socket.create_connection((self.pooler.host, self.pooler.port), 5)
            under_way.append((sock, pieces(client_stream(chance), chance)))
        while under_way:
            sock, parts = chance.choice(under_way)
            if parts and _sent(sock, parts.pop(0), chance):
                continue
            under_way.remove((sock, parts))
            _leave(sock, chance)

    def client_of_bent_server(self, servers: BentServers, seed: int) -> None:
        """One client of a database that the fake server answers for; pools are new, so nobody backs off."""
        servers.seed = seed
        with self.pooler.wire(timeout_s=0.2) as wire:
            wire.send(startup(database=f"bent{seed % MAX_DATABASES}"), query("SELECT 1"))
            with contextlib.suppress(Exception):  # whatever it reads is nonsense
                while True:
                    wire.receive()

    def client_of_liar(self, liars: LyingServers, seed: int) -> None:
        """One client of a database whose server lies as this seed has it."""
        liars.seed = seed
        lied_to(self.pooler, f"liar{seed % LIAR_DATABASES}", seed)

    def check(self) -> None:
        """Nothing is lost: no worker, no slot, no client's row, no descriptor; no bug in the log."""
        assert_no_bugs(self.pooler)
        assert restarts(self.pooler) == 0, self.pooler.story()
        for database in DATABASES:
            assert_consistent(self.pooler, self.pg, database, timeout_s=15)
        for database in ("p0", "p2"):
            wait_until_slots_work(self.pooler, POOL_SIZE, database)
        self.pooler.console("RECONNECT")
        wait_for(lambda: not self.pooler.show("slots"), 10, "the end of all slots")
        wait_for_descriptors(self.pooler, self.before)


def _sent(sock: socket.socket, part: bytes, chance: random.Random) -> bool:
    """Sends a piece, perhaps reads what has come; False when the pooler has closed."""
    try:
        sock.sendall(part)
        if chance.random() < 0.4:
            sock.settimeout(0.002)
            with contextlib.suppress(TimeoutError):
                return bool(sock.recv(65536))
            sock.settimeout(5)
    except OSError:
        return False
    return True


def _leave(sock: socket.socket, chance: random.Random) -> None:
    how = chance.randrange(3)
    with sock, contextlib.suppress(OSError):
        if how == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == 2:
            sock.shutdown(socket.SHUT_WR)


def in_workplace(run: Callable[[Path, Namespace], int], options: Namespace) -> int:
    """What `run` returns; nothing of its work is left."""
    with workplace(account(), "pooler-fuzz-") as work:
        return run(work, options)
