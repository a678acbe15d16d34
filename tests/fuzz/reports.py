"""What sanitizers have reported during a long run (scripts/sanitize says where)."""

from __future__ import annotations

import os
import re
from pathlib import Path

LOG_PATH = re.search(r"log_path=([^:]*)/", os.environ.get("ASAN_OPTIONS", ""))
REPORTS = Path(LOG_PATH[1]) if LOG_PATH else None


def assert_no_reports() -> None:
    found = sorted(REPORTS.glob("*")) if REPORTS else []
    assert not found, f"the sanitizers have reported:\n{found[0].read_text()[:4000]}"
