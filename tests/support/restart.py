"""Instances of one pooler, each replacing the one before (-R)."""

from __future__ import annotations

import os
import signal
import subprocess
from types import TracebackType

from tests.support.pooler import Pooler


class Restarts:
    """Starts successors of a pooler, which then stands for the newest; the older ones end by themselves."""

    def __init__(self, pooler: Pooler) -> None:
        self.pooler = pooler
        self.old: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Restarts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.old:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts a successor without waiting for it; returns the one that it replaces."""
        process = self.pooler.process
        assert process is not None
        self.old.append(process)
        self.pooler.launch("-R")
        return process

    def again(self) -> subprocess.Popen[bytes]:
        """Replaces the running instance, and returns when the new one serves; returns the old one.

        The old one knows it: until then it would go on in its place, were the new one to be killed.
        """
        serves, left = r"LOG process up", r"LOG another process serves now"
        with self.pooler.expect_log(serves, timeout_s=20), self.pooler.expect_log(left, timeout_s=20):
            return self.launch()

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        """A command to its end, as the pooler's account."""
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            env={**self.pooler.command().env, **env},
            cwd=self.pooler.directory,
            timeout=20,
            **self.pooler.owner.identity(),
        )

    def wait_for_old(self, timeout_s: float = 30) -> None:
        """Until all but the newest have ended, each with exit code 0."""
        for process in self.old:
            assert process.wait(timeout_s) == 0
