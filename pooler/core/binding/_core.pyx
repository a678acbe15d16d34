# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Python's door to the compiled core: `Tables` (the shared map) and `Relay` (one worker's byte mover).

Nothing is decided here: arguments are checked and converted, results become plain Python values.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t, int64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset, strlen
from pooler.core.binding.layout cimport *
from pooler.core.binding.tables cimport *
from pooler.core.binding.relay cimport *
from pooler.core.binding.tls cimport *
from pooler.core.binding.policy cimport *

include "values.pxi"
include "verdicts.pxi"
include "tls.pxi"
include "policy.pxi"
include "tables.pxi"
include "login.pxi"
include "relay.pxi"
