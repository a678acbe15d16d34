"""Where a program connects: PostgreSQL itself, or pooler before it, behind the same interface."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.wire import Wire

USER = "bouncer"


@dataclass(frozen=True)
class Service:
    """One database as its applications reach it; `pooler` is None where they reach PostgreSQL directly."""

    pg: Postgres
    database: str
    pooler: Pooler | None = None

    @property
    def host(self) -> str:
        return self.pg.host

    @property
    def port(self) -> int:
        return self.pooler.port if self.pooler else self.pg.port

    def dsn(self, **values: object) -> str:
        """A libpq connection string: user bouncer unless said otherwise."""
        place = self.pooler or self.pg
        return place.dsn(**{"user": USER, "dbname": self.database, **values})

    def url(self, scheme: str = "postgresql", user: str = USER, **query: str) -> str:
        """A connection URL, as a DATABASE_URL has it."""
        arguments = "?" + urlencode(query, quote_via=quote) if query else ""
        return f"{scheme}://{user}@{self.host}:{self.port}/{self.database}{arguments}"

    def keywords(self, **more: Any) -> dict[str, Any]:
        """Host, port, user and database by the names that most drivers give them."""
        return {"host": self.host, "port": self.port, "user": USER, "database": self.database, **more}

    def wire(self) -> Wire:
        """A raw connection, logged in."""
        return Wire(socket.create_connection((self.host, self.port)), 30).login(USER, self.database)

    def environment(self) -> dict[str, str]:
        """What libpq's programs and others read from the environment."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGDATABASE": self.database,
            "DATABASE_URL": self.url(),
        }

    def sql(self, text: str, arguments: tuple[object, ...] = (), user: str = USER) -> list[tuple[Any, ...]]:
        """The rows of a query asked of PostgreSQL itself: what the program left there."""
        return self.pg.sql(text, arguments, dbname=self.database, user=user)

    def value(self, text: str, *arguments: object) -> Any:
        """The one value of a query asked of PostgreSQL itself."""
        ((value,),) = self.sql(text, arguments)
        return value
