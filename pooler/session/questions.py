"""What a server is asked about a session, and about the catalogs of its database.

Each question is a SELECT of three columns of type text (kind, name, value); the core joins those that matter with
UNION ALL. All names are qualified: the session that answers has the search_path of a stranger.

Kinds of rows: `s` a setting and its value; `p` something that pins, by the number of its bit in `enum trait`
(`core/words.h`); in an answer about the session `l` a channel that it listens on; `f` the fingerprint of the
catalogs; `k` a harmless function; `d` a word that may leave anything behind; `o` one that may change a setting
whose name nobody knows; `l` one that loads a library or the like; `s` one that counts by a sequence; `q` one that
reads what that left;
`n` the name of a custom setting; `x` a call that tells of connections of the session's own; `e`: an operator, a cast or a domain calls such a function, so no
word tells (`o`: nor the name of the setting).
"""

from __future__ import annotations

#: The settings of a client's limits are not meant for our questions.
_UNLIMITED = "SET LOCAL statement_timeout=0;"

#: Custom settings (`app.tenant`) are not shown there: the core asks for those that it has met by name.
SETTINGS = """
SELECT 's', name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'"""

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

#: What a user made has an oid from here on (access/transam.h: FirstNormalObjectId).
_USER = "16384"

#: Changes whenever a function, trigger, rule, view, default, policy or foreign key is made, changed or dropped.
FINGERPRINT = f"""{_UNLIMITED}
SELECT 'f', pg_catalog.concat_ws(',', functions, triggers, rules, policies, defaults, keys), NULL FROM
 (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8))
  FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>=) {_USER}) f (functions),
 (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8))
  FROM pg_catalog.pg_trigger WHERE NOT tgisinternal) t (triggers),
 (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8))
  FROM pg_catalog.pg_rewrite WHERE oid OPERATOR(pg_catalog.>=) {_USER}) r (rules),
 (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8))
  FROM pg_catalog.pg_policy) p (policies),
 (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8))
  FROM pg_catalog.pg_attrdef) d (defaults),
 (SELECT pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8))
  FROM pg_catalog.pg_constraint WHERE oid OPERATOR(pg_catalog.>=) {_USER}) c (keys)"""

#: What in a function's body may leave something behind in the session: dynamic SQL may do anything.
_LEAVES = (
    r"\m(set_config|pg_(try_)?advisory_lock|pg_(try_)?advisory_lock_shared|temp|temporary|pg_temp\w*|execute|"
    r"query_to_xml\w*|ts_stat)\M"
    r"|(^|;|\mbegin|\mthen|\melse|\mloop|\mas)\s*(set|reset|discard|listen|prepare)\M|\mwith\s+hold\M"
)
#: What stays until the session ends, and in the server even then.
_LOADS = (
    r"\m(dblink_connect\w*|setseed|pg_(start_backup|backup_start))\M"
    r"|(^|;|\mbegin|\mthen|\melse|\mloop|\mas)\s*load\M"
)
#: What leaves something for currval and lastval.
_COUNTS = r"\m(nextval|setval)\M"
_READS = r"\m(currval|lastval)\M"
#: set_config with anything but a whole literal as its name; texts that are made when they run.
_UNNAMED = r"set_config\s*\((?!\s*'[^'\\]*'(::\w+)?\s*,)|\m(execute|query_to_xml\w*|ts_stat)\M"
#: Literal names of settings with a dot, where they are set and where they are read.
_NAMED = r"(?:(?:set_config|current_setting)\s*\(\s*'|\mset\s+(?:session\s+)?)([a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)+)"
#: set_config, the functions of session level advisory locks: by their oids in parsed expressions.
_CALLS = ":funcid (2078|2880|2881|2882|2883|2886|2887|2888|2889) "


def _class(name: str) -> str:
    return f"'pg_catalog.{name}'::pg_catalog.regclass::pg_catalog.oid"


