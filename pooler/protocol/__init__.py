"""The PostgreSQL wire protocol without sockets and without a clock.

Reading order: `conversation` (how a login talks to its driver), `server_login` (we go to a server), `query`
and `auth_query` (what we ask there), `messages` and `frontend` (what is on the wire), `startup` (what is left
to know of a client's first packet). Logins of clients are the core's (core/login), and so is what the relay
makes of each message (core/io/message_table.h). The only other part of pooler that this one knows is `auth`.
"""
