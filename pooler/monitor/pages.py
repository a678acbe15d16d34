"""What is answered where: the application that the server asks (WSGI, PEP 3333).

`/healthz` and `/readyz` are for everybody whose address may ask; all others want a user of the console, and
only so many of their answers, which may be large, are there at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gevent.lock import BoundedSemaphore

from pooler.admin.model import Access as Level
from pooler.monitor.access import Access
from pooler.monitor.answer import Answer, text
from pooler.monitor.api import PREFIX, Api
from pooler.monitor.exposition import Exposition
from pooler.monitor.health import Health
from pooler.monitor.server import Environ, StartResponse

#: Large answers that are made or sent at once: with thousands of clients one has some megabytes.
LARGE = 8
#: Longest wait for one of those to be over.
LARGE_WAIT_S = 5.0

Page = Callable[[Environ, Level], Answer]


class Pages:
    """The application."""

    def __init__(self, access: Access, health: Health, metrics: Exposition, api: Api) -> None:
        self._access = access
        self._api = api
        self._large = BoundedSemaphore(LARGE)
        self._open: dict[str, Callable[[], list[str]]] = {
            "/healthz": health.dead,
            "/readyz": health.not_ready,
        }
        self._pages: dict[str, Page] = {
            "/metrics": lambda environ, _: Answer(*metrics.text(environ.get("HTTP_ACCEPT", ""))),
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            answer = text("405 Method Not Allowed", "only GET and HEAD are known here", Allow="GET, HEAD")
            return _sent(answer, environ, start_response)
        path: str = environ["PATH_INFO"]
        if path in self._open:
            return _sent(_health(self._open[path]()), environ, start_response)
        page = self._page(path)
        if page is None:
            answer = text("404 Not Found", "there are:", *self._open, *self._pages, PREFIX)
            return _sent(answer, environ, start_response)
        level = self._access.level(environ.get("HTTP_AUTHORIZATION", ""), environ["REMOTE_ADDR"])
        if level is None:
            answer = text(
                "401 Unauthorized",
                "a user of admin_users or stats_users has to log in",
                WWW_Authenticate='Basic realm="pooler", charset="UTF-8"',
            )
            return _sent(answer, environ, start_response)
        if not self._large.acquire(timeout=LARGE_WAIT_S):
            answer = text("503 Service Unavailable", "too many ask at once", Retry_After="1")
            return _sent(answer, environ, start_response)
        return _Large(self._large, lambda: _sent(page(environ, level), environ, start_response))

    def _page(self, path: str) -> Page | None:
        if path.startswith(PREFIX):
            name = path.removeprefix(PREFIX)
            return lambda _, level: self._api.answer(name, level)
        return self._pages.get(path)


class _Large:
    """An answer that is made when it is about to be sent, and counted until it was: see `close`."""

    def __init__(self, counted: BoundedSemaphore, make: Callable[[], Iterable[bytes]]) -> None:
        self._counted = counted
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._make())

    def close(self) -> None:
        """The server calls it, whatever became of the answer."""
        self._counted.release()


def _sent(answer: Answer, environ: Environ, start_response: StartResponse) -> list[bytes]:
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


def _health(wrong: list[str]) -> Answer:
    return text("503 Service Unavailable", *wrong) if wrong else text("200 OK", "ok")
