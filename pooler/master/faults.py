"""Why a start can fail."""

from __future__ import annotations

from pooler.errors import PoolerError


class BootError(PoolerError):
    """The operator has to change something before pooler can start; the text says what."""
