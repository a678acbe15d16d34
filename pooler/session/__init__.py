"""The state of a session in transaction pooling: what a server is asked about it.

What makes a session dirty, and what follows, is the compiled core's (`pooler/core/session/session.h` has the theory,
`sql/effects.c` the table of words); the questions themselves are SQL and stand here.
"""

from pooler.session.catalogs import CATALOGS
from pooler.session.questions import QUESTIONS as SESSION

#: In the order in which the core takes them.
QUESTIONS = (*SESSION, *CATALOGS)

__all__ = ["QUESTIONS"]
