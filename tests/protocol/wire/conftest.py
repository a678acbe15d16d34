"""Fixtures for poolers that live as long as a module."""

from __future__ import annotations

from tests.support.shared import start_pooler

__all__ = ["start_pooler"]
