"""The state of a session in transaction pooling: what a server is asked about it.

What makes a session dirty, and what follows, is the compiled core's (`pooler/core/session.h` has the theory,
`words.c` the table of words); the questions themselves are SQL and stand here.
"""

from pooler.session.questions import QUESTIONS

__all__ = ["QUESTIONS"]
