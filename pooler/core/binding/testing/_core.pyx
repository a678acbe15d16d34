# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The core with test hooks: compiled instead of binding/_core.pyx where POOLER_TEST_HOOKS=1 (setup.py)."""

include "../_core.pyx"
include "parts.pxi"
include "texts.pxi"
include "connections.pxi"
include "statements.pxi"
include "relay.pxi"
include "tables.pxi"
include "states.pxi"
include "tls.pxi"
