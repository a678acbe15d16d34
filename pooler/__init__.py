"""pooler: a PostgreSQL connection pooler that stands where PgBouncer stood, with one pool over all cores.

A master process listens and spreads clients over workers; the workers share every server connection through
one map of memory, so that limits hold over all of them. What is rare (console, timers, opening a server) is
done by gevent greenlets, every login of a client and every query by compiled code.

    cli          the command line
    master/      listens, accepts, forks, reloads; no gevent, no protocol
    worker/      one process of several: servers, console, timers; gevent
    monitor/     one process, if wanted, that speaks HTTP: metrics, health; gevent
    core/        compiled: the shared tables (limits, queues), logins, the relay (what happens at every query)
    admin/       the console: commands declared in one table
    config/      settings declared in one table; files in, one frozen Config out
    provisioning from a Config to the rows of the tables
    protocol/    PostgreSQL's wire protocol: no sockets, no clock
    auth/        passwords and SCRAM
    ipc/         messages and descriptors between our processes
    dev/         `pooler dev`: an embedded PostgreSQL with pooler in front
    log, errors  small things that everybody uses

To read it: `core/tables/layout.h` (what is shared), `core/relay/relay.h` (the life of a query),
`core/io/message_table.h` (what a message means), `worker/`, then `master/start` and
`master/master` (how the process lives), and `config/settings`. docs/internals/architecture.md tells why.
"""

#: The release of PgBouncer that this one stands in for: tools look for its number.
PGBOUNCER_VERSION = "1.25.2"

__version__ = "0.1.0"
