"""What a server is asked about a session, and about the catalogs of its database.

Each question is a SELECT of three columns of type text (kind, name, value); the core joins those that matter with
UNION ALL. All names are qualified: the session that answers has the search_path of a stranger.

Kinds of rows: `s` a setting and its value; `p` something that pins, by the number of its bit in `enum trait`
(`core/words.h`); `l` a channel that it listens on; `f` the fingerprint of the catalogs; `k` a harmless function; `d` a word that may leave
anything behind; `o` one that may change a setting whose name nobody knows; `q` one that reads sequences;
`n` the name of a custom setting; `e`: an operator, a cast or a domain calls such a function, so no word tells.
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
    r"\m(set_config|pg_(try_)?advisory_lock|pg_(try_)?advisory_lock_shared|temp|temporary|pg_temp\w*|execute|nextval|"
    r"setval|dblink_connect\w*|setseed|query_to_xml\w*|ts_stat)\M"
    r"|(^|;|\mbegin|\mthen|\melse|\mloop|\mas)\s*(set|reset|discard|listen|load|prepare)\M|\mwith\s+hold\M"
)
#: set_config with anything but a literal as its name.
_UNNAMED = r"set_config\s*\(\s*[^'\s]"
#: Literal names of settings with a dot.
_NAMED = r"(?:set_config\s*\(\s*'|\mset\s+(?:session\s+)?)([a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)+)"
#: set_config, the functions of session level advisory locks, nextval, setval: by their oids in parsed expressions.
_CALLS = ":funcid (2078|2880|2881|2882|2883|2886|2887|2888|2889) "

#: Reads the whole: runs once per database and worker, and when the fingerprint has changed.
PROFILE = rf"""{_UNLIMITED}
WITH RECURSIVE body AS MATERIALIZED (
 SELECT p.oid, p.proname, pg_catalog.lower(p.prosrc) AS source, pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.->>) 'prosqlbody' AS tree
 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
 WHERE p.oid OPERATOR(pg_catalog.>=) {_USER} AND l.lanname OPERATOR(pg_catalog.<>) ALL ('{{internal,c}}'::pg_catalog.name[])
), used AS MATERIALIZED (
 SELECT DISTINCT b.oid AS caller, callee.oid AS callee FROM body b
 CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(b.source, '[^a-z0-9_]+') word
 JOIN body callee ON pg_catalog.lower(callee.proname::pg_catalog.text) OPERATOR(pg_catalog.=) word
 WHERE callee.oid OPERATOR(pg_catalog.<>) b.oid
 UNION SELECT a.aggfnoid::pg_catalog.oid, part FROM pg_catalog.pg_aggregate a
 CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid]) part
 WHERE part OPERATOR(pg_catalog.>=) {_USER}
 UNION SELECT d.objid, d.refobjid FROM pg_catalog.pg_depend d
 WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
 AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
), leaving AS (
 SELECT oid FROM body WHERE source OPERATOR(pg_catalog.~) $re${_LEAVES}$re$ OR tree OPERATOR(pg_catalog.~) '{_CALLS}'
 UNION SELECT u.caller FROM used u JOIN leaving l ON l.oid OPERATOR(pg_catalog.=) u.callee
), opaque AS (
 SELECT oid FROM body WHERE source OPERATOR(pg_catalog.~) $re${_UNNAMED}$re$
 UNION SELECT u.caller FROM used u JOIN opaque o ON o.oid OPERATOR(pg_catalog.=) u.callee
), reading AS (
 SELECT oid FROM body WHERE source OPERATOR(pg_catalog.~) $re$\m(currval|lastval)\M$re$
 UNION SELECT u.caller FROM used u JOIN reading o ON o.oid OPERATOR(pg_catalog.=) u.callee
), touched AS (
 SELECT t.tgrelid AS relation FROM pg_catalog.pg_trigger t JOIN leaving l ON l.oid OPERATOR(pg_catalog.=) t.tgfoid
 UNION SELECT r.ev_class FROM pg_catalog.pg_rewrite r
 WHERE r.oid OPERATOR(pg_catalog.>=) {_USER} AND r.ev_action::pg_catalog.text OPERATOR(pg_catalog.~) '{_CALLS}'
 UNION SELECT a.adrelid FROM pg_catalog.pg_attrdef a WHERE a.adbin::pg_catalog.text OPERATOR(pg_catalog.~) '{_CALLS}'
 UNION SELECT p.polrelid FROM pg_catalog.pg_policy p
 WHERE pg_catalog.concat(p.polqual, p.polwithcheck) OPERATOR(pg_catalog.~) '{_CALLS}'
 UNION SELECT coalesce(r.ev_class, a.adrelid, p.polrelid, c.conrelid)
 FROM pg_catalog.pg_depend d JOIN leaving l ON l.oid OPERATOR(pg_catalog.=) d.refobjid
 LEFT JOIN pg_catalog.pg_rewrite r ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid OPERATOR(pg_catalog.=) d.objid
 LEFT JOIN pg_catalog.pg_attrdef a ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid OPERATOR(pg_catalog.=) d.objid
 LEFT JOIN pg_catalog.pg_policy p ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid OPERATOR(pg_catalog.=) d.objid
 LEFT JOIN pg_catalog.pg_constraint c ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid OPERATOR(pg_catalog.=) d.objid
 WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
), reach AS MATERIALIZED (
 SELECT r.ev_class AS outer_one, d.refobjid AS inner_one FROM pg_catalog.pg_rewrite r
 JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) r.oid
 WHERE r.oid OPERATOR(pg_catalog.>=) {_USER} AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
 UNION SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits
 UNION SELECT confrelid, conrelid FROM pg_catalog.pg_constraint WHERE contype OPERATOR(pg_catalog.=) 'f'
), relations AS (
 SELECT relation FROM touched WHERE relation IS NOT NULL
 UNION SELECT r.outer_one FROM reach r JOIN relations x ON x.relation OPERATOR(pg_catalog.=) r.inner_one
)
SELECT 'd', proname::pg_catalog.text, NULL FROM pg_catalog.pg_proc p JOIN leaving l ON l.oid OPERATOR(pg_catalog.=) p.oid
UNION SELECT 'd', relname::pg_catalog.text, NULL FROM pg_catalog.pg_class c JOIN relations r ON r.relation OPERATOR(pg_catalog.=) c.oid
UNION SELECT 'o', proname::pg_catalog.text, NULL FROM pg_catalog.pg_proc p JOIN opaque o ON o.oid OPERATOR(pg_catalog.=) p.oid
UNION SELECT 'q', proname::pg_catalog.text, NULL FROM pg_catalog.pg_proc p JOIN reading o ON o.oid OPERATOR(pg_catalog.=) p.oid
UNION SELECT 'e', '*', NULL FROM leaving l WHERE EXISTS (SELECT FROM pg_catalog.pg_operator WHERE oprcode::pg_catalog.oid OPERATOR(pg_catalog.=) l.oid)
 OR EXISTS (SELECT FROM pg_catalog.pg_cast WHERE castfunc OPERATOR(pg_catalog.=) l.oid)
 OR EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtfoid OPERATOR(pg_catalog.=) l.oid)
 OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) d.objid
  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) l.oid
  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND c.contypid OPERATOR(pg_catalog.<>) 0)
