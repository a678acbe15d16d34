"""`pooler check`: what a configuration file comes to, told before anything is replaced or started.

Reading order: `report` (the topics, as text and as JSON), `checks` (which findings there are), then where
they come from: `pooler.config.advice` (settings that don't go together), `security` (who could get in, files,
open files), `differences` (what PgBouncer does otherwise), `capacity` (connections that all pools may open),
and with --connect `servers` (PostgreSQL's side: logins and limits), which speaks by `blocking_driver`.
"""

from pooler.check.checks import examine
from pooler.check.report import Report

__all__ = ["Report", "examine"]
