"""The start, step by step, and the end. Every reason not to start is a BootError and one FATAL line.

The order matters:

    configuration   before anything: it says where everything is
    program         kept in memory, before its files can change
    user            before the log file, sockets and pid file, so that they belong to it
    log             then everything after it is on record
    pid file check  before the sockets: "another instance runs" is a better reason than "address in use"
    sockets         before the background, so that a port in use is told to the terminal
    background      before tables and epoll, which belong to the process that makes them
    signals         before the pid file: people send signals as soon as it exists
    workers         last; when all are ready, so are we
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from setproctitle import setproctitle

import pooler
from pooler import log
from pooler.config import Config, load
from pooler.config.tls import TlsSetupError
from pooler.errors import BootError, ConfigError
from pooler.master import capacity, inherited_sockets, takeover
from pooler.master.child import RunMonitor, RunWorker
from pooler.master.daemon import Background, PidFile, become, forbid_core_dumps, refuse_root
from pooler.master.interfaces import Duties, Interfaces
from pooler.master.login_key import login_key, make_for
from pooler.master.master import Master
from pooler.master.monitor import MonitorSeed
from pooler.master.notify import Notifier
from pooler.master.preload import Program
from pooler.master.signals import HANDLED
from pooler.master.sockets import Listener


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    path: str
    daemon: bool = False
    quiet: bool = False
    verbose: int = 0
    overrides: Mapping[str, str] = field(default_factory=dict)  # settings that win over the file
    reboot: bool = False  # take over from a running instance


def start(options: Options, run_worker: RunWorker, run_monitor: RunMonitor) -> int:
    """Be the master until the end; returns the exit code. `run_...` is what its children do."""
    log.configure(verbose=options.verbose)
    try:
        config = load(options.path, options.overrides)
    except ConfigError as e:
        for problem in e.problems:
            log.write_problem(problem.severity, str(problem))
        log.fatal("cannot load config file")
        return 1
    except OSError as e:
        log.fatal("cannot load config file %s: %s", options.path, e.strerror)
        return 1
    try:
        return _Start(options, config, run_worker, run_monitor).run()
    except BootError as e:
        log.speak()
        log.fatal("%s", e)
        return 1


#: How long the master waits for the tables' lock at most: its holder may be a stopped process.
LOCK_PATIENCE_S = 0.1


def make_interfaces(config: Config, sizes: Mapping[str, int], key: bytes) -> Interfaces:
    """Create the shared tables, with the limits of `config`."""
    from pooler import provisioning, tls  # only a real start needs the compiled core
    from pooler.core import Tables, TablesBusy

    try:
        tables = Tables(**sizes)
        tables.set_patience(LOCK_PATIENCE_S)
    except (OSError, MemoryError) as e:
        raise BootError(f"cannot create the shared tables: {e}") from None
    provisioning.apply(tables, config)
    return Interfaces(
        tables,
        provisioning.apply,
        provisioning.close_changed,
        TablesBusy,
        tls.set_up,
        tables,
        provisioning.open_handoff_pool,
        key,
    )


def with_tls(config: Config) -> Config:
    """The configuration with its TLS set up."""
    from pooler import tls

    try:
        return replace(config, tls=tls.set_up(config))
    except TlsSetupError as error:
        raise BootError(f"TLS setup failed: {error}") from None


class _Start:
    """One start and what it leaves to be undone."""

    def __init__(
        self, options: Options, config: Config, run_worker: RunWorker, run_monitor: RunMonitor
    ) -> None:
        self.options = options
        self.config = config
        self.run_worker = run_worker
        self.run_monitor = run_monitor
        self.background = Background()
        self.pidfile = PidFile(config.settings.pidfile)
        self.program = Program("pooler", Path(pooler.__file__).parent)
        self.fd_limit = 0
        self.sizes: dict[str, int] = {}
        self.predecessor: takeover.Predecessor | None = None

    def run(self) -> int:
        settings = self.config.settings
        self.program.install()
        if self.options.daemon and not settings.pidfile:
            raise BootError("daemon needs pidfile configured")
        if self.options.daemon and not (settings.logfile or settings.syslog):
            log.warning("in background without logfile or syslog: the log is written nowhere")
        if settings.user:
            make_for(settings.user, self.options.path)
            become(settings.user)
        refuse_root()
        if not settings.core_dumps:
            forbid_core_dumps()
        self.open_log(self.config)
        self.config = with_tls(self.config)
        for problem in self.config.problems:
            log.write_problem(problem.severity, str(problem))
        self.predecessor = self.find_predecessor()
        if self.predecessor is None:
            self.pidfile.check()
        self.fd_limit = capacity.raise_fd_limit()
        self.sizes = capacity.table_sizes(self.config, self.fd_limit)
        capacity.check_fds(self.config, self.fd_limit, at_start=True)
        capacity.check_rows(self.config, self.sizes)
        # Until the master catches them, signals wait: a start that is interrupted must clean up too.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        listeners, http = self.listen()
        try:
            notifier = Notifier.from_environment()
            if self.options.daemon:
                self.background.enter()
            setproctitle(f"pooler: master [{self.options.path}]")
            given = self.predecessor.login_key if self.predecessor else b""
            shared = make_interfaces(self.config, self.sizes, login_key(self.options.path, given))
            master = Master(
                self.config,
                self.options.overrides,
                shared,
                listeners,
                self.run_worker,
                notifier,
                Duties(
                    self.ready,
                    self.check,
                    self.open_log_again,
                    self.program.tell_changes,
                    self.pidfile.forget,
                    self.pidfile.restore,
                ),
                self.predecessor,
                MonitorSeed(http, self.run_monitor),
            )
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if self.predecessor is None:
                self.pidfile.write()
            return master.run()
        finally:
            # The signals are still caught: nothing interrupts this, and the process ends right after it.
            for listener in (*listeners, *http):
                listener.close()
            self.pidfile.remove()

    def find_predecessor(self) -> takeover.Predecessor | None:
        """The running instance that this one is to replace."""
        if not self.options.reboot:
            return None
        found = takeover.find(self.config.settings)
        if found is None:
            log.info("old process not found, try to continue normally")
        return found

    def listen(self) -> tuple[list[Listener], list[Listener]]:
        """The sockets, for clients and for HTTP: those that were handed to us, else our own."""
        settings = self.config.settings
        listeners: list[Listener] = []
        try:
            handed = self.predecessor.listeners if self.predecessor else inherited_sockets.activated()
            listeners = inherited_sockets.adopt(handed, settings)
            return listeners, inherited_sockets.adopt_http(
                self.predecessor.http if self.predecessor else (), settings
            )
        except BootError:
            for listener in listeners:
                listener.close()
            if self.predecessor is not None:
                self.predecessor.close()
            raise

    def check(self, config: Config) -> None:
        """Raise BootError if what `config` asks for does not fit into this process; also at a reload."""
        capacity.check_fds(config, self.fd_limit)
        capacity.check_rows(config, self.sizes)

    def open_log(self, config: Config) -> None:
        """Write to where `config` says."""
        settings = config.settings
        quiet = self.options.quiet or self.options.daemon
        try:
            verbose = max(settings.verbose, self.options.verbose)
            log.configure(settings.logfile, verbose, not quiet, settings.syslog_names)
        except OSError as e:
            raise BootError(f"cannot open logfile {settings.logfile}: {e.strerror}") from None

    def open_log_again(self, config: Config) -> None:
        """The same at a reload, where trouble keeps the old file."""
        try:
            self.open_log(config)
        except BootError as e:
            log.error("%s; the log goes on in the old file", e)

    def ready(self) -> None:
        """Every worker is ready, and clients are accepted."""
        if self.predecessor is not None:
            self.pidfile.take_over()
        log.info(
            "process up: pooler %s, python %s, %d workers",
            pooler.__version__,
            sys.version.split()[0],
            self.config.settings.worker_count,
        )
        self.background.ready()
