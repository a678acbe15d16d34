"""From the text of a query to a command: PgBouncer's grammar, which is two expressions.

    command [word [EXTENDED]] [;]        SET word = word|'text' [;]     (TO is as good as =)

A word is letters, digits and `_`, or anything "quoted". Exactly one command, no comments; everything else
is `invalid command '…', use SHOW HELP;`. The expressions cannot backtrack far: every alternative in them
starts with another character, and the text is short.
"""

from __future__ import annotations

import re

from pooler.admin.command import COMMANDS, EXTENDED
from pooler.admin.model import Command, CommandError

#: Anything longer is no command: the longest legal one has some 350 bytes. Also bounds the work of parsing.
MAX_COMMAND_BYTES = 8192

#: PgBouncer's buffers, in bytes without the quotes: more is `bad arguments`.
_MAX_COMMAND_WORD = 15
_MAX_WORD = 63
_MAX_VALUE = 255
#: How much of a wrong command is repeated in the error.
_MAX_ECHO = 900

_SPACE = r"[ \t\n\r]"
_WORD = r'("(?:[^"]|"")*"|[0-9a-z_]+)'
_TEXT = r"('(?:[^']|'')*')"
_END = rf"{_SPACE}*(?:;{_SPACE}*)?"

_COMMAND = re.compile(
    rf"{_SPACE}*{_WORD}(?:{_SPACE}+{_WORD}(?:{_SPACE}+({EXTENDED}))?)?{_END}", re.IGNORECASE | re.ASCII
)
_SET = re.compile(
    rf"{_SPACE}*set{_SPACE}+{_WORD}{_SPACE}*(?:=|to){_SPACE}*(?:{_TEXT}|{_WORD}){_END}",
    re.IGNORECASE | re.ASCII,
)


def parse(sql: bytes) -> Command:
    """The command in the text of a query; raises CommandError for everything that is none."""
    text = sql.decode("utf-8", "surrogateescape")
    if len(sql) > MAX_COMMAND_BYTES or "\0" in text:
        raise _invalid(text)
    if found := _COMMAND.fullmatch(text):
        return _command(text, found[1], found[2] or "", found[3] or "")
    if found := _SET.fullmatch(text):
        return _setting(_unquoted(found[1], _MAX_WORD), _unquoted(found[2] or found[3], _MAX_VALUE))
    raise _invalid(text)


def _command(text: str, word: str, argument: str, extended: str) -> Command:
    word = _unquoted(word, _MAX_COMMAND_WORD).lower()
    argument = _unquoted(argument, _MAX_WORD)
    if word == "select":
        word = "show"
    if extended:
        entry = COMMANDS.get((word, argument.lower(), EXTENDED))
        if entry is None:
            raise _invalid(text)
        return Command(entry)
    entry = COMMANDS.get((word, argument.lower()))
    if entry is not None and entry.arguments == "none":
        return Command(entry)
    entry = COMMANDS.get((word,))
    if entry is not None and (entry.arguments == "word" or (entry.arguments == "none" and not argument)):
        return Command(entry, argument)
    raise _invalid(text)


def _setting(key: str, value: str) -> Command:
    if not key:
        raise CommandError("bad arguments")
    entry = COMMANDS.get(("set", key.lower())) or COMMANDS[("set",)]
    return Command(entry, key, value)


def _unquoted(word: str, max_bytes: int) -> str:
    """A word without its quotes, doubled ones made single."""
    quote = word[:1]
    if quote in ("'", '"'):
        word = word[1:-1].replace(quote * 2, quote)
    if len(word.encode("utf-8", "surrogateescape")) > max_bytes:
        raise CommandError("bad arguments")
    return word


def _invalid(text: str) -> CommandError:
    return CommandError(f"invalid command '{text[:_MAX_ECHO]}', use SHOW HELP;")
