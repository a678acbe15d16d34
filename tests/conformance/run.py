"""Runs the clients of a case, directly or through the pooler, and writes down what they receive."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.conformance.case import Case, Parameters
from tests.conformance.neighbours import Gang
from tests.conformance.transcript import Transcript
from tests.support.exchange import THE_END, Script, Step
from tests.support.wire import EndOfStream, Message, Wire

#: Logs a client in: user, startup parameters.
Login = Callable[[str, Parameters], Wire]


class Client:
    """A client under test."""

    def __init__(self, who: str, wire: Wire, transcript: Transcript, gang: Gang | None) -> None:
        self.who = who
        self.wire = wire
        self.in_transaction = False
        self.over = False
        self._transcript = transcript
        self._gang = gang
        transcript.login(who, wire.backend_key[0], wire.parameters)

    def take(self, step: Step) -> None:
        """Sends what the step says and receives until all that it waits for has come."""
        try:
            if step.data:
                self._transcript.sent(self.who, step.data)
                self.wire.send(step.data)
            for kind in step.until:
                if self._receive_until(kind) != kind:
                    break
        except (EndOfStream, ConnectionError):
            self._over("closed")
        except TimeoutError:
            self._over("nothing comes")

    def _receive_until(self, kind: str) -> str:
        """Receives up to the first message of that kind, or to the reply's end if there is none in it."""
        while True:
            message = self._receive()
            self._transcript.received(self.who, message)
            if message.type == "Z":
                self.in_transaction = message.body != b"I"
            if message.type == kind or (message.type == "Z" and kind != "A"):
                return message.type

    def _receive(self) -> Message:
        return self._gang.receive(self.wire) if self._gang else self.wire.receive()

    def _over(self, what: str) -> None:
        self._transcript.event(self.who, what)
        self.over, self.in_transaction = True, False
        self.wire.socket.close()

    def close(self) -> None:
        if not self.over:
            self.over = True
            self.wire.close()


def run(script: Script, case: Case, login: Login, gang: Gang | None = None) -> list[str]:
    """The transcript of a script, with the trouble that neighbours had."""
    transcript = Transcript()
    names = list(dict.fromkeys(["a", *(step.who for step in script)]))
    with contextlib.ExitStack() as stack:
        clients: dict[str, Client] = {}
        for name in names:
            wire = login(case.user, case.startup.get(name, {}))
            stack.callback(wire.socket.close)
            clients[name] = Client(name, wire, transcript, gang)
        try:
            for step in [*script, *(Step(THE_END.data, THE_END.until, name) for name in names)]:
                if not clients[step.who].over:
                    _disturbed(step, clients, gang)
            for client in clients.values():
                client.close()
            if gang:
                transcript.lines += gang.finish()
        except BaseException:
            if gang:
                gang.close()
            raise
    return transcript.lines


def _disturbed(step: Step, clients: Mapping[str, Client], gang: Gang | None) -> None:
    client = clients[step.who]
    if gang is None:
        client.take(step)
        return
    gang.before(sum(one.in_transaction for one in clients.values()))
    client.take(step)
    gang.after()


def assert_same(expected: list[str], got: list[str]) -> None:
    """The transcripts are the same; tells the first difference."""
    found = difference(expected, got)
    if found:
        raise AssertionError(found)


def difference(expected: list[str], got: list[str], context: int = 6) -> str:
    """The first difference of two transcripts, with what came before; empty if there is none."""
    for number in range(max(len(expected), len(got))):
        wanted, seen = expected[number : number + 1], got[number : number + 1]
        if wanted != seen:
            before = [f"    {line}" for line in expected[max(0, number - context) : number]]
            return "\n".join(
                [
                    "",
                    *before,
                    f"  directly:       {_first(wanted)}",
                    f"  through pooler: {_first(seen)}",
                    *_rest("  directly then:  ", expected[number + 1 : number + 4]),
                    *_rest("  pooler then:    ", got[number + 1 : number + 4]),
                ]
            )
    return ""


def _first(lines: list[str]) -> Any:
    return lines[0] if lines else "(nothing more)"


def _rest(label: str, lines: Iterable[str]) -> list[str]:
    return [label + line for line in lines]
