"""What is asked of the catalogs, in small pieces, by an idle server of the database (core/catalog/read.c).

Each class is a key, which rows are ordered by, and a SELECT with two places: `$W` for a condition on the key, `$T` for
order and limit. Its columns are texts: oid, xmin, owners (oids of what gets the effects; `E`: every statement, `D`: every
DDL), kind of the name (`f` function, `i` `s` `v` one of a user's by its volatility, `r` relation, `t` type, `o` operator), name, extra, oids that it refers to, an
expression as PostgreSQL keeps it, a body. Long expressions come in parts, a row each.
"""

from __future__ import annotations

import re

#: What a user made has an oid from here on (access/transam.h: FirstNormalObjectId).
_USER = "16384"
#: A longer body is not looked at: what it does is unknown. Expressions come in parts, of which there are so many.
_BODY_BYTES, _PART, _PARTS = "60000", 12000, 64
_OVERLAP = 64  # of parts: no number is cut in two

_FUNCTIONS = (
    "age array_to_string array_agg concat concat_ws count current_database encode generate_series length octet_length"
    " pg_client_encoding pg_control_checkpoint pg_control_system pg_postmaster_start_time sha256 string_agg substr sum unnest"
    " current_setting xidsend"
)
_TABLES = (
    "pg_aggregate pg_amop pg_amproc pg_attrdef pg_attribute pg_cast pg_class pg_constraint pg_database pg_depend"
    " pg_event_trigger pg_extension pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_index pg_inherits"
    " pg_language pg_opclass pg_operator pg_partitioned_table pg_policy pg_proc pg_range pg_rewrite pg_statistic_ext"
    " pg_trigger pg_type"
)


def _qualified(text: str) -> str:
    """All names and operators as PostgreSQL's own: the session that answers has the search_path of a stranger."""
    text = " ".join(text.split())
    text = re.sub(r'::(\w+|"char")', r"::pg_catalog.\1", text)
    text = re.sub(r" (=|<>|<=|>=|<|>|\|\||-|\+|\*) ", r" OPERATOR(pg_catalog.\1) ", text)
    text = re.sub(rf"\b({'|'.join(_FUNCTIONS.split())})\(", r"pg_catalog.\1(", text)
    return re.sub(rf"(?<![\w.'])({'|'.join(_TABLES.split())})\b(?!\()", r"pg_catalog.\1", text)


def _extension(function: str) -> str:
    """Which one a function belongs to: two plans of one table each take less time to make than one of both."""
    return f"""(SELECT e.extname::text FROM pg_extension e WHERE e.oid = (SELECT d.refobjid FROM pg_depend d
     WHERE d.classid = '1255'::oid AND d.objid = {function} AND d.refclassid = '3079'::oid
     AND d.deptype = 'e'::"char" LIMIT 1))"""


def _in_parts(columns: str, source: str) -> str:
    """The same row for each part of `tree`; a tree of too many parts says so by `T`."""
    return f"""SELECT x.oid::text, x.xmin, {columns}, substr(x.tree, 1 + {_PART} * i, {_PART + _OVERLAP}), NULL
     FROM ({source} OFFSET 0) x CROSS JOIN LATERAL generate_series(0, length(x.tree) / {_PART}) i
     WHERE i < {_PARTS}""".replace("x.tree) /", "x.tree) OPERATOR(pg_catalog./)")


def _expressions(
    table: str, tree: str, owners: str, refs: str = "NULL", where: str = "", key: str = "oid"
) -> str:
    """Objects that have no name of their own, and expressions."""
    source = f"""SELECT t.{key} AS oid, t.xmin::text AS xmin, {owners} AS owners, {refs} AS refs, concat({tree}, ' ') AS tree
     FROM {table} t WHERE {where} $W $T"""
    return _in_parts("x.owners, NULL, NULL, NULL, x.refs", source)


_HANDLER = f"""CASE WHEN c.relkind = 'f' THEN concat('F', (SELECT {_extension("w.fdwhandler")}
 FROM pg_foreign_table ft JOIN pg_foreign_server s ON s.oid = ft.ftserver JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
 WHERE ft.ftrelid = c.oid)) END"""

