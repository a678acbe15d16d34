"""The console: the virtual database `pgbouncer` (or `pooler`) that answers SHOW and takes orders.

Read in this order: `model` (the nouns), `command` (the declared table of commands), `parse` (text to
command), `console` (a command to its result), `session` (the wire protocol above it). What a SHOW prints is
in the `show_*` modules, what an order checks before it is carried out in `control`. Nothing here waits or
touches a socket; whoever carries out the orders (`Operations`) may.
"""

from pooler.admin.averages import StatsSampler
from pooler.admin.console import WELCOME, Console, access_of
from pooler.admin.model import Access, Command, CommandError, Operations, Result
from pooler.admin.session import ConsoleSession

__all__ = [
    "WELCOME",
    "Access",
    "Command",
    "CommandError",
    "Console",
    "ConsoleSession",
    "Operations",
    "Result",
    "StatsSampler",
    "access_of",
]
