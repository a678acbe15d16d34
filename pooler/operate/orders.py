"""What the commands do, and their exit codes: 0 done, 1 not done, 3 nothing runs (as `systemctl status`)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pooler.config import Config, load
from pooler.errors import ConfigError, OperatorError, ServerFault
from pooler.operate.instance import NotListening, Talk, console, find

Say = Callable[[str], None]

DONE, NOT_DONE, NOT_RUNNING = 0, 1, 3
#: While a stop waits it says for whom, this often.
TELL_S = 5.0
LOOK_S = 0.05
TOLD_MAX = 5


def reload(path: str, say: Say) -> int:
    """RELOAD: whole or not at all, and why."""
    config, pid = _running(path, say)
    if config is None or pid is None:
        return NOT_DONE if config is None else NOT_RUNNING
    try:
        with console(config, pid) as talk:
            result = talk.ask("RELOAD")
    except ServerFault as fault:
        say(f"not reloaded: {fault.message}")
        return NOT_DONE
    for notice in result.notices:
        say(f"{notice.get('M', '')}{_more(notice.get('D'))}")
    say(f"process {pid} has reloaded")
    return DONE


def status(path: str, say: Say) -> int:
    """What runs, and whether somebody waits."""
    config, pid = _running(path, say)
    if config is None or pid is None:
        return NOT_DONE if config is None else NOT_RUNNING
    with console(config, pid) as talk:
        workers = talk.rows("SHOW WORKERS")
        say(f"process {pid} runs, with {len(workers)} workers since {workers[0]['started']}")
        lists = {row["list"]: row["items"] for row in talk.rows("SHOW LISTS")}
        say(
            f"{lists['used_clients']} clients, {lists['login_clients']} more in their login;"
            f" {lists['used_servers']} servers"
        )
        for row in talk.rows("SHOW WAITING"):
            if row["place"] == "1":
                say(_waiting(row))
    return DONE


def _waiting(row: dict[str, str | None]) -> str:
    held = f"; held by {row['holders']}" if row["holders"] else ""
    return (
        f"{row['database']}/{row['user']}: {row['waiting']} waiting, the oldest for {row['seconds']} s;"
        f" {row['blocked_by']}: {row['detail']}{held}"
    )


def stop(path: str, now: bool, timeout_s: float | None, say: Say) -> int:
    """Ends the instance: behind the transactions that run, or at once; waits for its end."""
    config, pid = _running(path, say)
    if config is None or pid is None:
        return NOT_DONE if config is None else NOT_RUNNING
    with ExitStack() as stack:
        talk = None if now else _begin_to_end(stack, config, pid)
        if now:
            _signal(pid, signal.SIGQUIT)
        begun = time.monotonic()
        tell_at = begun + 1
        while _is_alive(pid):
            passed = time.monotonic()
            if timeout_s is not None and passed > begun + timeout_s:
                say(f"process {pid} is not over after {timeout_s:g} s, and goes on ending")
                return NOT_DONE
            if talk is not None and passed > tell_at:
                tell_at = passed + TELL_S
                _tell(talk, say)
            time.sleep(LOOK_S)
    say(f"process {pid} has ended")
    return DONE


def _begin_to_end(stack: ExitStack, config: Config, pid: int) -> Talk | None:
    """The order, by the console if there is a way to it: a second one changes nothing, and it can be asked
    whom it waits for. A second signal would end it at once."""
    try:
        talk = stack.enter_context(console(config, pid))
    except NotListening:  # it is ending
        return None
    except OperatorError:
        _signal(pid, signal.SIGINT)
        return None
    try:
        talk.ask("SHUTDOWN WAIT_FOR_SERVERS")
    except ServerFault as fault:
        raise OperatorError(fault.message) from None
    return talk


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except PermissionError:
        raise OperatorError(f"process {pid} is another account's: be that, or root") from None


def _tell(talk: Talk, say: Say) -> None:
    try:
        rows = [row for row in talk.rows("SHOW CLIENTS EXTENDED") if row["link"]]
    except (ServerFault, OSError):  # it is ending, and its console first
        return
    told = [
        f"C-{row['id']} {row['application_name']} {row['addr']} {row['activity']}" for row in rows[:TOLD_MAX]
    ]
    more = [f"and {len(rows) - TOLD_MAX} more"] if len(rows) > TOLD_MAX else []
    if told:
        say(f"waits for {'; '.join([*told, *more])}")


def _running(path: str, say: Say) -> tuple[Config | None, int | None]:
    """Configuration and process; what is wrong has been said."""
    try:
        config = load(path)
    except ConfigError as error:
        for problem in error.problems:
            say(str(problem))
        return None, None
    except OSError as error:
        say(f"{path}: {error.strerror}")
        return None, None
    pid = find(config)
    if pid is None:
        say(f"no pooler runs with {path}")
    return config, pid


def _is_alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def _more(detail: str | None) -> str:
    return f": {detail}" if detail else ""