#: The language of nearly all functions is found without a look into its table for each of them.
_LANGUAGE = """CASE WHEN p.prolang = '14'::oid THEN 'sql'
 WHEN p.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'plpgsql'::name) THEN 'plpgsql'
 ELSE (SELECT l.lanname::text FROM pg_language l WHERE l.oid = p.prolang) END"""

_FUNCTION = f"""SELECT p.oid::text, p.xmin::text, p.oid::text, p.provolatile::text, p.proname::text,
 concat({_LANGUAGE}, ' ', CASE WHEN p.prolang = ANY ('{{12,13}}'::oid[]) THEN {_extension("p.oid")}
  ELSE array_to_string(p.proconfig, ' ') END),
 concat_ws(' ', p.proargtypes::text, p.proallargtypes::text, p.prorettype::text,
  CASE WHEN p.prokind = 'a'::"char" THEN (SELECT concat_ws(' ', a.aggtransfn::oid::text, a.aggfinalfn::oid::text,
   a.aggcombinefn::oid::text, a.aggserialfn::oid::text, a.aggdeserialfn::oid::text, a.aggmtransfn::oid::text,
   a.aggminvtransfn::oid::text, a.aggmfinalfn::oid::text) FROM pg_aggregate a WHERE a.aggfnoid::oid = p.oid) END),
 concat(p.prosqlbody, ' ', p.proargdefaults), CASE WHEN octet_length(p.prosrc) <= {_BODY_BYTES} THEN p.prosrc END
 FROM pg_proc p WHERE p.oid >= {_USER} AND $W $T"""

_TYPE_REFS = """concat_ws(' ', t.typinput::oid::text, t.typoutput::oid::text, t.typreceive::oid::text, t.typsend::oid::text,
 t.typbasetype::text, t.typelem::text, CASE WHEN t.typrelid <> 0::oid THEN t.typrelid::text END,
 (SELECT concat_ws(' ', r.rngsubtype::text, r.rngsubopc::text, r.rngcanonical::oid::text, r.rngsubdiff::oid::text)
 FROM pg_range r WHERE r.rngtypid = t.oid))"""

