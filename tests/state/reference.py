"""The measure of the leak tests: what PostgreSQL itself answers to the maker of a state and to others."""

from __future__ import annotations

import socket
from dataclasses import replace

from tests.state.kind import Act, Call, Elsewhere, Kind, ask, digest, encode
from tests.support.wire import Wire, message

#: What a session is, as far as the catalogs tell, and what it has left anywhere, in short: equal to that of a
#: fresh one or not. Libraries make their settings known where they were used.
SESSION = """
SELECT pg_backend_pid(), concat_ws(' ', current_user, session_user,
    (SELECT sum(hashtext(name || ' ' || setting)) FROM pg_settings WHERE name !~ '^(plpgsql|pg_trgm)'),
    array(SELECT name FROM pg_prepared_statements WHERE from_sql),
    array(SELECT name FROM pg_cursors WHERE name <> ''),
    array(SELECT pg_listening_channels()))
"""
SETTINGS = "SELECT name, setting FROM pg_settings WHERE name !~ '^(plpgsql|pg_trgm)'"

#: Locks and temporary objects: of a session, and of all there are.
OBJECTS = """
SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'{}),
       array(SELECT classid::regclass || ' ' || objid FROM pg_depend
             WHERE refclassid = 'pg_namespace'::regclass
             AND refobjid IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_temp'{}))
"""
OWN = OBJECTS.format(" AND pid = pg_backend_pid()", " AND oid = pg_my_temp_schema()")
ANYBODYS = OBJECTS.format("", "")
NO_OBJECTS = ["row 0|{}"]


class Place:
    """Where to log in: PostgreSQL itself or the pooler."""

    def __init__(self, host: str, port: int, database: str, timeout_s: float = 10) -> None:
        self.host, self.port, self.database, self.timeout_s = host, port, database, timeout_s

    def client(self, user: str, **startup: str) -> Wire:
        """A client, logged in."""
        wire = Wire(socket.create_connection((self.host, self.port), self.timeout_s), self.timeout_s)
        try:
            return wire.login(user, self.database, **startup)
        except BaseException:
            wire.socket.close()
            raise

    def do(self, statement: str) -> None:
        """Somebody does something."""
        with self.client("bouncer") as wire:
            wire.rows(statement)
            wire.close()


def spell(act: Act, number: int) -> Act:
    """`{n}` in an act is a number, so that its text was never seen before."""
    if isinstance(act, bytes):
        return act
    if isinstance(act, Call | Elsewhere):
        return replace(act, statement=act.statement.replace("{n}", str(number)))
    return act.replace("{n}", str(number))


def make(wire: Wire, kind: Kind, extended: bool, number: int, postgres: Place) -> None:
    """Makes the state of a kind; an AssertionError if that is answered in another way than expected."""
    for position, act in enumerate(kind.make, 1):
        if isinstance(act, Elsewhere):
            postgres.do(act.statement)
            continue
        is_last = position == len(kind.make)
        wire.send(encode(spell(act, number), extended and not kind.simple))
        answer = digest(wire.receive_until(kind.until if is_last else "Z"))
        failed = any(line.startswith("error") for line in answer)
        assert failed == (is_last and (kind.fails or kind.until == "E")), f"{act!r} is answered {answer}"


def can_be_asked(kind: Kind, in_block: bool = False) -> bool:
    """Whether the maker can look for it right after it was made."""
    return kind.until == "Z" and not (kind.hears and in_block)


def look(wire: Wire, kind: Kind, extended: bool, number: int) -> list[str]:
    """What a session sees of the state that another one made."""
    return ask(wire, spell(kind.probe, number), extended)


def look_at_own(wire: Wire, kind: Kind, extended: bool, number: int, postgres: Place) -> list[str]:
    """What its maker sees of it."""
    if kind.hears:
        postgres.do(f'NOTIFY "{kind.hears}"')
        channel, payload = wire.receive_until("A")[-1].body[4:].split(b"\0")[:2]
        return [f"hears {channel.decode()} {payload.decode()}"]
    return ask(wire, spell(kind.seen or kind.probe, number), extended)


def session(wire: Wire) -> tuple[str, str]:
    """Process id of the server, and what it tells about its session."""
    pid, described = wire.rows(SESSION)[0]
    assert pid is not None
    assert described is not None
    return pid.decode(), described.decode("latin-1")


class Reference:
    """Answers of PostgreSQL itself, asked once each."""

    def __init__(self, postgres: Place) -> None:
        self.postgres = postgres
        self._fresh: dict[tuple[str, bool, bool], list[str]] = {}
        self._kept: dict[tuple[str, bool], list[str]] = {}
        self._sessions: dict[str, str] = {}
        self._witnesses: dict[str, Wire] = {}

    def witness(self, user: str) -> Wire:
        """A connection that never had any state."""
        if user not in self._witnesses:
            self._witnesses[user] = self.postgres.client(user)
        return self._witnesses[user]

    def close(self) -> None:
        """The end of all connections."""
        for wire in self._witnesses.values():
            wire.close()

    def prepare(self, kind: Kind) -> None:
        """Asks all about a kind beforehand: once it was made, it may be in the way (locks)."""
        for extended in (False, True):
            self.fresh(kind, extended)
            self.fresh(kind, extended, in_block=True)
            if can_be_asked(kind):
                self.kept(kind, extended)

    def fresh(self, kind: Kind, extended: bool, in_block: bool = False) -> list[str]:
        """What a fresh connection sees, or one in a fresh transaction block."""
        key = (kind.name, extended, in_block)
        if key not in self._fresh:
            wire = self.witness(kind.user)
            if in_block:
                ask(wire, "BEGIN")
            self._fresh[key] = look(wire, kind, extended, 0)
            ask(wire, "ROLLBACK")  # drops the unnamed statement, too
        return self._fresh[key]

    def kept(self, kind: Kind, extended: bool) -> list[str]:
        """What the maker sees."""
        key = (kind.name, extended)
        if key not in self._kept:
            with self.postgres.client(kind.user, **kind.startup) as wire:
                make(wire, kind, extended, 0, self.postgres)
                self._kept[key] = look_at_own(wire, kind, extended, 0, self.postgres)
                wire.send(message("X"))
                wire.expect_closed()  # its locks and slots are gone by then
        return self._kept[key]

    def fresh_own(self, kind: Kind, extended: bool) -> list[str]:
        """What a fresh connection would answer to the question of the maker."""
        if kind.hears:
            return ["hears nothing"]
        with self.postgres.client(kind.user) as wire:
            answer = look_at_own(wire, kind, extended, 0, self.postgres)
            wire.close()
        return answer

    def session(self, user: str) -> str:
        """The session of a fresh connection."""
        if user not in self._sessions:
            self._sessions[user] = session(self.witness(user))[1]
        return self._sessions[user]

    def different(self, wire: Wire, user: str) -> list[str]:
        """The settings that are different from those of a fresh connection."""
        before, after = ask(self.witness(user), SETTINGS), ask(wire, SETTINGS)
        return [line for line in after if line not in before]

    def works(self, statement: str, user: str) -> bool:
        """Whether a statement is possible here."""
        with self.postgres.client(user) as wire:
            answer = ask(wire, statement)
            wire.close()
        return not any(line.startswith("error") for line in answer)
