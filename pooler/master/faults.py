"""Why a start (or a reload) can fail for reasons outside the configuration files."""

from __future__ import annotations

from pooler.errors import PoolerError


class BootError(PoolerError):
    """The operator has to change something first; the text says what."""
