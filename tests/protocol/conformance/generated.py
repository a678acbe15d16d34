"""Conversations by chance: clients that mix transactions, settings and pinned state, each in its own session.

What they say is chosen so that PostgreSQL itself answers the same every time: no client waits for a lock of
another, notifications go to the client itself only, and nobody asks whether a custom setting was never set or
is empty (that is in the list of what cannot be hidden).
"""

from __future__ import annotations

from hypothesis import strategies as st

from tests.protocol.conformance.case import Leave, Part, Say
from tests.support.exchange import Step
from tests.support.wire import SYNC, bind, close, describe, execute, extended, parse, query

TENANT = "SELECT coalesce(nullif(current_setting('app.tenant', true), ''), 'none')"

TRANSACTION = (
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "SELECT 1/0",
    "SELECT 1",
)

SETTINGS = (
    "SET work_mem = '2MB'",
    "SET LOCAL work_mem = '3MB'",
    "SET SESSION work_mem TO DEFAULT",
    "RESET work_mem",
    "RESET ALL",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET DateStyle = 'German'",
    "SET LOCAL TimeZone = 'UTC'",
    "SET application_name = 'mine'",
    "SET search_path = conf_evil, public",
    "SET search_path = public, pg_temp",
    "SET ROLE conf_one",
    "RESET ROLE",
    "SET app.tenant = 'one'",
    "SET LOCAL app.tenant = 'two'",
    "SELECT set_config('app.tenant', 'two', false)",
    "SELECT public.conf_set('work_mem', '7MB')",
    "SELECT public.conf_set_plpgsql('TimeZone', 'Europe/Paris')",
    "DO $$BEGIN PERFORM set_config('app.tenant', 'one', false); END$$",
    "DO $$BEGIN PERFORM set_config('work_mem', '9MB', false); RAISE division_by_zero; END$$",
    "SET no_such_setting = 1",
)

PINNED = (
    "CREATE TEMP TABLE t (x int)",
    "CREATE TEMP TABLE u (x int) ON COMMIT DROP",
    "INSERT INTO t VALUES (1)",
    "DROP TABLE t",
    "CREATE TEMP TABLE things AS SELECT 9 AS id, 'temporary' AS name",
    # without the notice, which tells whether the process has a temporary schema (known.py: SCHEMA_STAYS)
    "DO $$BEGIN PERFORM set_config('client_min_messages', 'error', true);"
    " DROP TABLE IF EXISTS pg_temp.things; END$$",
    "SELECT public.conf_temp('t')",
    "PREPARE a AS SELECT 'prepared', current_setting('work_mem')",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "DECLARE c CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 5) AS n",
    "CLOSE c",
    "CLOSE ALL",
    "SELECT pg_try_advisory_lock({key})",
    "SELECT public.conf_try({key})",
    "SELECT pg_advisory_unlock({key})",
    "SELECT pg_advisory_unlock_all()",
    "LISTEN {who}",
    "UNLISTEN {who}",
    "UNLISTEN *",
    "SELECT nextval('public.conf_seq')",
    "INSERT INTO public.serial (name) VALUES ('{who}')",
    "DISCARD ALL",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
    "DISCARD PLANS",
)

LOOKS = (
    "SHOW work_mem",
    "SELECT current_user, current_setting('search_path'), current_setting('statement_timeout')",
    "SELECT '2024-02-01 00:00+00'::timestamptz",
    TENANT,
    "SELECT what FROM public.tenants ORDER BY what",
    "SELECT name FROM things ORDER BY id LIMIT 1",
    "SELECT count(*) FROM t",
    "SELECT count(*) FROM u",
    "EXECUTE a",
    "FETCH 1 FROM c",
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "SELECT pg_listening_channels()",
    "NOTIFY {who}, 'x'",
    "SELECT currval('public.conf_seq')",
    "SELECT lastval()",
    "SELECT count(*) FROM pg_cursors WHERE is_holdable",
    "SELECT name FROM pg_prepared_statements WHERE from_sql",
    "UPDATE public.things SET name = name || '{who}' WHERE id = {row}",
    "",
)

TEXTS = st.one_of(*(st.sampled_from(texts) for texts in (TRANSACTION, SETTINGS, PINNED, LOOKS, LOOKS)))
#: May be parsed under a name and used later.
NAMED = st.sampled_from(
    ("SHOW work_mem", "SELECT name FROM things ORDER BY id LIMIT 1", "SET work_mem = '4MB'", TENANT)
)


def _texts(who: str, row: int) -> st.SearchStrategy[str]:
    return TEXTS.map(
        lambda text: text.format(who=f"conf_{who}", key=10 + row, row=row) if "$$" not in text else text
    )


@st.composite
def _part(draw: st.DrawFn, clients: str) -> Part:
    """Something that one of the clients does."""
    who = draw(st.sampled_from(clients))
    texts = _texts(who, clients.index(who) + 1)
    kind = draw(st.integers(0, 19))
    if kind < 12:
        return Say(draw(texts), who)
    if kind < 14:  # several statements in one string; an error ends it
        return Step(query("; ".join(draw(st.lists(texts, min_size=2, max_size=4)))), "Z", who)
    if kind < 16:  # in a pipeline, each by itself
        several = draw(st.lists(texts, min_size=2, max_size=4))
        encode = draw(st.sampled_from((query, lambda text: extended(text) + SYNC)))
        return Step(b"".join(map(encode, several)), "Z" * len(several), who)
    if kind < 17:  # in a pipeline, all in one transaction
        return Step(b"".join(map(extended, draw(st.lists(texts, min_size=2, max_size=3)))) + SYNC, "Z", who)
    if kind < 18:
        return Step(close("S", "n") + parse(draw(NAMED), "n") + SYNC, "Z", who)
    if kind < 19:
        return Step(bind((), "n") + describe() + execute() + SYNC, "Z", who)
    return Leave(who, draw(st.sampled_from(("terminate", "fin", "reset"))), 10 + clients.index(who) + 1)


@st.composite
def _block(draw: st.DrawFn, clients: str) -> list[Part]:
    """A whole transaction of one client."""
    who = draw(st.sampled_from(clients))
    texts = draw(st.lists(_texts(who, clients.index(who) + 1), min_size=1, max_size=5))
    end = draw(st.sampled_from(("COMMIT", "COMMIT", "ROLLBACK")))
    return [Say(text, who) for text in ("BEGIN", *texts, end)]


def conversations(clients: str) -> st.SearchStrategy[list[Part]]:
    """Lists of what the clients do, in turns."""
    single = _part(clients).map(lambda part: [part])
    several = st.lists(st.one_of(single, single, single, _block(clients)), min_size=8, max_size=24)
    return several.map(lambda found: [part for parts in found for part in parts])
