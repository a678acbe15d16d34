"""Other clients of a small pool: together they hold all of its servers, and so lead a client to each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import cycle

from tests.support.exchange import Script, Send, at_once, pooled
from tests.support.pooler import Pooler
from tests.support.wire import Message, Wire


def run(wire: Wire, script: Script, send: Send = at_once) -> list[Message]:
    """Runs a script and nothing else; everything that came back."""
    received: list[Message] = []
    for step in script:
        send(wire, step.data)
        for kind in step.until:
            received += wire.receive_until(kind)
    return received


def types(messages: list[Message]) -> str:
    return "".join(message.type for message in messages)


class Others:
    """As many other clients as there are servers: together in transactions they hold all of them."""

    def __init__(self, pooler: Pooler, database: str, servers: int) -> None:
        self.wires = [pooled(pooler, database) for _ in range(servers)]

    def __enter__(self) -> Others:
        return self

    def __exit__(self, *error: object) -> None:
        for wire in self.wires:
            wire.close()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """All servers are in a transaction of one of them."""
        for wire in self.wires:
            wire.query("BEGIN")
        yield
        for wire in self.wires:
            wire.query("COMMIT")

    def everywhere(self, *scripts: Script) -> None:
        """Runs each script on every server."""
        with self.busy():
            for wire in self.wires:
                for script in scripts:
                    assert "E" not in types(run(wire, script))

    def on_each(self, act: Callable[[], list[Message]]) -> list[Message]:
        """Lets somebody act once on every server, one after the other."""
        return [message for answers in self.each(act) for message in answers]

    def each(self, act: Callable[[], list[Message]]) -> list[list[Message]]:
        """The same, with the answers of each time apart."""
        received = []
        with self.busy():
            for wire in self.wires:
                wire.query("COMMIT")
                received.append(act())
                wire.query("BEGIN")
        return received

    def lead(self, wire: Wire, script: Script, send: Send = at_once) -> list[Message]:
        """Runs a script, every transaction of it on the next server, which somebody else used in between."""
        received: list[Message] = []
        holders = cycle(self.wires)
        inside = False
        with self.busy():
            for step in script:
                if not inside:
                    holder = next(holders)
                    holder.query("COMMIT")
                received += run(wire, [step], send)
                inside = received[-1].type != "Z" or received[-1].body != b"I"
                if not inside:
                    holder.query("BEGIN")
        return received
