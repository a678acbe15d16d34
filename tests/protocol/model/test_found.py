"""Scripts with which the model has found faults: they came to light by chance, and are tried each time."""

from __future__ import annotations

import pytest

from tests.protocol.model.drive import Part, run_parts
from tests.protocol.model.model import (
    BEGIN,
    COMMIT,
    COPY,
    DEALLOCATE_ALL,
    DIVIDE,
    EMPTY,
    MARK,
    ROLLBACK,
    SYNTAX,
    Op,
)
from tests.protocol.model.test_model import pooler
from tests.protocol.wire.conftest import start_pooler
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres

__all__ = ["pooler", "start_pooler"]

SYNC, RUN, FAILS = Op("S"), [Op("B"), Op("E")], [Op("P", text=SYNTAX)]
GOOD, BAD, DONE, ASK = Op("good"), Op("bad"), Op("c"), Op("Q", text=MARK)
COPIES = [Op("P", text=COPY), *RUN]
SIMPLE_COPY = Op("Q", text=COPY)
PARSES = [Op("P", "a", MARK), Op("B", "a"), Op("E")]


def part(*writes: list[Op], end: str = "terminate") -> Part:
    return Part([op for write in writes for op in write], [len(write) for write in writes], end)


#: One after the other on one server; the parts of a group take turns, write by write.
FOUND: dict[str, list[list[Part]]] = {
    "a Parse waits for answers, the COPY before it for data": [
        [part([Op("P", "a", MARK), SYNC], [Op("P", text=COPY), *RUN, Op("P", "a", MARK)])]
    ],
    "CopyFail ends no COPY, and a Parse waits for it": [
        [part([Op("P", "a", MARK), Op("B", "a"), Op("E"), Op("f"), Op("P", "a", MARK)])]
    ],
    "the Query that would have ended another's unnamed statement is skipped": [
        [part([Op("P", text=MARK), *RUN, SYNC])],
        [part([Op("B", "b"), Op("Q", text=EMPTY), SYNC, *RUN, SYNC])],
    ],
    "the Parse that would have replaced another's unnamed statement is skipped": [
        [part([Op("P", text=MARK), *RUN, SYNC])],
        [part([Op("B", "b"), Op("P", text=MARK), SYNC, Op("DS"), SYNC, *RUN, SYNC])],
    ],
    "a statement that a server has lost is parsed behind an error": [
        [
            part([Op("P", "a", MARK), SYNC], [*FAILS, Op("B", "a"), SYNC, Op("B", "a"), Op("E"), SYNC]),
            part([Op("Q", text=DEALLOCATE_ALL)]),
        ]
    ],
    "so it is, and executed by a Query": [
        [
            part([Op("P", "a", MARK), SYNC], [*FAILS, Op("B", "a"), SYNC, Op("Q", text="EXECUTE a")]),
            part([Op("Q", text=DEALLOCATE_ALL)]),
        ]
    ],
    "a Close is skipped behind an error, and a Query executes what it did not close": [
        [
            part(
                [Op("P", "a", MARK), SYNC],
                [Op("B", "b"), Op("C", "a"), SYNC, Op("Q", text="EXECUTE a"), SYNC],
            )
        ]
    ],
    "a transaction that has failed ends, and a Query executes in the same write": [
        [
            part(
                [Op("P", "a", MARK), SYNC, Op("Q", text=BEGIN), Op("Q", text=SYNTAX)],
                [Op("Q", text=ROLLBACK), Op("Q", text="EXECUTE a")],
            )
        ]
    ],
    "a text that two names have is skipped for one of them, and the other one is there where nothing runs": [
        [
            part(
                [Op("P", "b", MARK), SYNC, Op("Q", text=BEGIN)],
                [
                    Op("B", "a"),
                    Op("P", "a", MARK),
                    SYNC,
                    Op("P", "b", SYNTAX),
                    SYNC,
                    Op("P", "b", COMMIT),
                    SYNC,
                ],
            )
        ]
    ],
    "a statement that its server does not have is used behind DEALLOCATE ALL": [
        [part([Op("P", "a", MARK), SYNC]), part([], [Op("Q", text=DEALLOCATE_ALL)])],
        [
            part([Op("P", "a", MARK), SYNC], [], [Op("Q", text=DEALLOCATE_ALL), Op("B", "a"), SYNC]),
            part([], [Op("Q", text=DEALLOCATE_ALL)]),
        ],
        [
            part([Op("P", "a", MARK), SYNC], [], [Op("Q", text=DEALLOCATE_ALL), Op("Q", text="EXECUTE a")]),
            part([], [Op("Q", text=DEALLOCATE_ALL)]),
        ],
    ],
    "an unnamed statement is parsed behind a RESET, its Sync and a CopyDone that ends nothing": [
        [
            part(
                [
                    Op("P", text="RESET my.custom"),
                    Op("B"),
                    SYNC,
                    Op("c"),
                    Op("P", text=MARK),
                    SYNC,
                    Op("B"),
                    SYNC,
                ]
            )
        ]
    ],
    "what an unnamed statement will set counts before it is parsed, which cannot be repeated": [
        [part([Op("P", "a", MARK), Op("P", text="RESET my.custom"), *RUN, SYNC, Op("B"), SYNC])]
    ],
    "a Query that waits lets its server go, and has ended no unnamed statement yet": [
        [
            part([*RUN, SYNC]),
            part([Op("P", "a", SYNTAX), SYNC, Op("Q", text="EXECUTE a"), Op("P", text=MARK), SYNC]),
        ]
    ]
    * 10,
    "behind the Sync of a COPY that fails there is a Query": [
        [part([*COPIES], [BAD, SYNC, ASK])],
        [part([*COPIES, SYNC], [BAD, DONE, SYNC, ASK])],
        [part([*COPIES, SYNC, BAD, DONE, SYNC, ASK, *PARSES, SYNC])],
        [part([*COPIES, BAD, SYNC, ASK])],
        [part([SIMPLE_COPY], [BAD, SYNC, ASK])],
        [part([SIMPLE_COPY], [BAD, SYNC, SYNC, DONE, ASK])],
        [part([SIMPLE_COPY, BAD, SYNC, ASK])],
    ],
    "or a Parse": [
        [part([*COPIES], [BAD, SYNC, *PARSES, SYNC])],
        [part([*COPIES, SYNC, BAD, SYNC, *PARSES, SYNC])],
        [part([SIMPLE_COPY], [BAD, SYNC, *PARSES, SYNC])],
    ],
    "Syncs among the data leave it open whether what follows is skipped": [
        [part([*COPIES, SYNC], [BAD, DONE, ASK, *PARSES, SYNC])],
        [part([*COPIES], [SYNC, BAD, ASK, *PARSES, SYNC, *PARSES])],
        [part([*COPIES], [SYNC, BAD, SYNC, ASK, *PARSES, SYNC, ASK])],
        [part([Op("Q", text=BEGIN), *COPIES], [SYNC, BAD, ASK, *PARSES, SYNC, ASK])],
    ],
    "a COPY fails behind one whose end is on its way, and a Sync is among its data": [
        [part([SIMPLE_COPY], *[[GOOD]] * 200, [DONE, SIMPLE_COPY, SYNC, GOOD, Op("f"), SYNC, *PARSES, SYNC])],
        [part([*COPIES], *[[GOOD]] * 200, [DONE, *COPIES, SYNC, BAD, DONE, SYNC, *PARSES, SYNC, ASK])],
        [part([SIMPLE_COPY], *[[GOOD]] * 200, [DONE, *COPIES, SYNC, BAD, SYNC, ASK, *PARSES, SYNC])],
        [part([*COPIES, SYNC], [GOOD], [DONE, SYNC, SIMPLE_COPY, SYNC, BAD, SYNC, ASK])],
    ],
    "a Close that no server is asked stands behind a COPY": [
        [part([Op("P", "a", MARK), SYNC], [SIMPLE_COPY, Op("C", "a"), SYNC])],
        [part([Op("P", "a", MARK), SYNC], [SIMPLE_COPY, BAD, Op("C", "a"), SYNC, ASK])],
        [
            part(
                [Op("P", "a", MARK), SYNC],
                [SIMPLE_COPY, BAD, Op("C", "a"), SIMPLE_COPY, SYNC, GOOD, Op("f"), SYNC, ASK],
            )
        ],
        [part([Op("P", "a", MARK), SYNC], [SIMPLE_COPY, BAD, Op("C", "a"), SIMPLE_COPY, GOOD, DONE, ASK])],
    ],
    "a transaction has failed, and what the Parse for an EXECUTE needs is set in vain": [
        [
            part(
                [Op("P", "a", MARK), SYNC],
                [
                    *(Op("Q", text=BEGIN), Op("B", "b"), Op("P", text="RESET my.custom"), *RUN, SYNC),
                    *(Op("Q", text="EXECUTE a"), ASK, Op("Q", text=COMMIT), Op("Q", text="EXECUTE a")),
                ],
            )
        ]
    ],
    "a text that two names have is skipped for one of them, and parsed again for a Query, in vain": [
        [
            part(
                [
                    *(Op("Q", text=BEGIN), Op("P", "b", DIVIDE), Op("B", "b"), Op("P", "a", DIVIDE)),
                    *(Op("P", "a", MARK), SYNC, Op("Q", text="EXECUTE b"), Op("B", "b"), SYNC),
                ]
            )
        ]
    ],
}


@pytest.mark.parametrize("database", ["one", "off"])
@pytest.mark.parametrize("name", FOUND)
def test_found(pooler: Pooler, running_postgres: Postgres, name: str, database: str) -> None:
    if database == "one":
        pooler.learn_catalogs(database)  # before, texts are shared by nobody
    for group in FOUND[name]:
        run_parts(pooler, running_postgres, database, group, compare=len(group) == 1)
