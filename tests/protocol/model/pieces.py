"""What clients of the model send in one piece, as tables: hypothesis and the long run draw from the same."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from tests.protocol.model.model import (
    BEGIN,
    CHANGES,
    COMMIT,
    COPY,
    DEALLOCATE_ALL,
    DIVIDE,
    EMPTY,
    MARK,
    READS,
    RELEASE,
    ROLLBACK,
    ROLLBACK_TO,
    SAVEPOINT,
    SYNTAX,
    THREE,
    Backend,
    Op,
)

NAMES = ("a", "b")
STATEMENTS = ("", *NAMES)
PORTALS = ("", "p")
LIMITS = (0, 1, 2, 3, 4)
UNNAMED = (MARK, THREE, EMPTY, SYNTAX, DIVIDE, BEGIN, COMMIT, ROLLBACK, COPY, SAVEPOINT, ROLLBACK_TO, RELEASE)
BY_NAME = tuple(f"{verb} {name}" for verb in ("EXECUTE", "DEALLOCATE") for name in NAMES)
QUERIES = (*UNNAMED, DEALLOCATE_ALL, *BY_NAME)
NAMED = (MARK, THREE, SYNTAX, DIVIDE)

Piece = tuple[Op, ...]
Group = tuple[Piece, ...]


def run(name: str, *first: Op) -> Piece:
    return (*first, Op("B", name), Op("E"))


def in_parts(name: str, portal: str, limits: Iterable[int], synced: bool) -> Piece:
    """Execute after Execute of one portal, which outlives the Syncs between them in a transaction only."""
    runs = [(Op("E", portal=portal, limit=limit), *((Op("S"),) if synced else ())) for limit in limits]
    return (Op("B", name, portal=portal), *(op for ops in runs for op in ops))


#: What drivers send in one piece, and each message alone. One of the groups, then one of it.
PIECES: tuple[Group, ...] = (
    tuple((Op("Q", text=text),) for text in QUERIES),
    tuple(run("", Op("P", text=text)) for text in UNNAMED),
    tuple(run(name) for name in NAMES),
    tuple(run(name, Op("P", name, text)) for name, text in product(NAMES, NAMED)),
    tuple((Op("P", name, text),) for name, text in product(NAMES, NAMED)),
    tuple((Op("P", text=text),) for text in UNNAMED),
    tuple((Op("B", name),) for name in STATEMENTS),
    tuple((Op("DS", name),) for name in STATEMENTS),
    tuple((Op("C", name),) for name in STATEMENTS),
    tuple((Op(kind),) for kind in ("good", "bad", "c", "f", "S", "H", "F", "F0")),
    (
        (Op("Q", text=COPY), Op("good"), Op("c")),
        (Op("Q", text=COPY), Op("bad"), Op("S"), Op("c")),
        (Op("Q", text=COPY), Op("S"), Op("good"), Op("f"), Op("S")),
        (*run("", Op("P", text=COPY)), Op("S"), Op("good"), Op("c"), Op("S")),
        (*run("", Op("P", text=COPY)), Op("S"), Op("bad"), Op("c"), Op("S")),
    ),
    tuple(
        (Op(kind, portal=portal, limit=limit),)
        for kind, portal, limit in product(("E", "DP", "CP"), PORTALS, LIMITS)
    ),
    tuple(
        in_parts(name, portal, limits, synced)
        for name, portal, synced in product(STATEMENTS, PORTALS, (True, False))
        for size in range(4)
        for limits in product(LIMITS, repeat=size)
    ),
    ((Op("S"),),),
    ((Op("S"),),),
)


def about_settings(names: Iterable[str]) -> tuple[Group, ...]:
    """Changes and looks at settings, in all that runs texts."""
    reads = [text for text, name in READS.items() if name in names]
    texts = [*(text for text, changes in CHANGES.items() if changes[0].name in names), *reads * 3]
    return (
        tuple((Op("Q", text=text),) for text in texts),
        tuple(run("", Op("P", text=text)) for text in texts),
        tuple((*run("", Op("P", text=text)), Op("S")) for text in texts),
        tuple((Op("P", "a", text),) for text in reads),
        tuple(
            (Op("Q", text=BEGIN), Op("Q", text=text), Op("Q", text=end))
            for text, end in product(texts, (COMMIT, ROLLBACK))
        ),
        tuple(
            (
                Op("Q", text=BEGIN),
                Op("Q", text=SAVEPOINT),
                Op("Q", text=text),
                Op("Q", text=end),
                Op("Q", text=COMMIT),
            )
            for text, end in product(texts, (DIVIDE, ROLLBACK_TO, RELEASE))
        ),
    )


class Order:
    """Leaves out what PostgreSQL 18 does not survive, and puts in what it needs.

    A Query or FunctionCall never follows an Execute without Sync: PostgreSQL loses its snapshots there, and
    the next Query of the session fails (XX000). The portal that a Query leaves which failed in a transaction
    is not used: PostgreSQL reads the freed text of the Query, which may end it and all other backends.
    """

    def __init__(self, model: Backend) -> None:
        self.model = model
        self._executed = False

    def take(self, op: Op) -> list[Op]:
        """What is sent for this message: with a Sync before it, or nothing. The model has taken it, too."""
        portal = self.model.portals.get(op.portal)
        if op.kind in ("E", "DP") and portal is not None and portal.left:
            return []
        ops = [Op("S"), op] if op.kind in ("Q", "F", "F0") and self._executed else [op]
        for each in ops:
            ends = each.kind == "S" and not self.model.copy  # one inside a COPY is none
            self._executed = each.kind == "E" or (self._executed and not ends)
            self.model.take(each)
        if len(ops) > 1:
            self._executed = False
        return ops


def script_of(pieces: Iterable[Iterable[Op]]) -> list[Op]:
    """The pieces in a row, as PostgreSQL survives them."""
    order = Order(Backend(""))
    return [sent for piece in pieces for op in piece for sent in order.take(op)]
