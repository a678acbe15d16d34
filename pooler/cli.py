"""The command line: `pooler` as PgBouncer is started, `pooler check` and `pooler dev`.

Everything heavy is imported where it is used: the master needs no gevent, `-V` and `check` need no master.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

import pooler
from pooler.errors import OperatorError

if TYPE_CHECKING:
    from pooler.ipc.boot import MonitorBoot, WorkerBoot

HELP = {"help_option_names": ["-h", "--help"]}

PACKAGES = ("gevent", "greenlet", "msgpack", "psycopg2-binary", "setproctitle", "click")


def run_worker(boot: WorkerBoot) -> int:
    """Be a worker. Called in a child of the master; only there is gevent imported."""
    from pooler.worker import run

    code: int = run(boot)
    return code


def run_monitor(boot: MonitorBoot) -> int:
    """Speak HTTP; the same."""
    from pooler.monitor import run

    code: int = run(boot)
    return code


def _import_for_workers() -> None:
    """What workers need besides gevent, imported once before they are forked: each, also one that replaces
    another, starts sooner, and all share its memory.
    """
    import pooler.admin.console
    import pooler.auth.method
    import pooler.auth.passwords
    import pooler.protocol.auth_query
    import pooler.protocol.peer_key
    import pooler.protocol.query
    import pooler.protocol.server_login
    import pooler.protocol.startup  # noqa: F401


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    import importlib.metadata  # with ssl a third of the time of a start
    import ssl

    if not wanted or context.resilient_parsing:
        return
    click.echo(f"PgBouncer {pooler.PGBOUNCER_VERSION}")
    click.echo(f"pooler {pooler.__version__}")
    click.echo(f"python {sys.version.split()[0]}")
    for name in PACKAGES:
        try:
            click.echo(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            click.echo(f"{name} not installed")
    click.echo(f"tls: {ssl.OPENSSL_VERSION}")
    context.exit(0)


@click.command(
    context_settings=HELP,
    epilog="Other commands: `pooler check CONFIG_FILE` tells everything that is wrong with a configuration;"
    " `pooler status`, `pooler reload` and `pooler stop` are about the one that runs with a CONFIG_FILE;"
    " `pooler dev` starts a PostgreSQL of its own with pooler in front. A configuration file of such a name:"
    " ./check, ./dev.",
)
@click.option("-d", "--daemon", is_flag=True, help="Run in background; returns when clients can connect.")
@click.option("-q", "--quiet", is_flag=True, help="Don't log to standard error.")
@click.option("-v", "--verbose", count=True, help="Log more; twice: even more.")
@click.option("-u", "--user", metavar="USERNAME", help="Run as this user (when started by root).")
@click.option("-R", "--reboot", is_flag=True, help="Online restart: take over from a running process.")
@click.option("--workers", metavar="N", help="Number of worker processes, or auto: one per core.")
@click.option(
    "-V", "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version,
    help="Show versions, then exit.",
)  # fmt: skip
@click.argument("config_file", required=False)
def serve(
    daemon: bool,
    quiet: bool,
    verbose: int,
    user: str | None,
    reboot: bool,
    workers: str | None,
    config_file: str | None,
) -> int:
    """A connection pooler for PostgreSQL, configured and run like PgBouncer."""
    if config_file is None:
        raise click.UsageError("no configuration file specified")
    from pooler.master.start import Options, start

    _import_for_workers()
    given = {"user": user, "workers": workers}
    overrides = {name: value for name, value in given.items() if value is not None}
    return start(Options(config_file, daemon, quiet, verbose, overrides, reboot), run_worker, run_monitor)


@click.command("check", context_settings=HELP)
@click.option("--connect", is_flag=True, help="Log in to each PostgreSQL, compare its limits.")
@click.option("--strict", is_flag=True, help="Exit code 2 for any warning.")
@click.option("--pgbouncer", is_flag=True, help="Tell what PgBouncer would do otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything.")
@click.argument("config_file")
def check(config_file: str, connect: bool, strict: bool, pgbouncer: bool, as_json: bool) -> int:
    """Tell what pooler makes of CONFIG_FILE, on this machine: errors with file and line, logins that cannot
    work, what is unsafe, what has no effect.

    Files of TLS are opened, and directories, the account and addresses to listen on are looked at; those of
    an instance that runs with the same file are its own.

    Exit code 0: pooler starts with it. 1: it would not. 2: it starts, and is not what the file means: logins
    that cannot work, lines of auth_hba_file that are left out, a PostgreSQL that is otherwise (--connect), or
    any warning (--strict).
    """
    from pooler.check import examine

    report = examine(config_file, connect, here=True)
    click.echo(report.json() if as_json else report.text(pgbouncer))
    return report.exit_code(strict)


@click.command("dev", context_settings=HELP)
@click.option("--keep", metavar="DIR", help="Keep the data in DIR and use it again.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of pooler; default: a free one.")
@click.option("--workers", metavar="N", default="auto", show_default=True, help="Number of worker processes.")
@click.option(
    "--pool-mode",
    type=click.Choice(["session", "transaction", "statement"]),
    default="transaction",
    show_default=True,
    help="When a server goes back to its pool.",
)
def dev(keep: str | None, port: int | None, workers: str, pool_mode: str) -> int:
    """Start an embedded PostgreSQL with pooler in front, print URLs, and run until Ctrl-C."""
    from pooler.dev import run_dev

    return run_dev(keep, port=port, workers=workers, pool_mode=pool_mode)


@click.command("status", context_settings=HELP)
@click.argument("config_file")
def status(config_file: str) -> int:
    """Tell whether a pooler runs with CONFIG_FILE, how many clients it has, and who waits for what.

    Exit code 0: it runs. 3: none does. It asks the console over the unix socket, as pooler's account or root.
    """
    from pooler import operate

    return operate.status(config_file, click.echo)


@click.command("reload", context_settings=HELP)
@click.argument("config_file")
def reload(config_file: str) -> int:
    """Have the pooler that runs with CONFIG_FILE read it again: all of it counts, or nothing, and why.

    Exit code 0: done. 1: not, the old configuration stays. 3: none runs.
    """
    from pooler import operate

    return operate.reload(config_file, click.echo)


@click.command("stop", context_settings=HELP)
@click.option("--now", is_flag=True, help="Don't let transactions end.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this.")
@click.argument("config_file")
def stop(config_file: str, now: bool, timeout: float | None) -> int:
    """End the pooler that runs with CONFIG_FILE, behind the transactions that run, and wait for its end; for
    whom it waits is told.

    Exit code 0: it has ended. 1: not within the time. 3: none runs.
    """
    from pooler import operate

    return operate.stop(config_file, now, timeout, click.echo)


COMMANDS = {"check": check, "dev": dev, "status": status, "reload": reload, "stop": stop}
#: What others call it, or what there is not: not taken for the name of a file.
NO_COMMANDS = {
    "help": "see pooler --help",
    "start": "pooler CONFIG_FILE starts it; with -d in background",
    "restart": "pooler -R -d CONFIG_FILE replaces a running one without losing its clients",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program. Exits with 0, or 1 for whatever the operator has to look at."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: click.Command = serve
    name = "pooler"
    if given and given[0] in NO_COMMANDS:
        click.echo(f"pooler: there is no command {given[0]!r}: {NO_COMMANDS[given[0]]}", err=True)
        sys.exit(1)
    if given and given[0] in COMMANDS:
        command, name = COMMANDS[given[0]], f"pooler {given[0]}"
        del given[0]
    try:
        code = command.main(given, prog_name=name, standalone_mode=False)
    except click.ClickException as e:
        click.echo(f"{name}: {e.format_message()}", err=True)
        click.echo(f'Try "{name} --help" for more information.', err=True)
        code = 1
    except OperatorError as e:
        click.echo(f"{name}: {e}", err=True)
        code = 1
    except click.Abort:
        code = 1
    sys.exit(code or 0)
