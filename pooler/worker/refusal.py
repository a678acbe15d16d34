"""How a client with which Python has gone on hears that it cannot come in, and what the log says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent

from pooler import log
from pooler.errors import ClientFault
from pooler.protocol import messages
from pooler.worker.stream import Hangup, read_to_end

if TYPE_CHECKING:
    from pooler.worker.client import Client

#: How long the refusal may take to be sent, and then to be read.
TELL_S = 1.0


def tell(client: Client, fault: ClientFault) -> None:
    """Log the fault, tell the client, and close our side."""
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
            read_to_end(client.sock)
    except (OSError, Hangup):  # gone already
        return