#: Key, and SELECT: in the order of `enum catalog_class` in core/catalog/read.h.
_CLASSES: tuple[tuple[str, str], ...] = (
    (
        "oid",
        """SELECT oid::text, '0', oid::text, 'f', proname::text, provolatile::text, NULL, NULL, NULL
     FROM pg_proc WHERE oid < 16384 AND $W $T""",
    ),
    (
        "oid",
        """SELECT oid::text, '0', oid::text, 'r', relname::text, NULL, NULL, NULL, NULL
     FROM pg_class WHERE oid < 16384 AND relkind = ANY ('{r,v}'::"char"[]) AND $W $T""",
    ),
    (
        "oid",
        """SELECT oid::text, '0', NULL, 't', typname::text, NULL, NULL, NULL, NULL
     FROM pg_type WHERE oid < 16384 AND $W $T""",
    ),
    (
        "oid",
        """SELECT oid::text, '0', NULL, 'o', oprname::text, NULL, NULL, NULL, NULL
     FROM pg_operator WHERE oid < 16384 AND $W $T""",
    ),
    ("p.oid", _FUNCTION),
    (
        "c.oid",
        f"""SELECT c.oid::text, c.xmin::text, c.oid::text, 'r', c.relname::text, {_HANDLER},
     (SELECT string_agg(a.atttypid::text, ' ') FROM pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid >= {_USER}), NULL, NULL
     FROM pg_class c WHERE c.oid >= {_USER} AND c.relkind = ANY ('{{r,v,m,p,f,S,c}}'::"char"[]) AND c.relpersistence <> 't' AND $W $T""",
    ),
    (
        "t.oid",
        f"""SELECT t.oid::text, t.xmin::text, t.oid::text, 't', t.typname::text, NULL, {_TYPE_REFS}, t.typdefaultbin::text, NULL
     FROM pg_type t WHERE t.oid >= {_USER} AND $W $T""",
    ),
    (
        "oid",
        f"""SELECT oid::text, xmin::text, oid::text, 'o', oprname::text, NULL,
     concat_ws(' ', oprcode::oid::text, oprrest::oid::text, oprjoin::oid::text), NULL, NULL
     FROM pg_operator WHERE oid >= {_USER} AND $W $T""",
    ),
    (
        "oid",
        # An implicit cast has no word; nor has one to json, which functions of json look for.
        f"""SELECT oid::text, xmin::text, concat_ws(' ', casttarget::text, CASE WHEN castcontext <> 'e'
      OR casttarget = ANY ('{{114,3802}}'::oid[]) THEN 'E' END), NULL, NULL, NULL, castfunc::text, NULL, NULL
     FROM pg_cast WHERE oid >= {_USER} AND castfunc <> 0::oid AND $W $T""",
    ),
    (
        "t.oid",
        _expressions(
            "pg_rewrite", "t.ev_action, ' ', t.ev_qual", "t.ev_class::text", where=f"t.oid >= {_USER} AND"
        ),
    ),
    ("t.oid", _expressions("pg_attrdef", "t.adbin", "t.adrelid::text", where="")),
    (
        "t.oid",
        _expressions("pg_policy", "t.polqual, ' ', t.polwithcheck", "t.polrelid::text", where=""),
    ),
    (
        "t.oid",
        _expressions(
            "pg_constraint",
            "t.conbin",
            "concat_ws(' ', t.conrelid::text, t.contypid::text, t.confrelid::text)",
            "concat_ws(' ', t.conrelid::text, t.confrelid::text, array_to_string(t.conexclop, ' '))",
            f"t.oid >= {_USER} AND (t.conbin IS NOT NULL OR t.contype = ANY ('{{f,x}}'::\"char\"[])) AND",
        ),
    ),
    (
        "t.indexrelid",
        _expressions(
            "pg_index",
            "t.indexprs, ' ', t.indpred",
            "t.indrelid::text",
            "array_to_string(t.indclass::oid[], ' ')",
            f"""t.indexrelid >= {_USER} AND (t.indexprs IS NOT NULL OR t.indpred IS NOT NULL
             OR EXISTS (SELECT FROM unnest(t.indclass::oid[]) k WHERE k >= {_USER})) AND""",
            "indexrelid",
        ),
    ),
    (
        "oid",
        # What sorts, hashes or compares values of a type, or by an operator of a class for btree or hash, calls functions
        # of that class, which no text names; in a family of PostgreSQL's own, too, if somebody has added some. Nothing says where a type of
        # PostgreSQL's own is used.
        f"""SELECT k.oid::text, k.xmin::text, concat_ws(' ', k.oid::text, CASE WHEN k.opcdefault THEN k.opcintype::text END,
      CASE WHEN k.opcdefault AND k.opcintype < {_USER} THEN 'E' END,
      (SELECT string_agg(o.amopopr::text, ' ') FROM pg_amop o WHERE o.amopfamily = k.opcfamily
       AND o.amopmethod = ANY ('{{403,405}}'::oid[]))),
      NULL, NULL, NULL, concat_ws(' ',
      (SELECT string_agg(f.amproc::oid::text, ' ') FROM pg_amproc f WHERE f.amprocfamily = k.opcfamily),
      (SELECT string_agg(o.amopopr::text, ' ') FROM pg_amop o WHERE o.amopfamily = k.opcfamily)), NULL, NULL
     FROM pg_opclass k WHERE (k.oid >= {_USER} OR EXISTS
      (SELECT FROM pg_amproc f WHERE f.amprocfamily = k.opcfamily AND f.oid >= {_USER})) AND $W $T""",
    ),
    (
        "t.oid",
        _expressions(
            "pg_statistic_ext", "t.stxexprs", "t.stxrelid::text", where="t.stxexprs IS NOT NULL AND"
        ),
    ),
    (
        "t.oid",
        _expressions(
            "pg_trigger", "t.tgqual", "t.tgrelid::text", "t.tgfoid::oid::text", "NOT t.tgisinternal AND"
        ),
    ),
    (
        "t.partrelid",
        _expressions(
            "pg_partitioned_table",
            "t.partexprs",
            "t.partrelid::text",
            "array_to_string(t.partclass::oid[], ' ')",
            "",
            "partrelid",
        ),
    ),
    (
        "oid",
        """SELECT oid::text, xmin::text, 'D', NULL, NULL, NULL, evtfoid::oid::text, NULL, NULL
     FROM pg_event_trigger WHERE evtevent <> 'login' AND $W $T""",
    ),
    (
        "inhrelid",
        # A statement that writes into a partition has the partition keys of those above it computed.
        """SELECT inhrelid::text, '0', concat_ws(' ', inhrelid::text, string_agg(inhparent::text, ' ')), NULL, NULL, NULL,
      concat_ws(' ', inhrelid::text, CASE WHEN (SELECT c.relispartition FROM pg_class c WHERE c.oid = inhrelid)
      THEN string_agg(inhparent::text, ' ') END), NULL, NULL
     FROM pg_inherits WHERE $W GROUP BY inhrelid $T""",
    ),
)

