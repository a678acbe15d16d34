"""Cancel requests for clients of a peer: handed on to it, at most `pool_size` at a time over all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent
from gevent import socket

from pooler import log
from pooler.config.advice import is_own_address
from pooler.core import PeerState
from pooler.protocol import frontend, peer_key
from pooler.worker.address import candidates_at
from pooler.worker.stream import read_to_end

if TYPE_CHECKING:
    from pooler.config.model import Peer
    from pooler.protocol.startup import CancelRequest
    from pooler.worker.context import WorkerContext

#: How long a peer may take over one request before it is given up.
FORWARD_S = 10.0
#: How often a request that waits for its turn looks.
LOOK_S = 0.02


def forward(context: WorkerContext, request: CancelRequest, number: int) -> str:
    """Hand the request on to peer `number`; returns what became of it, for the log."""
    if not peer_key.hops_left(request.key):
        return "failed to forward cancel request because its TTL was exhausted"
    peer = context.config.peers.get(number)
    if peer is None:
        return "could not find peer to forward request to"
    if is_own_address(context.config.settings, peer.host, peer.port):
        return "could not forward request to a peer that is this instance itself"
    row = context.tables.peer_wait(number, context.number)
    if row < 0:
        return "out of memory"
    state = [PeerState.WAITING]
    try:
        return _send(context, request, peer, row, state)
    finally:
        context.tables.peer_done(row, context.number, state[0])


def _send(
    context: WorkerContext, request: CancelRequest, peer: Peer, row: int, state: list[PeerState]
) -> str:
    settings = context.config.settings
    most = settings.default_pool_size if peer.pool_size is None else peer.pool_size
    with gevent.Timeout(settings.cancel_wait_timeout or None, False):
        while not context.tables.peer_connect(row, context.number, most):
            gevent.sleep(LOOK_S)
        state[0] = PeerState.CONNECTING
    if state[0] is PeerState.WAITING:
        return "cancel_wait_timeout"
    patience = gevent.Timeout(FORWARD_S)
    try:
        with patience, _connected(context, peer) as sock:
            context.tables.peer_sent(row, context.number)
            state[0] = PeerState.ACTIVE
            sock.sendall(frontend.cancel_request(request.pid, peer_key.handed_on(request.key)))
            read_to_end(sock)
    except OSError as error:
        log.warning("cancel request to peer %d failed: %s", peer.id, error.strerror or error)
        return "failed to forward cancel request to its peer"
    except gevent.Timeout as timeout:
        if timeout is not patience:  # of our caller
            raise
        log.warning("cancel request to peer %d: no answer within %d s", peer.id, FORWARD_S)
        return "failed to forward cancel request to its peer"
    return "successfully sent cancel request"


def _connected(context: WorkerContext, peer: Peer) -> socket.socket:
    """A connection to the peer; raises OSError with the last reason."""
    reason = OSError("its name was not found")
    for candidate in candidates_at(context, peer.host, peer.port):
        address = candidate.address
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.connect(address.connect_target())
        except OSError as error:
            sock.close()
            reason = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise reason
