"""Runs the clients of a case, directly or through the pooler, and writes down what they receive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.protocol.conformance.case import Case, Leave, Parameters, Scene
from tests.protocol.conformance.neighbours import Gang, depart
from tests.protocol.conformance.transcript import Transcript, notifications_last, settled
from tests.support.exchange import THE_END, Step
from tests.support.wire import EndOfStream, LoginRefused, Message, Wire

#: Logs a client in: user, startup parameters.
Login = Callable[[str, Parameters], Wire]
#: Waits until nobody holds that advisory lock; False if somebody goes on holding it.
Gone = Callable[[int], bool]


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

    def leave(self, how: str) -> None:
        """Goes, if it is still there."""
        if not self.over:
            self.over, self.in_transaction = True, False
            depart(self.wire, how)


class Conversation:
    """The clients of one run of a case."""

    def __init__(self, case: Case, login: Login, gang: Gang | None) -> None:
        self._case = case
        self._login = login
        self._gang = gang
        self._transcript = Transcript()
        self._clients: dict[str, Client] = {}
        self._refused: set[str] = set()

    def enter(self, who: str) -> None:
        """A client logs in; who is refused takes part no more."""
        try:
            wire = self._login(self._case.user, self._case.startup.get(who, {}))
        except LoginRefused as refused:
            self._transcript.received(who, refused.error)
            self._refused.add(who)
            return
        if self._gang:
            self._gang.meet(wire)
        self._clients[who] = Client(who, wire, self._transcript, self._gang)

    def step(self, step: Step) -> None:
        """One step, with neighbours around it."""
        if step.who not in self._clients.keys() | self._refused:
            self.enter(step.who)
        if step.who in self._refused:
            return
        client = self._clients[step.who]
        if client.over:
            return
        if self._gang:
            self._gang.before(sum(one.in_transaction for one in self._clients.values()))
        client.take(step)
        if self._gang:
            self._gang.after()

    def leave(self, leave: Leave, gone: Gone) -> None:
        """One goes and is forgotten, so that its next step is another session's."""
        client = self._clients.pop(leave.who, None)
        if client:
            client.leave(leave.how)
            if not gone(leave.key):
                self._transcript.event(leave.who, "its lock is still there")

    def end(self) -> list[str]:
        """All go; the transcript, with the trouble that neighbours had."""
        for client in self._clients.values():
            client.leave("terminate")
        lines = self._transcript.lines
        if self._case.notified_late:
            lines = notifications_last(lines)
        return [*lines, *(self._gang.finish() if self._gang else [])]

    def abandon(self) -> None:
        """An error of the harness itself."""
        for client in self._clients.values():
            client.leave("fin")
        if self._gang:
            self._gang.close()


def run(scenes: Iterable[Scene], case: Case, login: Login, gone: Gone, gang: Gang | None = None) -> list[str]:
    """The transcript of a case in one of the worlds."""
    scenes = list(scenes)
    conversation = Conversation(case, login, gang)
    names = list(dict.fromkeys(["a", *(scene.who for scene in scenes)]))
    try:
        for name in names:
            conversation.enter(name)
        for scene in [*scenes, *(Step(THE_END.data, THE_END.until, name) for name in names)]:
            if isinstance(scene, Leave):
                conversation.leave(scene, gone)
            else:
                conversation.step(scene)
        return conversation.end()
    except BaseException:
        conversation.abandon()
        raise


def assert_same(expected: list[str], got: list[str]) -> None:
    """The transcripts are the same; tells the first difference."""
    found = difference(expected, got)
    if found:
        raise AssertionError(found)


def difference(expected: list[str], got: list[str], context: int = 6) -> str:
    """The first difference of two transcripts, with what came before; empty if there is none."""
    expected, got = settled(expected), settled(got)
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
