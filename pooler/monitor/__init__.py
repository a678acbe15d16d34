"""The process that speaks HTTP: what goes on in this instance, for who asks by another way than the console.

It reads the shared tables as the console does, holds nothing that a client needs, and may die at any moment.
Reading order: `monitor` (the life of the process), `server` (connections and requests, bounded), `pages`
(what is answered where), `access` (who may ask), `health`, `metrics` (which figures there are, one table),
`exposition` (their text), `snapshot` (where they come from), `api` (the console's rows).
"""

from pooler.monitor.monitor import run

__all__ = ["run"]
