"""What a page answers."""

from __future__ import annotations

from dataclasses import dataclass, field

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """One answer."""

    body: bytes
    kind: str = TEXT
    status: str = "200 OK"
    headers: list[tuple[str, str]] = field(default_factory=list)


def text(status: str, *lines: str, **headers: str) -> Answer:
    """An answer of a few lines; `headers` by their names with _ for -."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Answer("".join(f"{line}\n" for line in lines).encode(), TEXT, status, named)
