"""The first moments of a forked worker: become a process of its own, run, exit. Nothing returns from here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

from pooler import log
from pooler.ipc.boot import WorkerBoot

#: Exit code of a worker that ended by a bug (EX_SOFTWARE).
EXIT_BUG = 70

RunWorker = Callable[[WorkerBoot], int | None]


def run_child(boot: WorkerBoot, let_go: Callable[[], None], run_worker: RunWorker) -> NoReturn:
    """Drop what is the master's (`let_go`), run the worker and exit with its code.

    Leaves by `os._exit` whatever happens: an exception that got past this frame would run a second master.
    """
    code = EXIT_BUG
    try:
        let_go()
        code = run_worker(boot) or 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException as e:
        log.exception(f"bug: worker {boot.number} ends", e)
    finally:
        os._exit(code)
