"""A worker process: the greenlets around one relay.

Reading order: `worker` (the life of the process), `context` (what its helpers share), `login_policy` and
`login_questions` (what logins of the core know and ask), `client` (a client with which Python goes on),
`server` (a server is opened), `address` and `resolver` (where),
`replication`, `cancel`, `janitor` (what time brings), `console_operations` (orders of the console),
`database_ddl` (what clients do to databases), `stream` (how a conversation of `pooler.protocol` meets a
socket).
"""

from pooler.worker.worker import run

__all__ = ["run"]
