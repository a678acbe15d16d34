"""What is answered where: the application that the server asks (WSGI, PEP 3333).

A page is a function from the request to an answer. All but those that say so want a user of the console.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pooler.monitor.access import Access
from pooler.monitor.exposition import Exposition
from pooler.monitor.health import Health
from pooler.monitor.server import Environ, StartResponse

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """One answer."""

    body: bytes
    kind: str = TEXT
    status: str = "200 OK"
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """One path, and whether a user of the console has to ask for it."""

    answer: Callable[[Environ], Answer]
    login: bool = True


def text(status: str, *lines: str, **headers: str) -> Answer:
    """An answer of a few lines; `headers` by their names with _ for -."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Answer("".join(f"{line}\n" for line in lines).encode(), TEXT, status, named)


class Pages:
    """The application."""

    def __init__(self, access: Access, health: Health, metrics: Exposition) -> None:
        self._access = access
        self._pages = {
            "/healthz": Page(lambda _: _health(health.dead()), login=False),
            "/readyz": Page(lambda _: _health(health.not_ready()), login=False),
            "/metrics": Page(lambda environ: Answer(*metrics.text(environ.get("HTTP_ACCEPT", "")))),
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        start_response(
            answer.status,
            [
                ("Content-Type", answer.kind),
                ("Content-Length", str(len(answer.body))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                *answer.headers,
            ],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answer(self, environ: Environ) -> Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return text("405 Method Not Allowed", "only GET and HEAD are known here", Allow="GET, HEAD")
        page = self._pages.get(environ["PATH_INFO"])
        if page is None:
            return text("404 Not Found", "there are:", *self._pages)
        if page.login:
            header = environ.get("HTTP_AUTHORIZATION", "")
            if self._access.level(header, environ["REMOTE_ADDR"]) is None:
                return text(
                    "401 Unauthorized",
                    "a user of admin_users or stats_users has to log in",
                    WWW_Authenticate='Basic realm="pooler", charset="UTF-8"',
                )
        return page.answer(environ)


def _health(wrong: list[str]) -> Answer:
    return text("503 Service Unavailable", *wrong) if wrong else text("200 OK", "ok")