def _closure(name: str, condition: str) -> str:
    """Functions for which the condition holds, and all functions and relations from which one comes to such."""
    return rf"""{name} (kind, id) AS (
 SELECT 'f', oid FROM body WHERE {condition}
 UNION SELECT e.from_kind, e.from_id FROM edges e JOIN {name} x ON x.kind OPERATOR(pg_catalog.=) e.to_kind AND x.id OPERATOR(pg_catalog.=) e.to_id
)"""


def _words(letter: str, name: str) -> str:
    """The names of what a closure has found."""
    return rf"""SELECT '{letter}', proname::pg_catalog.text, NULL FROM pg_catalog.pg_proc p JOIN {name} x ON x.kind OPERATOR(pg_catalog.=) 'f' AND x.id OPERATOR(pg_catalog.=) p.oid
UNION SELECT '{letter}', relname::pg_catalog.text, NULL FROM pg_catalog.pg_class c JOIN {name} x ON x.kind OPERATOR(pg_catalog.=) 'r' AND x.id OPERATOR(pg_catalog.=) c.oid"""


def _wordless(how: str, name: str) -> str:
    """Whether an operator, a cast, an event trigger or a domain calls a function of a closure: no word tells."""
    return rf"""SELECT 'e', '{how}', NULL FROM {name} x WHERE x.kind OPERATOR(pg_catalog.=) 'f' AND (
 EXISTS (SELECT FROM pg_catalog.pg_operator WHERE oprcode::pg_catalog.oid OPERATOR(pg_catalog.=) x.id)
 OR EXISTS (SELECT FROM pg_catalog.pg_cast WHERE castfunc OPERATOR(pg_catalog.=) x.id)
 OR EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtfoid OPERATOR(pg_catalog.=) x.id)
 OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) d.objid
  WHERE d.classid OPERATOR(pg_catalog.=) {_class("pg_constraint")} AND d.refobjid OPERATOR(pg_catalog.=) x.id
  AND d.refclassid OPERATOR(pg_catalog.=) {_class("pg_proc")} AND c.contypid OPERATOR(pg_catalog.<>) 0))"""


#: current_setting and set_config in parsed expressions.
_SETTING_CALLS = ":funcid (2077|2078|3294) "


def _names_in(texts: str) -> str:
    return rf"""SELECT 'n', m[1], NULL FROM {texts}, $re${_NAMED}$re$, 'g') m"""


def _names_in_expressions(catalog: str, trees: str, text: str) -> str:
    """Names in expressions of a catalog that are kept as trees: only what calls such a function is printed.
    PostgreSQL's own are left out: nearly all of the time went into the trees of its views.
    """
    condition = f"oid OPERATOR(pg_catalog.>=) {_USER} AND "
    condition += f"pg_catalog.concat({trees}) OPERATOR(pg_catalog.~) '{_SETTING_CALLS}'"
    printed = f"(SELECT pg_catalog.lower(pg_catalog.concat({text})) AS text FROM pg_catalog.{catalog} WHERE {condition} OFFSET 0) e"
    return _names_in(f"{printed} CROSS JOIN LATERAL pg_catalog.regexp_matches(e.text")


