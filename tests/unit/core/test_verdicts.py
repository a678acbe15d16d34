"""The enums that Python decides by have the values of the C enums, all of them."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from pooler.core import CancelVerdict, CatalogState, LoginVerdict, PeerState, SharedDdl

CORE = Path(__file__).resolve().parents[3] / "pooler/core"


@pytest.mark.parametrize(
    ("python", "header", "name", "prefix"),
    [
        (LoginVerdict, "tables/tables.h", "login_verdict", "LOGIN_"),
        (CancelVerdict, "tables/tables.h", "cancel_verdict", "CANCEL_"),
        (PeerState, "tables/tables.h", "peer_state", "PEER_"),
        (CatalogState, "tables/layout.h", "catalog_state", "CATALOG_"),
        (SharedDdl, "relay/relay.h", "shared_ddl", "DDL_"),
    ],
)
def test_enum_is_whole(python: type[IntEnum], header: str, name: str, prefix: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", (CORE / header).read_text(), flags=re.DOTALL)
    found = re.search(rf"enum {name} \{{([^}}]*)\}}", text)
    assert found is not None
    enumerators = [word.strip() for word in found[1].split(",") if word.strip()]
    assert [prefix + member.name for member in python] == enumerators
    assert [member.value for member in python] == list(range(len(enumerators)))
