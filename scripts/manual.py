"""The manual page man/pooler.1, made from the help of the commands; `scripts/reference` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

import pooler
from pooler import cli

PAGE = Path(__file__).resolve().parents[1] / "man" / "pooler.1"

_SIGNALS = (
    ("SIGHUP", "Read the configuration again."),
    ("SIGINT", "Take no new clients, wait until no server is in use, then end."),
    ("SIGTERM", "Take no new clients, wait until all clients have left, then end."),
    ("SIGQUIT", "End at once."),
    ("SIGUSR1", "Pause all pools."),
    ("SIGUSR2", "Let paused pools go on."),
)


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield r".\" scripts/reference makes this page of pooler/cli.py; change it there."
    yield f'.TH POOLER 1 "" "pooler {pooler.__version__}" "pooler"'
    yield from (".SH NAME", "pooler \\- connection pooler for PostgreSQL", ".SH SYNOPSIS")
    for name, command in _commands():
        arguments = [
            p.make_metavar(_context(command)) for p in command.params if isinstance(p, click.Argument)
        ]
        yield from (".br", rf".B {name}", _text(" ".join(["[OPTIONS]", *arguments])))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(cli.serve.help)
    yield from _paragraphs(cli.serve.epilog)
    yield from (".SH OPTIONS", *_options(cli.serve))
    for name, command in cli.COMMANDS.items():
        yield f".SH POOLER {name.upper()}"
        yield from _paragraphs(command.help)
        yield from _options(command)
    yield ".SH SIGNALS"
    for signal, text in _SIGNALS:
        yield from (".TP", rf".B {signal}", _text(text))
    yield from (".SH EXIT STATUS", "0 after an end that was asked for, 1 when pooler did not start.")
    yield from (".SH FILES", ".TP", ".I /etc/pooler/pooler.ini", "The configuration that the service reads.")
    yield from (".TP", ".I /usr/share/doc/pooler", "All documents: settings, console, guides.")
    yield from (".SH SEE ALSO", ".BR psql (1),", ".BR pgbouncer (1)")


def _commands() -> Iterator[tuple[str, click.Command]]:
    yield "pooler", cli.serve
    for name, command in cli.COMMANDS.items():
        yield f"pooler {name}", command


def _options(command: click.Command) -> Iterator[str]:
    """As `--help` lists them, its own option included."""
    context = _context(command)
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if isinstance(option, click.Option) and record is not None:
            names, text = record
            yield from (".TP", rf".B {_text(names)}", _text(text))


def _context(command: click.Command) -> click.Context:
    return click.Context(command, help_option_names=cli.HELP["help_option_names"])


def _paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in (text or "").split("\n\n"):
        yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """Escaped for roff; what stands between backquotes is bold."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    escaped = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", escaped)
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
