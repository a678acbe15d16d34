"""`pooler status`, `reload` and `stop`, as an operator gives them: root, and pooler's own account."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import query

MakePooler = Callable[..., Pooler]
DONE, NOT_DONE, NOT_RUNNING = 0, 1, 3


def order(pooler: Pooler, *words: str, **more: Any) -> tuple[int, str]:
    """The exit code, and all that was printed."""
    command = [sys.executable, "-m", "pooler", *words, str(pooler.ini)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, **more
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


@pytest.fixture
def pooler(make_pooler: MakePooler) -> Pooler:
    return make_pooler(workers=2, databases={"p0": "pool_size=1"})


def test_status(pooler: Pooler) -> None:
    with pooler.wire(timeout_s=60) as holder, pooler.wire(timeout_s=60) as waits:
        holder.login(application_name="report").query("BEGIN")
        waits.login().send(query("SELECT 1"))
        wait_for(lambda: pooler.show("waiting"), what="a client that waits")
        code, text = order(pooler, "status")
        assert code == DONE
        running, counts, jam = text.splitlines()
        assert running.startswith(f"process {pooler.pid} runs, with 2 workers since 20")
        assert counts == "3 clients, 0 more in their login; 1 servers"
        assert jam.startswith("p0/bouncer: 1 waiting, the oldest for ")
        assert "pool_size: 1 of 1 servers are there; held by C-" in jam
        assert " report " in jam
        holder.query("COMMIT")


def test_reload(pooler: Pooler) -> None:
    pooler.settings["query_wait_timeout"] = 77
    pooler.write_config()
    assert order(pooler, "reload") == (DONE, f"process {pooler.pid} has reloaded\n")
    ((value,),) = [[row["value"]] for row in pooler.show("config", key="query_wait_timeout")]
    assert value == "77"
    pooler.settings["query_wait_timeout"] = "nonsense"
    pooler.write_config()
    code, text = order(pooler, "reload")
    assert code == NOT_DONE
    assert "query_wait_timeout" in text
    del pooler.settings["query_wait_timeout"]
    pooler.write_config()


def test_stop_waits_for_transactions_and_says_for_whose(pooler: Pooler) -> None:
    with pooler.wire(timeout_s=60) as holder:
        holder.login(application_name="report").query("BEGIN")
        code, text = order(pooler, "stop", "--timeout", "2")
        assert code == NOT_DONE
        assert "waits for C-" in text
        assert " report 127.0.0.1 idle in transaction" in text
        assert text.endswith(f"process {pooler.pid} is not over after 2 s, and goes on ending\n")
        ends = threading.Timer(1, lambda: holder.query("COMMIT"))
        ends.start()
        assert order(pooler, "stop")[0] == DONE
        ends.join()
    assert order(pooler, "status") == (NOT_RUNNING, f"no pooler runs with {pooler.ini}\n")
    assert order(pooler, "reload")[0] == order(pooler, "stop")[0] == NOT_RUNNING


def test_stop_now(pooler: Pooler) -> None:
    with pooler.wire() as holder:
        holder.login().query("BEGIN")
        assert order(pooler, "stop", "--now") == (DONE, f"process {pooler.pid} has ended\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another account")
def test_others_may_not(pooler: Pooler) -> None:
    """They are told who may."""
    os.chmod(pooler.directory, 0o755)
    for path in (pooler.ini, pooler.userlist):
        path.chmod(0o644)
    for words in (("status",), ("reload",), ("stop",)):
        code, text = order(pooler, *words, user="daemon", group="daemon", extra_groups=[])
        assert code == NOT_DONE
        assert pooler.owner.name in text or "another account's" in text, text


def test_what_is_no_command(pooler: Pooler) -> None:
    for word, hint in {"help": "--help", "start": "CONFIG_FILE starts it", "restart": "-R -d"}.items():
        command = [sys.executable, "-m", "pooler", word]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"there is no command '{word}'" in done.stderr
        assert hint in done.stderr
