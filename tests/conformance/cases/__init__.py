"""The written cases, by topic."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.cases.settings import SETTINGS

TOPICS: dict[str, dict[str, Case]] = {
    "settings": SETTINGS,
}
