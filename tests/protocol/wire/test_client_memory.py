"""client_memory_limit: who asks for more than that is closed with 53200, and nobody else hears of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.exchange import pooled
from tests.support.health import worker_pids
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, EndOfStream, Message, Wire, bind, close, execute, parse, query

LIMIT = 1 << 20
LARGE = 300_000
RUN = execute() + SYNC
BEYOND = "client needs more memory than client_memory_limit allows"


@pytest.fixture(scope="module")
def pooler(start_pooler: StartPooler) -> Pooler:
    """One worker, so that all clients are of the same."""
    pooler = start_pooler(workers=1, databases={"p0": "pool_size=2"}, client_memory_limit=LIMIT)
    pooler.learn_catalogs("p0")
    return pooler


@pytest.fixture(autouse=True)
def neighbour(pooler: Pooler) -> Iterator[Wire]:
    """Its statement goes on, whatever becomes of others, and so does its worker."""
    before = worker_pids(pooler)
    with pooled(pooler) as wire:
        assert types(prepare(wire, "mine", "SELECT 'unharmed'")) == "1Z"
        yield wire
        assert types(use(wire, "mine")) == "2DCZ"
    assert worker_pids(pooler) == before


@contextlib.contextmanager
def limited(pooler: Pooler, limit: int) -> Iterator[None]:
    """Another limit by reload, for the block."""
    pooler.configure(client_memory_limit=limit)
    try:
        yield
    finally:
        pooler.configure(client_memory_limit=LIMIT)


def types(messages: list[Message]) -> str:
    return "".join(message.type for message in messages)


def prepare(wire: Wire, name: str, text: str) -> list[Message]:
    """Up to ReadyForQuery, or to a FATAL error."""
    wire.send(parse(text, name) + SYNC)
    return answers(wire)


def use(wire: Wire, name: str) -> list[Message]:
    wire.send(bind((), name) + RUN)
    return answers(wire)


def answers(wire: Wire) -> list[Message]:
    received: list[Message] = []
    while not received or received[-1].type != "Z":
        received.append(wire.receive())
        if received[-1].type == "E" and received[-1].fields["S"] == "FATAL":
            wire.expect_closed()
            return received
    return received


def prepare_until_refused(wire: Wire, text: Callable[[int], str], most: int) -> int:
    """Prepares statements until the client is refused; how many it has got."""
    for number in range(most):
        *_, last = prepare(wire, f"n{number}", text(number))
        if last.type == "E":
            assert (last.fields["C"], last.fields["M"]) == ("53200", BEYOND)
            return number
    raise AssertionError(f"{most} statements and no end")


def large(number: int, size: int = LARGE) -> str:
    return f"SELECT {number}, length('{'x' * size}')"


def memory_of(pooler: Pooler, wire: Wire) -> int:
    (row,) = pooler.show("clients", port=wire.socket.getsockname()[1])
    return int(row["memory"])


def test_texts(pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        assert prepare_until_refused(wire, large, 10) == LIMIT // LARGE


def test_names(pooler: Pooler) -> None:
    """Empty texts, and names that cost more."""
    with pooled(pooler) as wire:
        wire.send(b"".join(parse("", f"{number:010000d}") for number in range(200)) + SYNC)
        last = answers(wire)[-1]
        assert (last.type, last.fields["C"]) == ("E", "53200")


def test_a_text_counts_once(pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        for number in range(20):
            assert types(prepare(wire, f"n{number}", large(0))) == "1Z"
        assert LARGE < memory_of(pooler, wire) < 2 * LARGE
        for number in range(20):
            assert memory_of(pooler, wire) > LARGE
            wire.send(close("S", f"n{number}") + SYNC)
            assert types(answers(wire)) == "3Z"
        assert memory_of(pooler, wire) < LARGE


def test_texts_that_are_closed_do_not_count(pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        for number in range(10):
            assert types(prepare(wire, "again", large(number))) == "1Z"
            wire.send(close("S", "again") + SYNC)
            assert types(answers(wire)) == "3Z"
        assert types(prepare(wire, "a", large(10))) == "1Z"
        assert types(wire.query("DEALLOCATE a")) == "CZ"
        for number in range(2):
            assert types(prepare(wire, f"n{number}", large(number))) == "1Z"
        assert types(wire.query("DEALLOCATE ALL")) == "CZ"
        assert memory_of(pooler, wire) < LARGE


def test_a_close_that_is_undone_counts_again(pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        assert types(prepare(wire, "a", large(0))) == "1Z"
        before = memory_of(pooler, wire)
        for _ in range(3):
            wire.send(bind((), "nobody") + close("S", "a") + SYNC)
            assert types(answers(wire)) == "EZ"
        assert types(prepare(wire, "b", "SELECT 1")) == "1Z"
        assert before < memory_of(pooler, wire) < before + 10_000
        assert prepare_until_refused(wire, lambda number: large(number + 1), 10) == LIMIT // LARGE - 1


def test_closed_and_not_answered_yet(pooler: Pooler) -> None:
    """What a pipeline has closed is kept until that is answered."""
    small = limited(pooler, 1 << 18)  # less than what the sockets on the way hold
    with small, pooled(pooler) as wire, pooled(pooler) as holder:
        holder.query("BEGIN; SELECT pg_advisory_xact_lock(4)")
        wire.send(parse("SELECT pg_advisory_xact_lock(4)") + bind() + execute())
        wire.send(
            b"".join(parse(large(number, 100_000), "a") + close("S", "a") for number in range(10)) + SYNC
        )
        last = answers(wire)[-1]
        assert (last.type, last.fields["C"]) == ("E", "53200")
        holder.query("COMMIT")


def test_a_message_that_has_to_be_kept_whole(pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        wire.send(parse("x" * (2 * LIMIT), "a")[:400_000])  # nobody waits for the rest
        last = answers(wire)[-1]
        assert (last.type, last.fields["C"], last.fields["M"]) == ("E", "53200", BEYOND)


def test_notifications_that_are_not_taken(pooler: Pooler, neighbour: Wire) -> None:
    with limited(pooler, 1 << 18), pooled(pooler) as wire:
        wire.query("LISTEN pile")
        wire.query("BEGIN")
        for number in range(60):
            neighbour.query(f"NOTIFY pile, '{number:07900d}'")
        last = answers(wire)[-1]
        assert (last.type, last.fields["C"], last.fields["M"]) == ("E", "53200", BEYOND)


@pytest.mark.parametrize("size", [100_000, 10 * LIMIT])
def test_inserts_pass(pooler: Pooler, neighbour: Wire, size: int) -> None:
    """Nothing of them is kept."""
    neighbour.query("CREATE TABLE IF NOT EXISTS kept_nothing (t text)")
    value = "v" * size
    with pooled(pooler) as wire:
        assert types(wire.query(f"INSERT INTO kept_nothing VALUES ('{value}')")) == "CZ"
        wire.send(parse(f"INSERT INTO kept_nothing VALUES ('{value}')") + bind() + RUN)
        assert types(answers(wire)) == "12CZ"
        assert types(prepare(wire, "a", "INSERT INTO kept_nothing VALUES ($1)")) == "1Z"
        wire.send(bind([value.encode()], "a") + RUN)
        assert types(answers(wire)) == "2CZ"
        assert memory_of(pooler, wire) < LIMIT
    neighbour.query("DROP TABLE kept_nothing")


def test_a_slow_reader_is_waited_for(pooler: Pooler) -> None:
    """Its server is not read on; that is no reason to close it."""
    with limited(pooler, 1 << 18), pooled(pooler, unix=True) as wire:
        wire.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"))
        port = "unix"
        wait_for(
            lambda: any(row["memory"] > 1000 for row in pooler.show("clients", addr=port, state="active"))
        )
        received = wire.receive_until()
        assert types(received) == "T" + "D" * 20000 + "CZ"


def test_a_reload_applies(pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        with limited(pooler, 10 * LIMIT):
            for number in range(10):
                assert types(prepare(wire, f"a{number}", large(number))) == "1Z"
        assert types(use(wire, "a3")) == "2DCZ"  # it keeps what it has,
        assert prepare_until_refused(wire, large, 1) == 0  # and gets no more


def limit_memory(pid: int, more: int) -> None:
    """As the user of that process: root may lack the capability."""
    (size,) = [
        int(line.split()[1]) << 10
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmSize")
    ]
    who = os.stat(f"/proc/{pid}")
    argv = ["prlimit", f"--pid={pid}", f"--as={size + more}:"]
    subprocess.run(argv, user=who.st_uid, group=who.st_gid, check=True)


@pytest.mark.parametrize("more", [10 << 20, 60 << 20])
def test_the_machine_has_no_more(start_pooler: StartPooler, more: int) -> None:
    """Before the limit is reached: the worker lives on."""
    pooler = start_pooler(workers=1, databases={"p0": "pool_size=2"}, client_memory_limit=1 << 30)
    pooler.learn_catalogs("p0")
    with pooled(pooler) as other:
        assert types(prepare(other, "mine", "SELECT 'unharmed'")) == "1Z"
        before = worker_pids(pooler)
        limit_memory(before[0], more)
        for turn in range(2):
            with pooled(pooler) as wire:
                try:
                    for number in range(10):
                        *_, last = prepare(wire, f"n{number}", large(number, 12_000_000 + turn * 1_000_000))
                        if last.type == "E":
                            break
                    assert (last.type, last.fields["C"], last.fields["M"]) == ("E", "53200", "out of memory")
                except (ConnectionResetError, BrokenPipeError, EndOfStream):
                    pass  # it was still sending
            assert types(use(other, "mine")) == "2DCZ"
        assert worker_pids(pooler) == before


def test_all_of_it_has_come_before_it_is_looked_at(pooler: Pooler) -> None:
    """No byte comes any more that could wake the worker when it has seen the head."""
    with pooled(pooler) as wire, pooled(pooler) as one, pooled(pooler) as two:
        for holder in (one, two):
            holder.query("BEGIN")
        wire.send(parse(large(0, 180_000), "a") + SYNC)
        wait_for(lambda: pooler.show("clients", state="waiting"))
        for holder in (one, two):
            holder.query("COMMIT")
        assert types(answers(wire)) == "1Z"
