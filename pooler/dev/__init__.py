"""`pooler dev`: an embedded PostgreSQL and pooler in front of it, for trying things out.

run.py is the command; processes.py (who runs children, how they end), postgres.py (a cluster of one's own)
and program.py (starting pooler itself) are what it is made of, and what the tests and the benchmark use too.
Nothing else in the package imports this one.
"""

from __future__ import annotations

from pooler.dev.run import run_dev

__all__ = ["run_dev"]
