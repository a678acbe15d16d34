"""The first moments of a forked child: become a process of its own, run, exit. Nothing returns from here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

from pooler import log
from pooler.ipc.boot import MonitorBoot, WorkerBoot

#: Exit code of a child that ended by a bug (EX_SOFTWARE).
EXIT_BUG = 70

RunWorker = Callable[[WorkerBoot], int | None]
RunMonitor = Callable[[MonitorBoot], int | None]
Boot = TypeVar("Boot", WorkerBoot, MonitorBoot)


def run_child(boot: Boot, let_go: Callable[[], None], run: Callable[[Boot], int | None]) -> NoReturn:
    """Drop what is the master's (`let_go`), run the child and exit with its code.

    Leaves by `os._exit` whatever happens: an exception that got past this frame would run a second master.
    """
    code = EXIT_BUG
    try:
        let_go()
        code = run(boot) or 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException as e:
        log.exception(f"bug: {boot.name} ends", e)
    finally:
        os._exit(code)
