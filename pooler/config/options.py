"""What may stand in an entry of [databases], [users] or [peers], and how it is read.

An option is declared once, as a field of `Database`, `UserOptions` or `Peer` (model.py). PgBouncer has
three notions of "not given, inherit" and existing files rely on each, so that they are three kinds here:

* size: below 0 (`pool_size = 0` is a value, and means no limit);
* limit and seconds: 0 or below;
* everything else: absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Literal, Protocol

from pooler.config import url, values
from pooler.config.ini import Place
from pooler.config.userlist import USERNAME_BYTES_MAX, byte_length
from pooler.errors import Problem

OptionKind = Literal["text", "user", "port", "size", "limit", "seconds", "word"]
OptionValue = str | int | float | None


@dataclass(frozen=True)
class Option:
    """One key of an entry."""

    kind: OptionKind
    aliases: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    text: str = ""  # what it is for; of keys that are settings, too, the setting says that
    unlimited: bool = False  # 0 is no limit: garbage, which PgBouncer takes for 0, is refused

    def parse(self, text: str) -> tuple[OptionValue, str | None]:
        """The value and, where the text is odd but accepted, how it was understood; raises ValueError."""
        match self.kind:
            case "text":
                return text, None
            case "user":
                if byte_length(text) > USERNAME_BYTES_MAX:
                    raise ValueError(f"username too long, at most {USERNAME_BYTES_MAX} bytes")
                return text, None
            case "word":
                return values.parse_word(text, self.words), None
        number, plain = values.parse_leading_integer(text)
        if self.kind == "port" and not 1 <= number <= 65535:
            raise ValueError("not a port, allowed is 1 to 65535")
        if self.unlimited and not number and not plain:
            raise ValueError("not a number")
        remark = None if plain else f"not a number, taken as {number}, as PgBouncer does"
        if number < 0 or (number == 0 and self.kind in ("limit", "seconds")):
            return None, remark
        return float(number) if self.kind == "seconds" else number, remark


def option(kind: OptionKind, default: OptionValue = None, secret: bool = False, **declaration: Any) -> Any:
    """A dataclass field that is an option."""
    return field(default=default, repr=not secret, metadata={"option": Option(kind, **declaration)})


#: What other programs' connection strings have, and where it is said here.
_ELSEWHERE = {
    "sslmode": "; TLS to PostgreSQL is set by server_tls_sslmode in [pgbouncer]",
    "sslrootcert": "; TLS to PostgreSQL is set by server_tls_ca_file in [pgbouncer]",
    "sslcert": "; TLS to PostgreSQL is set by server_tls_cert_file in [pgbouncer]",
    "sslkey": "; TLS to PostgreSQL is set by server_tls_key_file in [pgbouncer]",
    "connect_timeout": "; it is server_connect_timeout in [pgbouncer]",
}


class _Entry(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def parse_entry(entry: type[_Entry], text: str, place: Place) -> tuple[dict[str, OptionValue], list[Problem]]:
    """The fields of `entry` that `key=value ...` gives, and what is wrong; the last of equal keys counts."""
    known = _options(entry)
    found: dict[str, OptionValue] = {}
    problems: list[Problem] = []
    try:
        pairs: Sequence[tuple[str, str]] = url.parse_pairs_or_url(text)
    except ValueError as error:
        return {}, [place.problem(f"syntax error: {error}")]
    for key, value in pairs:
        name, declared = known.get(key, ("", None))
        if declared is None:
            hint = _ELSEWHERE.get(key) or values.suggestion(key, known)
            problems.append(place.problem(f"unrecognized parameter: {values.shown_name(key)}{hint}"))
            continue
        try:
            found[name], remark = declared.parse(value)
        except ValueError as error:
            problems.append(place.problem(f"invalid {key}: {error}"))
            continue
        if remark:
            problems.append(place.problem(f"{key}: {remark}", "warning"))
    return found, problems


@cache
def _options(entry: type[_Entry]) -> dict[str, tuple[str, Option]]:
    """Field name and declaration by each key that may be written."""
    known: dict[str, tuple[str, Option]] = {}
    for f in fields(entry):
        declared = f.metadata.get("option")
        if declared is not None:
            for key in (f.name, *declared.aliases):
                known[key] = (f.name, declared)
    return known
