"""A child that is held after each machine instruction of what it does with a lock in its hands, by ptrace.

It runs freely until it writes the word that says who has the lock: a watchpoint of the processor tells that.
(A debugger's step costs two changes of process, a hundred thousand of them minutes on a busy machine.) Where
there are no watchpoints it is stepped through from the start.

One function must not be stepped through: the clock of the vDSO reads the kernel's time again until no tick
came in between, and ticks come more often than a stepped reader gets to the end of it. So it never ends on a
machine where a step is slow. The vDSO writes no memory but its caller's: it runs at once, up to its return.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator

TRACEME, PEEK_TEXT, PEEK_USER, POKE_TEXT, POKE_USER, CONTINUE, SINGLESTEP = 0, 1, 3, 4, 6, 7, 9
RIP, RSP = 16 * 8, 19 * 8  # where `struct user` of x86-64 has these registers
BREAKPOINT = 0xCC
DEBUG_REGISTERS = 848  # of `struct user`: eight, of which the first holds an address, the last what to watch
WATCH_WRITES_OF_4 = 0xD0001  # in the last: of the first address, for this process
WORD = (1 << 64) - 1

#: What is stepped through here takes a few seconds of CPU, and longer on a busy machine.
LIMIT_S = 100.0

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong]
libc.ptrace.restype = ctypes.c_long


def locked_steps(act: Callable[[], object], lock: int) -> Iterator[None]:
    """Does `act` in a child; comes back whenever it stands still and the shared word at `lock` is not 0."""
    pid = os.fork()
    if pid == 0:
        try:
            libc.ptrace(TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            act()
            os._exit(0)
        finally:
            os._exit(3)
    is_over = False
    try:
        os.waitpid(pid, 0)
        vdso = _vdso(pid) if platform.machine() == "x86_64" else range(0)
        has_watchpoint = _watch(pid, lock)
        is_locked = ctypes.c_int.from_address(lock)
        end = time.process_time() + LIMIT_S
        while True:
            if vdso and _ptrace(PEEK_USER, pid, RIP) in vdso:
                _run_to_return(pid)
            status = _resume(SINGLESTEP if is_locked.value or not has_watchpoint else CONTINUE, pid)
            if os.WIFEXITED(status):
                is_over = True
                assert os.WEXITSTATUS(status) == 0, "it ended by an exception: see its traceback"
                return
            assert os.WIFSTOPPED(status), status
            assert os.WSTOPSIG(status) == signal.SIGTRAP, f"it was stopped by signal {os.WSTOPSIG(status)}"
            assert time.process_time() < end, f"not at the end after {LIMIT_S:.0f} s of CPU"
            if is_locked.value:
                yield
    finally:
        if not is_over:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _watch(pid: int, address: int) -> bool:
    """The child stops behind each write to these four bytes; False where the processor cannot."""
    if platform.machine() != "x86_64":
        return False
    try:
        _ptrace(POKE_USER, pid, DEBUG_REGISTERS, address)
        _ptrace(POKE_USER, pid, DEBUG_REGISTERS + 7 * 8, WATCH_WRITES_OF_4)
    except OSError:
        return False
    return True


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    ctypes.set_errno(0)
    value = int(libc.ptrace(request, pid, address, data))
    if value == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace({request})")
    return value & WORD


def _resume(request: int, pid: int) -> int:
    _ptrace(request, pid)
    return os.waitpid(pid, 0)[1]


def _vdso(pid: int) -> range:
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            if line.endswith("[vdso]\n"):
                low, high = line.split()[0].split("-")
                return range(int(low, 16), int(high, 16))
    return range(0)


def _run_to_return(pid: int) -> None:
    """From a function's first instruction, which finds its way back on the stack, to behind its call."""
    back = _ptrace(PEEK_TEXT, pid, _ptrace(PEEK_USER, pid, RSP))
    code = _ptrace(PEEK_TEXT, pid, back)
    _ptrace(POKE_TEXT, pid, back, code & ~0xFF | BREAKPOINT)
    status = _resume(CONTINUE, pid)
    assert os.WIFSTOPPED(status), status
    assert os.WSTOPSIG(status) == signal.SIGTRAP, status
    assert _ptrace(PEEK_USER, pid, RIP) == back + 1
    _ptrace(POKE_TEXT, pid, back, code)
    _ptrace(POKE_USER, pid, RIP, back)
