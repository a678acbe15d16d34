"""What a server is asked about a session.

Each question is a SELECT of three columns of type text (kind, name, value); the core joins those that matter with
UNION ALL. All names are qualified: the session that answers has the search_path of a stranger.

Kinds of rows: `s` a setting and its value, in hex and in the encoding of the database; `d` the default of
a limit that is not in force for the question itself (its value comes first, as `v`: `core/session/probe.c`); `p` something that pins, by the number of its bit in `enum effect_flag`
(`core/sql/effects.h`); `l` a channel that it listens on.
"""

from __future__ import annotations

#: Custom settings (`app.tenant`) are not shown there: the core asks for those that it has met by name.
SETTINGS = """
SELECT CASE WHEN own THEN 'd' ELSE 's' END, name, CASE WHEN own THEN reset_val
 ELSE pg_catalog.encode(pg_catalog.convert_to(setting, pg_catalog.getdatabaseencoding()), 'hex') END
 FROM pg_catalog.pg_settings, LATERAL (SELECT name OPERATOR(pg_catalog.=)
 ANY ('{statement_timeout,lock_timeout,transaction_timeout}'::pg_catalog.text[])) limits (own)
 WHERE source OPERATOR(pg_catalog.=) 'session'"""

LOCKS = """
SELECT 'p', '1', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks
 WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"""

#: Every object of a schema depends on it, so one index look-up finds tables, functions and types alike.
TEMP = """
SELECT 'p', '2', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend
 WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
 AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"""

PREPARED = """
SELECT 'p', '3', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)"""

CURSORS = """
SELECT 'p', '4', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"""

CHANNELS = """
SELECT 'l', channel, NULL FROM pg_catalog.pg_listening_channels() channel"""

#: A setting of PostgreSQL 17 and later, which ends the session that it strikes. It has no row.
_NO_TRANSACTION_TIMEOUT = """
SELECT NULL WHERE CASE WHEN pg_catalog.current_setting('transaction_timeout', true) OPERATOR(pg_catalog.<>) '0'
 THEN pg_catalog.set_config('transaction_timeout', '0', true) END OPERATOR(pg_catalog.=) '';"""

#: The settings of a client are not meant for our questions, nor is waiting for a safe snapshot (DEFERRABLE); a limit of
#: their own is.
_UNLIMITED = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED,READ ONLY,NOT DEFERRABLE;"
    f"SET LOCAL jit=off;{_NO_TRANSACTION_TIMEOUT}SET LOCAL exit_on_error=off;"
    "SET LOCAL statement_timeout=10000;SET LOCAL lock_timeout=0;"
)

#: What a RESET leads to, for parameters that PostgreSQL reports, and what roles and databases have been given: no value of
#: the session that answers matters, nor who it is now: the role is that of its login.
DEFAULTS = f"""{_UNLIMITED}
SELECT 'r', pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(s.xmin::pg_catalog.text::pg_catalog.int8)), NULL
 FROM pg_catalog.pg_db_role_setting s
 WHERE (s.setdatabase OPERATOR(pg_catalog.=) 0 OR s.setdatabase OPERATOR(pg_catalog.=)
  (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))
 AND (s.setrole OPERATOR(pg_catalog.=) 0 OR s.setrole OPERATOR(pg_catalog.=)
  (SELECT usesysid FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())))
UNION ALL SELECT 'v', name, CASE WHEN name OPERATOR(pg_catalog.=) 'in_hot_standby' THEN setting ELSE reset_val END
 FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) ANY ('{{client_encoding,DateStyle,IntervalStyle,TimeZone,
 standard_conforming_strings,default_transaction_read_only,in_hot_standby,search_path,scram_iterations}}'::pg_catalog.text[])"""

#: In the order of `enum question` in `core/session/probe.h`.
QUESTIONS = tuple(
    " ".join(text.split("\n")).strip()
    for text in (SETTINGS, LOCKS, TEMP, PREPARED, CURSORS, CHANNELS, DEFAULTS)
)
