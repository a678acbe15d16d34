"""The shared tables: one class for Python, made of parts by subject.

The parts have neither fields nor C methods of their own, so that one object can be all of them.
"""

include "shared_map.pxi"
include "accepting.pxi"
include "workers.pxi"
include "limits.pxi"
include "clients.pxi"
include "servers.pxi"
include "timeouts.pxi"
include "hosts.pxi"
include "channels.pxi"
include "handoff.pxi"
include "cancel.pxi"
include "snapshots.pxi"
include "histograms.pxi"


class Tables(WorkerRows, Limits, ClientRows, ServerRows, Timeouts, HostNames, Channels, Handoff, CancelKeys,
             Snapshots, Histograms):
    """The shared tables.  Made by the master before any fork; every process uses the same object.

    Sizes are numbers of rows.  Rows that are never used cost no memory.  Raises OSError when the map
    or a doorbell cannot be made, ValueError for impossible sizes.
    """

    __slots__ = ()