#: Who leads to whom: functions to what their bodies name, tables to their triggers, defaults, policies and
#: checks, views to what they are made of, parents to partitions and to tables with foreign keys.
_EDGES = rf"""edges (from_kind, from_id, to_kind, to_id) AS MATERIALIZED (
 SELECT 'f', w.oid, 'f', callee.oid FROM words w JOIN body callee ON pg_catalog.lower(callee.proname::pg_catalog.text) OPERATOR(pg_catalog.=) w.word
 WHERE callee.oid OPERATOR(pg_catalog.<>) w.oid
 UNION SELECT 'f', w.oid, 'r', c.oid FROM words w JOIN pg_catalog.pg_class c ON pg_catalog.lower(c.relname::pg_catalog.text) OPERATOR(pg_catalog.=) w.word
 WHERE c.oid OPERATOR(pg_catalog.>=) {_USER} AND c.relkind::pg_catalog.text OPERATOR(pg_catalog.~) '[rvmpf]'
 UNION SELECT 'f', a.aggfnoid::pg_catalog.oid, 'f', part FROM pg_catalog.pg_aggregate a
 CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid]) part
 WHERE part OPERATOR(pg_catalog.>=) {_USER}
 UNION SELECT 'r', t.tgrelid, 'f', t.tgfoid FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal
 UNION SELECT CASE WHEN d.classid OPERATOR(pg_catalog.=) {_class("pg_proc")} THEN 'f' ELSE 'r' END,
  CASE WHEN d.classid OPERATOR(pg_catalog.=) {_class("pg_proc")} THEN d.objid ELSE coalesce(r.ev_class, a.adrelid, p.polrelid, c.conrelid) END,
  CASE WHEN d.refclassid OPERATOR(pg_catalog.=) {_class("pg_proc")} THEN 'f' ELSE 'r' END, d.refobjid
 FROM pg_catalog.pg_depend d
 LEFT JOIN pg_catalog.pg_rewrite r ON d.classid OPERATOR(pg_catalog.=) {_class("pg_rewrite")} AND r.oid OPERATOR(pg_catalog.=) d.objid
 LEFT JOIN pg_catalog.pg_attrdef a ON d.classid OPERATOR(pg_catalog.=) {_class("pg_attrdef")} AND a.oid OPERATOR(pg_catalog.=) d.objid
 LEFT JOIN pg_catalog.pg_policy p ON d.classid OPERATOR(pg_catalog.=) {_class("pg_policy")} AND p.oid OPERATOR(pg_catalog.=) d.objid
 LEFT JOIN pg_catalog.pg_constraint c ON d.classid OPERATOR(pg_catalog.=) {_class("pg_constraint")} AND c.oid OPERATOR(pg_catalog.=) d.objid
 WHERE (d.refclassid OPERATOR(pg_catalog.=) {_class("pg_proc")} AND d.refobjid OPERATOR(pg_catalog.>=) {_USER}
   AND (d.classid OPERATOR(pg_catalog.=) {_class("pg_proc")} OR coalesce(r.ev_class, a.adrelid, p.polrelid, c.conrelid) IS NOT NULL))
 OR (d.refclassid OPERATOR(pg_catalog.=) {_class("pg_class")} AND r.oid OPERATOR(pg_catalog.>=) {_USER})
 UNION SELECT 'r', inhparent, 'r', inhrelid FROM pg_catalog.pg_inherits
 UNION SELECT 'r', confrelid, 'r', conrelid FROM pg_catalog.pg_constraint WHERE contype OPERATOR(pg_catalog.=) 'f'
)"""

#: Relations whose view, default or policy calls such a function of PostgreSQL itself.
_DIRECT = rf"""direct (id) AS MATERIALIZED (
 SELECT r.ev_class FROM pg_catalog.pg_rewrite r
 WHERE r.oid OPERATOR(pg_catalog.>=) {_USER} AND r.ev_action::pg_catalog.text OPERATOR(pg_catalog.~) '{_CALLS}'
 UNION SELECT a.adrelid FROM pg_catalog.pg_attrdef a WHERE a.adbin::pg_catalog.text OPERATOR(pg_catalog.~) '{_CALLS}'
 UNION SELECT p.polrelid FROM pg_catalog.pg_policy p WHERE pg_catalog.concat(p.polqual, p.polwithcheck) OPERATOR(pg_catalog.~) '{_CALLS}'
 UNION SELECT c.conrelid FROM pg_catalog.pg_constraint c WHERE c.conbin::pg_catalog.text OPERATOR(pg_catalog.~) '{_CALLS}' AND c.conrelid OPERATOR(pg_catalog.<>) 0
)"""