#: Classes whose rows are long: which have changed is looked up first, by key and xmin.
_LISTS = {4: ("pg_proc", f"oid >= {_USER}"), 9: ("pg_rewrite", f"oid >= {_USER}")}


def _list_of(table: str, where: str) -> str:
    return f"SELECT oid::text, xmin::text FROM {table} WHERE {where} AND $W $T"


#: Of all rows: their count, and a digest of all xmin. Not their sum: of transactions that are open side by side, somebody
#: could choose those whose numbers make up the sum of before. age() is the cheapest way to sort them.
_ROWS = """concat(count(*), ' ',
 encode(substr(sha256(string_agg(xidsend(xmin), ''::bytea ORDER BY age(xmin))), 1, 16), 'hex'))"""


def _sum(number: int, table: str, where: str = "true") -> str:
    return f"SELECT 'c', '{number}', {_ROWS} FROM {table} WHERE {where}"


#: An operator or a function may be added to the family of a class.
_CLASS_ROWS = " UNION ALL ".join(
    f"SELECT xmin FROM {table} WHERE oid >= {_USER}" for table in ("pg_opclass", "pg_amproc", "pg_amop")
)

_IDENTITY = """SELECT 'i', '', concat_ws(' ', (SELECT system_identifier FROM pg_control_system()),
 (SELECT timeline_id FROM pg_control_checkpoint()), pg_postmaster_start_time(),
 (SELECT oid FROM pg_database WHERE datname = current_database()))
 UNION ALL SELECT 'v', '', current_setting('server_version_num')"""

#: A new type of a column changes no row of pg_class; one that is not PostgreSQL's own has a row here.
_COLUMNS = f""" UNION ALL SELECT 'c', '5', concat(' ', {_ROWS}) FROM pg_depend
 WHERE refclassid = '1247'::oid AND refobjid >= {_USER} AND classid = '1259'::oid
 UNION ALL SELECT 'c', '5', concat(' ', {_ROWS}) FROM pg_foreign_data_wrapper"""

#: By number of the class, of more than one catalog if need be; one without a sum of its own never changes. What takes long is a piece of its own: a server
#: that has just logged in plans for longer than it counts.
_SUMS = (
    _sum(4, "pg_proc", f"oid >= {_USER}"),
    _sum(5, "pg_class", f"oid >= {_USER} AND relpersistence <> 't'") + _COLUMNS,
    _sum(6, "pg_type", f"oid >= {_USER}"),
    _sum(7, "pg_operator", f"oid >= {_USER}"),
    _sum(8, "pg_cast", f"oid >= {_USER}"),
    _sum(9, "pg_rewrite", f"oid >= {_USER}"),
    _sum(10, "pg_attrdef"),
    _sum(11, "pg_policy"),
    _sum(12, "pg_constraint", f"oid >= {_USER}"),
    _sum(13, "pg_index", f"indexrelid >= {_USER}"),
    _sum(14, f"({_CLASS_ROWS}) x"),
    _sum(15, "pg_statistic_ext"),
    _sum(16, "pg_trigger", "NOT tgisinternal"),
    _sum(17, "pg_partitioned_table"),
    _sum(18, "pg_event_trigger"),
    _sum(19, "pg_inherits"),
)

#: Texts of the question that begins a look (CATALOG_SUMS in core/catalog/read.h), in pieces.
SUMS = tuple(
    _qualified(" UNION ALL ".join(texts))
    for texts in ((_IDENTITY,), _SUMS[0:1], _SUMS[1:2], _SUMS[2:3], _SUMS[3:9], _SUMS[9:])
)

#: Texts for the core: those, then of each class its key, its SELECT, and the SELECT of its list or "".
CATALOGS = (
    *SUMS,
    *(
        _qualified(text)
        for number, (key, select) in enumerate(_CLASSES)
        for text in (key, select, _list_of(*_LISTS[number]) if number in _LISTS else "")
    ),
)
