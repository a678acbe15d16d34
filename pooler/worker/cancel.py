"""Cancel requests: any worker serves any client's, because the key leads to a row of the shared tables."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Literal

import gevent
from gevent import socket

from pooler import log
from pooler.core import CLOSING, CancelVerdict
from pooler.core.events import CancelAnswer
from pooler.errors import ServerFault
from pooler.ipc.messages import CancelElsewhere
from pooler.protocol import frontend, peer_key
from pooler.protocol.server_login import start_tls
from pooler.protocol.startup import CancelRequest
from pooler.worker import peers
from pooler.worker.address import Address
from pooler.worker.stream import Hangup, Stream, converse, turn_at

if TYPE_CHECKING:
    from pooler.worker.context import WorkerContext

#: How long PostgreSQL may take over one cancel request before it is given up.
FORWARD_S = 10.0
#: What became of a request that was not sent to PostgreSQL, in PgBouncer's words.
OUTCOMES = {
    CancelVerdict.NOTHING: "failed cancel request",
    CancelVerdict.IDLE: "cancel request for idle client",
    CancelVerdict.QUEUED: "canceled a query that waited",
    CancelVerdict.BUSY: "cancel_wait_timeout",
}
#: A second request for the same query waits for the first; it looks again after this.
BUSY_S = 0.02
#: Whoever reaches us may send cancel requests, with any key: so many are served at once per worker, those for
#: peers among them, and so many a second with keys that nobody here has are told to the master, in which the
#: instance that this one replaces may know them.
SERVED_MAX = 200
#: So many of them for one client, or for one peer, and always so many for each PostgreSQL: where one of them
#: hangs, others are served still, whoever has how many clients.
SERVED_EACH_MAX = 40
ELSEWHERE_PER_S = 100
#: The longest key that pooler gives out.
KEY_BYTES_MAX = 32
#: A server that is being closed gets up to so many cancel requests, this far apart.
INSIST_TRIES, INSIST_S = 60, 0.03


#: Where a request goes: a peer by its number, or an instance of PostgreSQL by its row (-1: nowhere).
Place = tuple[Literal["peer", "instance"], int]


class Allowance:
    """How much one worker does for cancel requests."""

    def __init__(self) -> None:
        self.served = 0
        self._each: Counter[int] = Counter()  # of these, by the client's number in its key, or the peer's
        self._places: Counter[Place] = Counter()
        self._left = float(ELSEWHERE_PER_S)
        self._at = time.monotonic()

    def begin(self, target: int, place: Place) -> bool:
        """Whether one more is served now; `end` has to follow."""
        full = self.served >= SERVED_MAX and self._places[place] >= SERVED_EACH_MAX
        if full or self._each[target] >= SERVED_EACH_MAX:
            return False
        self.served += 1
        self._each[target] += 1
        self._places[place] += 1
        return True

    def end(self, target: int, place: Place) -> None:
        """One is over."""
        self.served -= 1
        self._each -= Counter({target: 1})  # forgets those that come to nothing
        self._places -= Counter({place: 1})

    def may_tell(self, now: float) -> bool:
        """Whether the master is to hear of one more key, at `now` (monotonic seconds)."""
        self._left = min(ELSEWHERE_PER_S, self._left + (now - self._at) * ELSEWHERE_PER_S)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def serve(context: WorkerContext, request: CancelRequest) -> str:
    """Cancel what the client with this key is doing (nothing, waiting, running). Returns when that is done,
    with what the log is to tell of it.
    """
    allowance = context.cancels
    if len(request.key) > KEY_BYTES_MAX:
        return OUTCOMES[CancelVerdict.NOTHING]
    peer = _peer_of(context, request)
    target, place = _where(context, request, peer)
    if not allowance.begin(target, place):
        return "too many cancel requests"
    try:
        return _serve(context, request, peer)
    finally:
        allowance.end(target, place)


def _where(context: WorkerContext, request: CancelRequest, peer: int | None) -> tuple[int, Place]:
    """Whom the request is for, as an Allowance counts them."""
    if peer is not None:
        return -peer, ("peer", peer)
    return request.pid, ("instance", context.tables.cancel_instance(request.pid, _own_key(context, request)))


def _own_key(context: WorkerContext, request: CancelRequest) -> bytes:
    """The key as it was given to a client of ours."""
    return peer_key.arrived(request.key) if context.config.settings.peer_id else request.key


def _peer_of(context: WorkerContext, request: CancelRequest) -> int | None:
    """The number of the peer whose client has the key; None: a client of ours."""
    own = context.config.settings.peer_id
    peer = peer_key.peer_of(request.pid)
    return peer if own and peer != own else None


def _serve(context: WorkerContext, request: CancelRequest, peer: int | None) -> str:
    if peer is not None:
        return peers.forward(context, request, peer)
    verdict, slot, generation, row, client_id = _begin(context, request.pid, _own_key(context, request))
    log.debug("cancel request for key %d: %s", request.pid, verdict.name.lower())
    if verdict is CancelVerdict.NOTHING and context.cancels.may_tell(time.monotonic()):
        context.tell_master(CancelElsewhere(request.pid, request.key))
    if verdict is not CancelVerdict.FORWARD:
        return OUTCOMES[verdict]
    try:
        forward(context, slot, generation)
    finally:
        context.tables.cancel_end(slot, generation, row, client_id, context.number)
    return "successfully sent cancel request"


def _begin(context: WorkerContext, pid: int, key: bytes) -> CancelAnswer:
    """What the tables say about the key, once no other request for the same query is under way."""
    if not context.tables.cancel_key_fits(pid, key):
        return CancelAnswer(CancelVerdict.NOTHING)
    secret = int.from_bytes(key[:4], "big")  # by which the tables find it; the rest was compared
    found = context.tables.cancel_begin(pid, secret, context.number)
    with gevent.Timeout(context.config.settings.cancel_wait_timeout or None, False):
        while found.verdict is CancelVerdict.BUSY:
            gevent.sleep(BUSY_S)
            found = context.tables.cancel_begin(pid, secret, context.number)
    return found


def insist(context: WorkerContext, slot: int, generation: int) -> None:
    """Cancel what the server of a slot runs that is being closed, again and again until it has let go.

    One request ends one statement, and a client that sent many in a pipeline leaves as many behind. After
    INSIST_TRIES the janitor goes on, at its slower pace.
    """
    for _ in range(INSIST_TRIES):
        _, now, _, _, state = context.tables.slot(slot)
        if now != generation or state != CLOSING:  # it has ended; what is there now is somebody else's
            return
        forward(context, slot, generation)
        gevent.sleep(INSIST_S)


def forward(context: WorkerContext, slot: int, generation: int) -> None:
    """Have PostgreSQL cancel what the server of `slot` runs.

    PostgreSQL closes the connection of a cancel request after it has sent the signal, and a signal that is
    sent is delivered before the backend can read another command: at end of stream the request is over.
    Where that end does not come, the request may arrive at any time, and the server is not used again.
    """
    now, target, backend_pid, key = context.tables.cancel_target(slot)
    if now != generation or not key:
        return
    address = Address.parse(target)
    on_its_way = False
    patience = gevent.Timeout(FORWARD_S)
    try:
        with patience, socket.socket(address.family, socket.SOCK_STREAM) as sock:
            sock.connect(address.connect_target())
            stream = Stream(sock, ServerFault, context.tls.for_server(address.name), turn_at(target))
            secured = stream.secure is not None and context.tables.slot_secured(slot)[0]
            converse(start_tls("require" if secured else "disable"), stream)
            on_its_way = True
            stream.send(frontend.cancel_request(backend_pid, key))
            stream.wait_for_end()
            on_its_way = False
    except OSError as error:
        log.warning("cancel request to %s failed: %s", target, error.strerror or error)
    except (Hangup, ServerFault) as error:
        log.warning("cancel request to %s failed: %s", target, error)
    except gevent.Timeout as timeout:
        if timeout is not patience:  # of our caller
            raise
        log.warning("cancel request to %s: no answer within %d s", target, FORWARD_S)
    finally:
        if on_its_way:
            context.tables.cancel_doubtful(slot, generation)