#: Reads the whole: runs once per database and worker, and when the fingerprint has changed.
PROFILE = rf"""{_UNLIMITED}
WITH RECURSIVE body AS MATERIALIZED (
 SELECT p.oid, p.proname, pg_catalog.lower(pg_catalog.concat(
  p.prosrc, '; ', pg_catalog.regexp_replace(p.prosrc, '--[^\n]*|/[*]([^*]|[*]+[^*/])*[*]+/', ' ', 'g'))) AS source, pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.->>) 'prosqlbody' AS tree
 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
 WHERE p.oid OPERATOR(pg_catalog.>=) {_USER} AND l.lanname OPERATOR(pg_catalog.<>) ALL ('{{internal,c}}'::pg_catalog.name[])
), words AS MATERIALIZED (
 SELECT DISTINCT b.oid, word FROM body b CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(b.source, '[^a-z0-9_]+') word
), {_EDGES}, {_DIRECT}, {_closure("leaving0", f"source OPERATOR(pg_catalog.~) $re${_LEAVES}$re$ OR tree OPERATOR(pg_catalog.~) '{_CALLS}'")},
leaving (kind, id) AS (
 SELECT kind, id FROM leaving0 UNION SELECT 'r', id FROM direct
 UNION SELECT e.from_kind, e.from_id FROM edges e JOIN leaving x ON x.kind OPERATOR(pg_catalog.=) e.to_kind AND x.id OPERATOR(pg_catalog.=) e.to_id
), {_closure("opaque", f"source OPERATOR(pg_catalog.~) $re${_UNNAMED}$re$")},
{_closure("loading", f"source OPERATOR(pg_catalog.~) $re${_LOADS}$re$")},
{_closure("counting", f"source OPERATOR(pg_catalog.~) $re${_COUNTS}$re$")},
{_closure("reading", f"source OPERATOR(pg_catalog.~) $re${_READS}$re$")}
{_words("d", "leaving")}
UNION {_words("o", "opaque")}
UNION {_words("l", "loading")}
UNION {_words("s", "counting")}
UNION {_words("q", "reading")}
UNION {_wordless("*", "leaving")}
UNION {_wordless("o", "opaque")}
UNION {_names_in("body CROSS JOIN LATERAL pg_catalog.regexp_matches(source")}
UNION {_names_in("(SELECT oid FROM body WHERE tree IS NOT NULL) b CROSS JOIN LATERAL pg_catalog.regexp_matches(pg_catalog.lower(pg_catalog.pg_get_functiondef(b.oid))")}
UNION {_names_in_expressions("pg_rewrite", "ev_action", "pg_catalog.pg_get_ruledef(oid)")}
UNION {_names_in_expressions("pg_attrdef", "adbin", "pg_catalog.pg_get_expr(adbin, adrelid)")}
UNION {_names_in_expressions("pg_policy", "polqual, polwithcheck", "pg_catalog.pg_get_expr(polqual, polrelid), ' ', pg_catalog.pg_get_expr(polwithcheck, polrelid)")}
UNION {_names_in_expressions("pg_constraint", "conbin", "pg_catalog.pg_get_constraintdef(oid)")}
UNION SELECT 'x', pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(p.proname), '()'), NULL
 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
 WHERE p.proname OPERATOR(pg_catalog.=) 'dblink_get_connections' AND p.pronargs OPERATOR(pg_catalog.=) 0
 AND pg_catalog.has_schema_privilege('public', n.oid, 'usage') AND pg_catalog.has_function_privilege('public', p.oid, 'execute')
UNION SELECT 'k', proname::pg_catalog.text, NULL FROM pg_catalog.pg_proc"""

#: In the order of `enum question` in `core/session.h`.
QUESTIONS = tuple(
    " ".join(text.split("\n")).strip()
    for text in (SETTINGS, LOCKS, TEMP, PREPARED, CURSORS, CHANNELS, FINGERPRINT, PROFILE)
)
