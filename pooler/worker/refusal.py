"""How a client hears that it cannot come in, and what the log says about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent

from pooler import log
from pooler.errors import ClientFault
from pooler.protocol import messages
from pooler.worker.stream import Hangup

if TYPE_CHECKING:
    from pooler.worker.client import Client

#: Longer than PBKDF2 takes: what is refused while nothing is proven yet is refused at this pace.
PACE_S = 0.05
#: How long the refusal may take to be sent, and then to be read.
TELL_S = 1.0


def tell(client: Client, fault: ClientFault) -> None:
    """Log the fault, tell the client, and close our side."""
    if client.attempted and not client.proven:
        _keep_pace(client)
    client.log_closing(fault.message)
    for note in getattr(fault, "__notes__", ()):
        client.log(note)
    if client.context.config.settings.log_pooler_errors:
        log.warning("C-%d: %s@%s pooler error: %s", client.id, client.name, client.where, fault.message)
    try:
        with gevent.Timeout(TELL_S, False):
            client.stream.send(messages.error(fault.message, fault.sqlstate, fault.severity, fault.detail))
            client.stream.close_sending()
        with gevent.Timeout(TELL_S, False):  # a reset by unread bytes would overtake the message
            while client.sock.recv(4096):
                pass
    except (OSError, Hangup):  # gone already
        return


def _keep_pace(client: Client) -> None:
    """How long a proof took to be found wrong tells what is known of the user: the answer comes at a fixed
    time after what the client said last, or at a multiple of that.
    """
    took_s = time.monotonic() - client.stream.heard_s
    gevent.sleep(PACE_S - took_s % PACE_S)
