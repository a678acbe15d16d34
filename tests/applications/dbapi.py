"""Short ways to say things with psycopg2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from tests.support.service import Service


def open_to(service: Service, **values: object) -> contextlib.closing[Connection]:
    """A connection, closed at the end of the block."""
    return contextlib.closing(psycopg2.connect(service.dsn(**values)))


@contextlib.contextmanager
def autocommit(service: Service) -> Iterator[Connection]:
    """A connection in autocommit mode, closed at the end of the block."""
    with open_to(service) as connection:
        connection.autocommit = True
        yield connection


def run(connection: Connection, text: str, *arguments: object) -> list[tuple[Any, ...]]:
    """The rows of a command; [] if it has none."""
    with connection.cursor() as cursor:
        cursor.execute(text, arguments or None)
        return cursor.fetchall() if cursor.description else []


def one(connection: Connection, text: str, *arguments: object) -> Any:
    """The first column of the first row."""
    return run(connection, text, *arguments)[0][0]
