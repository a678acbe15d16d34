"""Values of settings as text and as Python: PgBouncer's dialect, to the letter where a file depends on it.

What is meant by that dialect, and is easily got wrong:

* integers are C's strtol with base 0: `0777` is octal, `0x1f` hexadecimal, `08` an error, nothing may follow;
* switches are integers too: 0 is off, anything else is on, words like `yes` are errors;
* times are seconds, fractions allowed (`0.25`);
* inside `key=value` lists ([databases], [users], [peers]) integers are C's atoi: `10s` is 10 and `ten` is 0;
* such lists are separated by spaces, quoted by '...' with '' for a quote, and no value may be empty.

Every parser raises `ValueError` with a text for the operator and nothing else, whatever it is given. The
texts about `key=value` lists show no values, because some of these are passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: What C's isspace() takes for white space; str.strip() alone would also take Unicode's.
WHITE_SPACE = " \t\n\v\f\r"

#: A C int. PgBouncer lets larger values wrap around silently.
INT_MIN, INT_MAX = -(2**31), 2**31 - 1
UNSIGNED_MAX = 2**32 - 1

#: Longest time in seconds: a trillion is "for ever", and as microseconds it still fits 64 bits.
SECONDS_MAX = 1e12

#: No sensible number is longer; Python refuses to convert texts of more than 4300 digits.
DIGITS_MAX = 64

_INTEGER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_LEADING_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?[0-9]+)?")


def parse_integer(text: str, low: int = INT_MIN, high: int = INT_MAX) -> int:
    """strtol(text, base 0) of the whole text, within bounds."""
    match = _INTEGER.fullmatch(text.lstrip(WHITE_SPACE))
    if match is None or len(match[2]) > DIGITS_MAX:
        raise ValueError("not an integer")
    sign, digits = match[1], match[2]
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    else:
        value = int(digits, 8 if digits[0] == "0" else 10)
    if sign == "-":
        value = -value
    if not low <= value <= high:
        raise ValueError(f"out of range, allowed is {low} to {high}")
    return value


def parse_switch(text: str) -> bool:
    try:
        return parse_integer(text) != 0
    except ValueError:
        raise ValueError("not a switch: write 0 or 1") from None


def parse_seconds(text: str, low: float = 0.0, high: float = SECONDS_MAX) -> float:
    """strtod of the whole text; `nan` and `inf` are refused, PgBouncer turns them into nonsense."""
    text = text.lstrip(WHITE_SPACE)
    try:
        if _DECIMAL.fullmatch(text):
            value = float(text)
        elif _HEXADECIMAL.fullmatch(text):
            value = float.fromhex(text)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError("not a time in seconds") from None
    if not low <= value <= high:
        raise ValueError(f"out of range, allowed is {low:g} to {high:g} seconds")
    return value + 0.0  # -0.0 becomes 0.0


def parse_word(text: str, words: Sequence[str]) -> str:
    """One of `words`, in any case; returned as declared."""
    for word in words:
        if word == text.lower():
            return word
    raise ValueError(f"must be one of {', '.join(words)}")


def parse_list(text: str) -> tuple[str, ...]:
    """Names separated by commas or white space, as PgBouncer looks for them; empty ones are dropped."""
    return tuple(name for name in re.split(r"[, \t\n\v\f\r]+", text) if name)


def parse_count_or_auto(text: str, low: int, high: int) -> int:
    """A number, or `auto`, which is 0."""
    if text.lower() == "auto":
        return 0
    try:
        return parse_integer(text, low, high)
    except ValueError as error:
        raise ValueError(f"{error}; or write auto") from None


def parse_leading_integer(text: str) -> tuple[int, bool]:
    """C's atoi, and whether the text was a plain number: garbage is 0, what follows a number is ignored."""
    match = _LEADING_INTEGER.match(text)
    if match is None:
        return 0, False
    if len(match[1]) > DIGITS_MAX or not INT_MIN <= int(match[1]) <= INT_MAX:
        raise ValueError(f"out of range, allowed is up to {INT_MAX}")
    return int(match[1]), match.end() == len(text)


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """`key=value key = 'it''s'` in order; a key may come twice."""
    pairs: list[tuple[str, str]] = []
    at = _skip_spaces(text, 0)
    while at < len(text):
        key, at = _read_key(text, at)
        value, at = _read_value(text, _skip_spaces(text, at), key)
        if not value:
            raise ValueError(f"empty value of {shown_name(key)}")
        pairs.append((key, value))
        at = _skip_spaces(text, at)
    return pairs


def _skip_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] == " ":
        at += 1
    return at


def _read_key(text: str, start: int) -> tuple[str, int]:
    """The key at `start` and the position behind its equals sign."""
    end = start
    while end < len(text) and text[end] not in "= ":
        end += 1
    equals = _skip_spaces(text, end)
    if end == start or text[equals : equals + 1] != "=":
        raise ValueError(f"expected name=value at character {start + 1} of the list")
    return text[start:end], equals + 1


def _read_value(text: str, start: int, key: str) -> tuple[str, int]:
    """The value at `start` and the position behind it."""
    if text[start : start + 1] != "'":
        end = text.find(" ", start)
        end = len(text) if end < 0 else end
        return text[start:end], end
    at, parts = start + 1, []
    while True:
        quote = text.find("'", at)
        if quote < 0:
            raise ValueError(f"unterminated quote in value of {shown_name(key)}")
        parts.append(text[at:quote])
        if text[quote + 1 : quote + 2] != "'":
            break
        parts.append("'")
        at = quote + 2
    if text[quote + 1 : quote + 2] not in ("", " "):
        raise ValueError(f"no space after the quoted value of {shown_name(key)}")
    return "".join(parts), quote + 1


def format_seconds(value: float) -> str:
    """As PgBouncer prints times: C's %g."""
    return f"{value:g}"


def format_list(value: Sequence[str]) -> str:
    return ", ".join(value)


def shown_name(key: str) -> str:
    """A key for an error text, unless it looks like a piece of a password that wasn't quoted."""
    return key if re.fullmatch("[A-Za-z_]{1,40}", key) else "a strange name"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`, did you mean ...?` when something known is close, else nothing."""
    from difflib import get_close_matches  # only needed when a file is wrong, and not cheap to import

    close = get_close_matches(name[:80], known, 1)
    return f", did you mean {close[0]}?" if close else ""
