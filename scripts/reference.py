"""The pages that are made from the code: settings, console, command line, metrics, states; man/pooler.1.

`scripts/reference` writes them; tests/unit/test_reference.py compares them with what would be written.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

from pooler import cli
from pooler.admin.command import COMMANDS
from pooler.admin.model import Declaration
from pooler.config.model import Database, Peer, UserOptions
from pooler.config.options import Option
from pooler.config.settings import LIVE, NEW, SETTINGS, Setting
from pooler.monitor.exposition import COST
from pooler.monitor.metrics import GROUPS, Group, full_name
from scripts import manual, states

DOCS = Path(__file__).resolve().parents[1] / "docs"
REFERENCE = DOCS / "reference"

WIDTH = 120

_MADE = "`scripts/reference` makes this page of {source}; change it there."

_KINDS = {
    "integer": "a whole number",
    "switch": "0 or 1",
    "seconds": "seconds",
    "text": "text",
    "list": "a comma list",
    "word": "a word",
    "workers": "a whole number, or `auto`",
    "user": "a user's name",
    "port": "a port",
    "size": "a whole number; below 0: as the setting says",
    "limit": "a whole number; 0: as the setting says",
}

_SECTIONS = (
    ("databases", Database, "A key counts for one database, and more than the setting of the same name."),
    ("users", UserOptions, "A key counts for one user, and more than that of a database."),
    (
        "peers",
        Peer,
        "A key of another instance behind the same address; the name of an entry is its peer_id.",
    ),
)

#: Keys whose setting has another name.
_SETTING_OF = {"pool_size": "default_pool_size"}


def pages() -> dict[str, str]:
    """The text of each generated page by its path below docs."""
    made = {
        "reference/settings.md": _settings(),
        "reference/console.md": _console(),
        "reference/command-line.md": _command_line(),
        "reference/metrics.md": _metrics(),
        "internals/states.md": states.page(),
    }
    return {name: "\n".join(_wrapped(lines)) + "\n" for name, lines in made.items()}


def _wrapped(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith(("|", "    ", "#")) or not line:
            yield line
        else:
            indent = "  " if line.startswith("* ") else ""
            yield from textwrap.wrap(
                line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )


def _code(text: str | None) -> str:
    return f"`{text}`" if text else "empty"


def _settings() -> Iterator[str]:
    yield "# Which settings are there?"
    yield ""
    yield f"`[pgbouncer]` takes {len(SETTINGS)} settings; the other sections have keys of their own."
    yield ""
    yield "The format is PgBouncer's: `name = value`, one a line, times in seconds, switches 0 or 1."
    yield "`etc/pooler.ini` has the same as a file, and `SHOW CONFIG` the values in force."
    yield _MADE.format(source="`pooler/config/settings.py` and `pooler/config/model.py`")
    group = ""
    for setting in SETTINGS.values():
        if setting.group != group:
            group = setting.group
            yield from ("", f"## {group}")
        yield from _setting(setting)
    for name, entry, text in _SECTIONS:
        yield from ("", f"## Keys of [{name}]", "", text, "")
        for f in fields(entry):
            if "option" in f.metadata:
                yield _key(f.name, f.metadata["option"])


def _setting(setting: Setting) -> Iterator[str]:
    yield from ("", f"### {setting.name}", "", setting.text, "")
    kind = _KINDS[setting.kind]
    if setting.words:
        kind = "one of " + ", ".join(f"`{word}`" for word in setting.words)
    elif setting.unit and setting.unit != "s":
        kind += f", in {setting.unit}"
    yield f"* Value: {kind}. Default: {_code(setting.shown_default)}."
    scopes = " and ".join(f"`[{scope}]`" for scope in setting.scopes)
    yield f"* Set in: `[pgbouncer]`{', and as a key of ' + scopes if scopes else ''}."
    yield f"* A change counts {_when(setting)}."
    if setting.inert:
        yield f"* It has no effect: {setting.inert}."
    if setting.own:
        yield "* PgBouncer has no such setting."


def _when(setting: Setting) -> str:
    if setting.apply == LIVE:
        return "after a reload, at once"
    return "after a reload, for new connections" if setting.apply == NEW else "after a restart"


def _key(name: str, declared: Option) -> str:
    setting = SETTINGS.get(_SETTING_OF.get(name, name))
    text = declared.text or (f"As [{setting.name}](#{setting.name})." if setting else "")
    kind = _KINDS[declared.kind]
    if declared.words:
        kind = "one of " + ", ".join(f"`{word}`" for word in declared.words)
    return f"* `{name}`: {text} Value: {kind}."


def _console() -> Iterator[str]:
    yield "# Which commands has the console?"
    yield ""
    yield "The console, the database `pgbouncer` or `pooler`, has PgBouncer's commands and some of its own."
    yield ""
    yield "`admin_users` may give every command, `stats_users` those that are not marked."
    yield "[Monitoring](../guide/monitoring.md) says which to use when."
    yield _MADE.format(source="`pooler/admin/command.py`")
    shown = [entry for entry in COMMANDS.values() if not entry.hidden]
    yield from ("", "## Orders", "")
    for entry in shown:
        if entry.words[0] != "show":
            yield f"* `{_title(entry)}`: {entry.text}"
    yield from ("", "All of these are for `admin_users`.", "", "## SHOW", "")
    for entry in shown:
        if entry.words[0] == "show":
            only = " (`admin_users` only)" if entry.access == "admin" else ""
            yield f"* `{_title(entry)}`{only}: {entry.text}"
    yield from ("", "## Columns of SHOW", "")
    for entry in shown:
        if entry.columns:
            yield f"* `{_title(entry)}`: {', '.join(f'`{column.name}`' for column in entry.columns)}."


def _title(entry: Declaration) -> str:
    return " ".join((*map(str.upper, entry.words), entry.help)).rstrip()


def _command_line() -> Iterator[str]:
    yield "# How is pooler called?"
    yield ""
    yield (
        "`pooler CONFIG_FILE` runs the pooler, `pooler check CONFIG_FILE` tells what is wrong with a"
        " configuration, and `pooler dev` starts a PostgreSQL with pooler in front."
    )
    yield ""
    yield _MADE.format(source="`pooler/cli.py`")
    commands = {"pooler": cli.serve, **{f"pooler {name}": made for name, made in cli.COMMANDS.items()}}
    for name, command in commands.items():
        arguments = [param for param in command.params if isinstance(param, click.Argument)]
        usage = " ".join(
            f"[{a.human_readable_name}]" if not a.required else a.human_readable_name for a in arguments
        )
        yield from ("", f"## {name}", "", f"    {name} [OPTIONS] {usage}".rstrip(), "")
        yield from _paragraphs(command.help)
        yield from (_option(param) for param in command.params if isinstance(param, click.Option))
        yield "* `-h`, `--help`: Show this message and exit."
        if command.epilog:
            yield from ("", command.epilog)
    yield from (
        "",
        "The exit code of `pooler` is 0 after an end that was asked for, and 1 when it did not start.",
    )


def _metrics() -> Iterator[str]:
    yield "# Which metrics are there?"
    yield ""
    yield (
        "`GET /metrics` on `http_listen_port` gives these, in Prometheus's text format or as OpenMetrics"
        " 1.0.0, whichever the request prefers."
    )
    yield ""
    yield "[Prometheus](../guide/prometheus.md) tells how to turn it on."
    yield "All times are seconds; all counters begin at 0 when pooler starts."
    yield (
        "Of databases, pools, users and groups of clients the first"
        " [http_metrics_limit](settings.md#http_metrics_limit) have series of their own, all others are"
        " added up under the name `other`."
    )
    yield _MADE.format(source="`pooler/monitor/metrics.py`")
    yield from ("", "## Names of pgbouncer_exporter", "")
    yield (
        "Dashboards and alert rules for pgbouncer_exporter 0.12 work with these; the counters of a database"
        " have both names that go about, what the exporter emits and what its documents say."
    )
    yield from _groups("pgbouncer")
    yield from ("", "## Names of pooler's own")
    yield from _groups("pooler")
    yield f"* `pooler_{COST.name}` ({COST.kind}): {COST.text}"


def _groups(first: str) -> Iterator[str]:
    labels: tuple[str, ...] | None = None
    for group in sorted(
        (group for group in GROUPS if group.name.startswith(first)), key=lambda group: _label_order(group)
    ):
        if group.labels != labels:
            labels = group.labels
            named = ", ".join(f"`{name}`" for name in labels)
            yield from ("", f"Labels: {named}." if labels else "No labels.", "")
        for metric in group.metrics:
            yield f"* `{full_name(group, metric)}` ({metric.kind}): {metric.text}"


def _label_order(group: Group) -> tuple[int, tuple[str, ...]]:
    """Those without labels come last: the page ends with one more of them."""
    return not group.labels, group.labels


def _paragraphs(text: str | None) -> Iterator[str]:
    """A docstring, each paragraph as one line."""
    for paragraph in (text or "").split("\n\n"):
        yield from (" ".join(paragraph.split()), "")


def _option(option: click.Option) -> str:
    value = option.metavar or ""
    if isinstance(option.type, click.Choice):
        value = "|".join(option.type.choices)
    elif isinstance(option.type, click.IntRange) and not option.count:
        value = f"{option.type.min}-{option.type.max}"
    names = ", ".join(
        f"`{name}{' ' + value if value and name.startswith('--') else ''}`" for name in option.opts
    )
    return f"* {names}: {option.help}" + (f" Default: `{option.default}`." if option.show_default else "")


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text)
    manual.PAGE.write_text(manual.page())


if __name__ == "__main__":
    main()
