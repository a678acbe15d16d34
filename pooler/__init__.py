"""pooler: a PostgreSQL connection pooler that stands where PgBouncer stood, with one pool over all cores.

A master process listens and spreads clients over workers; the workers share every server connection through
one map of memory, so that limits hold over all of them. Waiting is done by gevent greenlets, each query by
compiled code.

    cli         the command line master/     listens, accepts, forks, reloads; no gevent, no protocol
    worker/     one process of several: logins, console, timers, and the relay's events; the only user of
    gevent core/       compiled: shared tables (limits, queues), relay (what happens at every query) admin/
    the console: commands declared in one table config/     settings declared in one table; files in, one
    frozen Config out protocol/   PostgreSQL's wire protocol: no sockets, no clock auth/       passwords and
    SCRAM ipc/        messages and descriptors between our processes log, errors, limits    small things
    that everybody uses

To read it: `errors`, `config/settings`, then `master/start` and `master/master` (how the process lives),
`core/layout.h` (what is shared), `protocol/transaction` (what a message means), `worker/`. ARCHITECTURE.md
tells why.
"""

__version__ = "0.1.0"
