"""Sources of the compiled login, for tests of what only a source can show."""

from __future__ import annotations

import re
from pathlib import Path

LOGIN = Path(__file__).resolve().parents[4] / "pooler/core/login"


def login_source(name: str) -> str:
    """Without comments."""
    return re.sub(r"/\*.*?\*/", "", (LOGIN / name).read_text(), flags=re.DOTALL)
