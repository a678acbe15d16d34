"""The master: listens, accepts and spreads clients, forks workers, reloads, cleans up after the dead.

Reading order: `start` (boot, step by step), `master` (the loop and what each event does), then the parts:
`loop`, `signals`, `workers` (with `worker`, `worker_channel`, `child`), `sockets`, `accept`, `server_fds`,
`reload`,
`daemon`, `notify`, `capacity`. The master reads no client's bytes, imports neither gevent nor the protocol,
and never waits for anybody.
"""
