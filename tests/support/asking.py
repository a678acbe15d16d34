"""A pooler that looks its users up in PostgreSQL (auth_query)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pooler.dev.postgres import SUPERUSER
from tests.support.pooler import Pooler


class Asking(Pooler):
    """Only the console's user, who is the one who asks, is in the userlist."""

    #: Passwords of users whom PostgreSQL alone knows.
    known_there: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.passwords = {SUPERUSER: "secret"}

    def pg_password(self, user: str) -> str:
        return "secret" if user == SUPERUSER else self.known_there.get(user, super().pg_password(user))
