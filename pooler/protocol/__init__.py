"""The PostgreSQL wire protocol without sockets and without a clock.

Reading order: `conversation` (how a login talks to its driver), `startup` and `client_login` (a client
comes), `server_login` (we go to a server), `messages` and `frontend` (what is on the wire), `transaction`
(what the relay makes of each message). The only other part of pooler that this one knows is `auth`.
"""