UNION SELECT 'n', m[1], NULL FROM body CROSS JOIN LATERAL pg_catalog.regexp_matches(source, $re${_NAMED}$re$, 'g') m
UNION SELECT 'n', m[1], NULL FROM body b CROSS JOIN LATERAL
 pg_catalog.regexp_matches(pg_catalog.lower(pg_catalog.pg_get_functiondef(b.oid)), $re${_NAMED}$re$, 'g') m WHERE b.tree IS NOT NULL
UNION SELECT 'n', m[1], NULL FROM relations x JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) x.relation CROSS JOIN LATERAL
 pg_catalog.regexp_matches(pg_catalog.lower(pg_catalog.pg_get_viewdef(c.oid)), $re${_NAMED}$re$, 'g') m WHERE c.relkind OPERATOR(pg_catalog.=) 'v'
UNION SELECT 'n', m[1], NULL FROM relations x JOIN pg_catalog.pg_attrdef a ON a.adrelid OPERATOR(pg_catalog.=) x.relation CROSS JOIN LATERAL
 pg_catalog.regexp_matches(pg_catalog.lower(pg_catalog.pg_get_expr(a.adbin, a.adrelid)), $re${_NAMED}$re$, 'g') m
UNION SELECT 'k', proname::pg_catalog.text, NULL FROM pg_catalog.pg_proc"""

#: In the order of `enum question` in `core/session.h`.
QUESTIONS = tuple(
    " ".join(text.split("\n")).strip()
    for text in (SETTINGS, LOCKS, TEMP, PREPARED, CURSORS, CHANNELS, FINGERPRINT, PROFILE)
)
