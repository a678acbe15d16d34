"""The documents tell what the code has: pages that are made from it, and names on those that are not."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import click
import pytest

from pooler import cli
from pooler.admin.averages import COUNTERS
from pooler.admin.command import COMMANDS
from pooler.config.model import Database, Peer, UserOptions
from pooler.config.settings import SETTINGS
from pooler.monitor.metrics import GROUPS, full_name
from scripts import manual
from scripts.reference import DOCS, REFERENCE, pages

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("name", "text"), pages().items(), ids=pages())
def test_generated_pages_are_up_to_date(name: str, text: str) -> None:
    assert (DOCS / name).read_text() == text, "run scripts/reference"


def test_manual_page_is_up_to_date() -> None:
    assert manual.PAGE.read_text() == manual.page(), "run scripts/reference"


@pytest.mark.parametrize("command", [cli.serve, *cli.COMMANDS.values()], ids=lambda command: command.name)
def test_manual_page_has_what_help_says(command: click.Command) -> None:
    plain = " ".join(
        re.sub(r"\\f[BR]|\\&|^\.PP$", "", manual.page(), flags=re.MULTILINE).replace("\\-", "-").split()
    )
    for option in command.params:
        if isinstance(option, click.Option):
            assert all(name in plain for name in option.opts)
            assert (option.help or "?") in plain
    assert " ".join((command.help or "?").split()) in plain


def test_signals_of_the_manual_page_are_the_masters() -> None:
    handled = (ROOT / "pooler/master/signals.py").read_text()
    told = set(re.findall(r"^\.B (SIG\w+)", manual.page(), re.MULTILINE))
    assert {name for name in told if f"signal.{name}" not in handled} == set()


def test_maintainer_is_the_same_everywhere() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    metadata = setup["metadata"]
    maintainer = f"{metadata['author']} <{metadata['author_email']}>"
    assert f"Maintainer: {maintainer}\n" in (ROOT / "debian/control").read_text()


def test_every_setting_and_key_is_told() -> None:
    text = pages()["reference/settings.md"]
    assert all(f"### {name}\n" in text for name in SETTINGS)
    keys = {name for entry in (Database, UserOptions, Peer) for name in entry.__dataclass_fields__}
    told = re.findall(r"^\* `(\w+)`: (\S+)", text, re.MULTILINE)
    assert {name for name, _ in told} == keys - {"name", "id"}
    assert "Value:" not in [first for _, first in told], "a key without a sentence"


def test_every_command_has_a_sentence() -> None:
    assert all(entry.text.endswith(".") for entry in COMMANDS.values() if not entry.hidden)


def test_every_figure_is_told() -> None:
    text = (REFERENCE / "console-figures.md").read_text()
    columns = COMMANDS["show", "pools", "extended"].columns
    assert columns is not None
    wanted = {*COUNTERS, *(column.name for column in columns)} - {"database", "user"}
    assert wanted <= set(re.findall(r"`(\w+)`", text))


def test_every_metric_is_told() -> None:
    text = pages()["reference/metrics.md"]
    assert all(f"`{full_name(group, metric)}`" in text for group in GROUPS for metric in group.metrics)


def test_log_messages_are_those_of_the_code() -> None:
    """Each text in front of a colon, cut at what varies, stands in the code."""
    page = (REFERENCE / "log-messages.md").read_text()
    quoted = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\* ((?:`[^`]+`,? ?)+):", page, re.MULTILINE)))
    assert len(quoted) > 25
    code = "\n".join(path.read_text() for suffix in ("py", "c") for path in _sources(suffix))
    joined = re.sub(r'"\s*\n\s*f?"', "", code)  # literals in several lines
    for text in quoted:
        parts = [part.strip(" ,:()=.") for part in re.split(r"\.\.\.|\bN\b", text)]
        longest = max(parts, key=len)
        assert longest in joined or longest in re.sub(r"%\w|\{[^}]*\}", "", joined), text


def _sources(suffix: str) -> list[Path]:
    found = (ROOT / "pooler").rglob(f"*.{suffix}")
    return [path for path in found if not path.name.startswith("_core")]
