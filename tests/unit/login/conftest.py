"""Workers whose logins a test drives byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.logins import Machine, config_of

MakeMachine = Callable[..., Machine]


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[MakeMachine]:
    """`make_machine(auth_type, {user: secret}, setting=value, hba=..., tls=...)`; the one before ends."""
    running: list[Machine] = []

    def make(auth_type: str = "md5", userlist: Mapping[str, str] | None = None, **parts: Any) -> Machine:
        if running:
            running.pop().stop()
        (tmp_path / "log").unlink(missing_ok=True)
        own = {name: parts.pop(name) for name in ("clients", "login_key", "may_log_bugs") if name in parts}
        running.append(Machine(config_of(auth_type, userlist, **parts), tmp_path / "log", **own))
        return running[-1]

    yield make
    while running:
        running.pop().stop()
