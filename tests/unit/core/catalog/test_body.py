"""What bodies of functions say: each stands beside a harmless function and one that sets a setting."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import CatalogGraph

FUNCTION, RELATION, EVENT_TRIGGER, CAST = 4, 5, 18, 8
#: What words hash to: another one for whoever must not know what was scanned before.
KEY = 0x9E3779B97F4A7C15
FRESH_KEYS = itertools.count(1)


def function(
    graph: CatalogGraph,
    oid: int,
    name: str,
    body: bytes | None,
    language: str = "plpgsql ",
    tree: bytes = b" ",
) -> None:
    number = str(oid).encode()
    graph.take(FUNCTION, [number, b"1", number, b"f", name.encode(), language.encode(), b"", tree, body])


def effects(
    body: bytes | None, language: str = "plpgsql ", utf8: bool = True, tree: bytes = b" ", key: int = KEY
) -> set[str]:
    graph = CatalogGraph(utf8=utf8, key=key)
    graph.take(0, [b"2078", b"0", b"2078", b"f", b"set_config", b"v", None, None, None])
    function(graph, 20001, "harmful", b"select set_config(a, b, false)", "sql ")
    function(graph, 20002, "harmless", b"select 1", "sql ")
    graph.take(7, [b"20003", b"1", b"20003", b"o", b"###", None, b"20001", None, None])
    function(graph, 20004, "way", body, language, tree)
    found: set[str] = graph.effects("function", "way")
    return found


HARMLESS = [
    b"BEGIN RETURN 1; END",
    b"BEGIN PERFORM harmless(); UPDATE t SET a = 1; RETURN; END",
    b"-- harmful()\n/* harmful() */ SELECT 'harmful()'",
    b"BEGIN SET LOCAL work_mem = '1MB'; END",
    b"SELECT set_config('work_mem', '1MB', true)",
    b"SELECT set_config('work_mem', coalesce(a, '1MB'), true)",
    b"SELECT E'it\\'s harmful() all right'",
    b"SELECT a # b, a ## b",
]
HARMFUL = [
    b"SELECT harmful()",
    b"SELECT HARMFUL ( )",
    b'SELECT "harmful"()',
    b"SELECT public.harmful()",
    b"SELECT t.harmful FROM t",
    b'SELECT U&"h\\0061rmful"()',
    b"SELECT U&\"h!0061rmful\" UESCAPE '!' ()",
    b"SELECT ### 1",
    b"SELECT 1###2",
    b"SELECT 1 ###-2",
    b"BEGIN EXECUTE 'SELECT ' || a; END",
    b"BEGIN SET work_mem = '1MB'; END",
    b"BEGIN IF a THEN SET work_mem = '1MB'; END IF; END",
    b"BEGIN RESET ALL; END",
    b"SELECT set_config('work_mem', '1MB', false)",
    b"SELECT set_config('work_mem', '1MB', a)",
    b"SELECT set_config('work_mem', '1MB', a IS NOT TRUE)",
    b"SELECT set_config('work_mem', '1MB', NOT true)",
    b"SELECT set_config('work_mem', '1MB', (a = true))",
    b"SELECT set_config('work_mem', '1MB', f(a, true))",
    b"BEGIN SET local.user_id = '5'; END",
    b"BEGIN SET session . user_id = '5'; END",
    b"BEGIN SET transaction.user_id = '5'; END",
    b"BEGIN SET constraints.user_id = '5'; END",
    b"BEGIN ANALYZE; END",
    b"BEGIN IF a THEN REINDEX TABLE t; END IF; END",
    b"BEGIN CREATE INDEX ON t (n odd_ops); END",
    b"BEGIN REFRESH MATERIALIZED VIEW v; END",
    b"SELECT query_to_xml('x', true, true, ''), 'it\\'s', harmful(), ' '",
    b"SELECT 'a\\', harmful(), ' '",
    b"SELECT 'open, harmful()",
]


@pytest.mark.parametrize("body", HARMLESS)
def test_harmless(body: bytes) -> None:
    assert effects(body) == set()


@pytest.mark.parametrize("body", HARMFUL)
def test_harmful(body: bytes) -> None:
    assert effects(body) & {"settings", "unknown"}


TOKENS = (
    "set create or replace temp temporary reset discard listen unlisten prepare deallocate load do alter drop"
    " notify import begin then else loop execute insert merge default with hold set_config pg_temp_3 harmful"
    " harmless way a e n u true ( ) , ; . : = # ## ### - -- + * / /* */ < > << >> 1 2.5 $1 $$ ' '' \" \\ ü"
)


@given(st.lists(st.tuples(st.sampled_from(TOKENS.split()), st.sampled_from(["", " ", "\n"])), max_size=12))
def test_words_that_were_met_before_mean_the_same(parts: list[tuple[str, str]]) -> None:
    body = "".join(itertools.chain.from_iterable(parts)).encode()
    anew = effects(body, key=next(FRESH_KEYS))
    assert [effects(body), effects(body)] == [anew, anew]


@pytest.mark.parametrize(
    ("body", "language"),
    [
        (b"harmless", "c "),
        (b"harmless", "c a_strange_extension"),
        (b"", "plperl "),
        (b"", "c postgis"),
        (b"set_config_by_name", "internal x"),
    ],
)
def test_what_cannot_be_read_is_unknown(body: bytes, language: str) -> None:
    assert "unknown" in effects(body, language)


@pytest.mark.parametrize(
    "body",
    [
        b"BEGIN SET LOCAL seed = 0.5; END",
        b"BEGIN SET seed = 0.5; END",
        b'BEGIN SET LOCAL "seed" = 0.5; END',
        b"SELECT set_config('seed', '0.5', true)",
        b"SELECT set_config('Seed', '0.5', false)",
    ],
)
def test_seed_of_random(body: bytes) -> None:
    assert "loaded" in effects(body)


def test_into_makes_a_table_in_sql() -> None:
    assert effects(b"SELECT 1 AS a INTO kept", "sql ") >= {"temp", "schema"}
    assert effects(b"INSERT INTO t SELECT 1; MERGE INTO t USING t u ON true", "sql ") <= {"insert"}
    assert effects(b"DECLARE a int; BEGIN SELECT 1 INTO a; END") == set()


@pytest.mark.parametrize(
    "name", ["pg_restore_attribute_stats", "satisfies_hash_partition", "gin_clean_pending_list"]
)
def test_functions_that_call_those_of_an_argument(name: str) -> None:
    """Of the type of a column, or of an operator class."""
    graph = CatalogGraph()
    graph.take(0, [b"6000", b"0", b"6000", b"f", name.encode(), b"v", None, None, None])
    assert "opaque" in graph.effects("function", name)


def test_settings_behind_a_view() -> None:
    """An UPDATE of it is a SET."""
    graph = CatalogGraph()
    graph.take(1, [b"12100", b"0", b"12100", b"r", b"pg_settings", None, None, None, None])
    graph.take(5, [b"20001", b"1", b"20001", b"r", b"v", None, None, None, None])
    graph.take(9, [b"20002", b"1", b"20001", None, None, None, None, b"{:relid 12100 :relkind v}", None])
    assert "settings" in graph.effects("relation", "v")


def test_create_is_seen_behind_explain() -> None:
    assert "temp" in effects(
        b"BEGIN FOR a IN EXPLAIN ANALYZE CREATE TABLE kept AS SELECT 1 LOOP END LOOP; END"
    )


def test_default_class_of_a_type_of_postgresql() -> None:
    """Nothing says where such a type is used, so it counts everywhere."""
    graph = CatalogGraph()
    function(graph, 20001, "harmful", b"SELECT set_config(a, b, false)", "sql ")
    graph.take(0, [b"2078", b"0", b"2078", b"f", b"set_config", b"v", None, None, None])
    assert not graph.everything()
    graph.take(14, [b"20002", b"1", b"20002 600 E", None, None, None, b"20001", None, None])
    assert "settings" in graph.everything()


def test_long_body_is_unknown() -> None:
    assert "unknown" in effects(None)


def test_body_in_a_strange_encoding_is_unknown() -> None:
    assert "unknown" in effects("SELECT 'ü'".encode(), utf8=False)
    assert effects("SELECT 'ü'".encode()) == set()


def in_c(extension: str, name: str, trusted: tuple[str, ...] = ()) -> set[str]:
    graph = CatalogGraph(trusted=trusted)
    function(graph, 20001, name, b"", f"c {extension}")
    found: set[str] = graph.effects("function", name)
    return found


@pytest.mark.parametrize("extension", ["citext", "dblink", "isn", "plpgsql", "uuid-ossp", "vector", "xml2"])
def test_known_extension(extension: str) -> None:
    assert in_c(extension, "way") == set()
    assert effects(b"", f"internal {extension}") == set()


def test_languages_keep_variables_unless_a_site_trusts_them() -> None:
    assert effects(b"1", "plperl ") >= {"unknown", "interpreter"}
    graph = CatalogGraph(trusted=("plperl",))
    function(graph, 20001, "way", b"1", "plperl ")
    assert graph.effects("function", "way") >= {"unknown"}
    assert "interpreter" not in graph.effects("function", "way")
    for language in ("sql", "plpgsql"):
        assert effects(b"SELECT 1", f"{language} ") == set()


@pytest.mark.parametrize(
    ("extension", "trusted", "keeps"),
    [("plperl", (), True), ("", (), True), ("plperl", ("plperl",), False), ("plpgsql", (), False)],
)
def test_a_handler_says_that_there_is_a_language(
    extension: str, trusted: tuple[str, ...], keeps: bool
) -> None:
    """By the type that it returns, the last of those that it refers to."""
    for refs, handles in ((b" 2280", keeps), (b"2280 23", False), (b" 12280", False)):
        graph = CatalogGraph(trusted=trusted)
        extra = f"c {extension}".encode()
        row = [b"20001", b"700", b"20001", b"v", b"handler", extra, refs, b" ", b"plperl_call_handler"]
        graph.take(FUNCTION, row)
        assert ("interpreter" in graph.effects("function", "handler")) == handles


def test_extensions_that_a_site_trusts() -> None:
    assert "unknown" in in_c("postgis", "way")
    assert in_c("postgis", "way", ("other", "postgis")) == set()
    graph = CatalogGraph(trusted=("postgis",))
    function(graph, 20001, "way", b"set_config_by_name", "internal postgis")
    assert "unknown" in graph.effects("function", "way")


@pytest.mark.parametrize(
    ("extension", "name"),
    [
        ("amcheck", "bt_index_check"),
        ("amcheck", "bt_index_parent_check"),
        ("amcheck", "gin_index_check"),
        ("dblink", "dblink_build_sql_insert"),
        ("dblink", "dblink_build_sql_update"),
        ("pg_trgm", "set_limit"),
        ("tablefunc", "connectby"),
        ("tablefunc", "crosstab"),
        ("tablefunc", "crosstab2"),
        ("tablefunc", "crosstab3"),
        ("tablefunc", "crosstab4"),
        ("tablefunc", "crosstab_hash"),
        ("xml2", "xpath_table"),
    ],
)
def test_functions_in_c_that_run_what_an_argument_names(extension: str, name: str) -> None:
    assert in_c(extension, name) >= {"settings", "locks", "temp", "prepared", "cursors", "channels"}


@pytest.mark.parametrize(
    ("extension", "name"),
    [
        ("dblink", "dblink_connect"),
        ("dblink", "dblink_connect_u"),
        ("isn", "isn_weak"),
        ("postgres_fdw", "postgres_fdw_handler"),
        ("postgres_fdw", "postgres_fdw_get_connections"),
    ],
)
def test_functions_in_c_that_keep_something_beyond_resets(extension: str, name: str) -> None:
    assert in_c(extension, name) == {"loaded"}


SLOTS = """
pg_copy_physical_replication_slot pg_copy_logical_replication_slot pg_create_physical_replication_slot
pg_create_logical_replication_slot pg_logical_slot_get_changes
"""


@pytest.mark.parametrize("name", SLOTS.split())
def test_functions_that_may_leave_a_slot(name: str) -> None:
    """A temporary one belongs to the process, and holds back WAL as long as that lives."""
    graph = CatalogGraph()
    graph.take(0, [b"4220", b"0", b"4220", b"f", name.encode(), b"v", None, None, None])
    assert graph.effects("function", name) == {"loaded"}


def foreign_table(wrapper: str, trusted: tuple[str, ...] = ()) -> set[str]:
    graph = CatalogGraph(trusted=trusted)
    row = [b"20001", b"1", b"20001", b"r", b"far", b"F" + wrapper.encode(), None, None, None]
    graph.take(RELATION, row)
    found: set[str] = graph.effects("relation", "far")
    return found


def test_foreign_tables() -> None:
    assert foreign_table("file_fdw") == set()
    assert foreign_table("postgres_fdw") == {"loaded"}
    assert foreign_table("postgres_fdw", ("postgres_fdw",)) == set()
    assert "unknown" in foreign_table("")


def test_states_that_are_named() -> None:
    assert "temp" in effects(b"CREATE TEMP TABLE t (a int)")
    assert "temp" in effects(b"CREATE TABLE t (a int)")
    assert "channels" in effects(b"BEGIN LISTEN c; END")
    assert "cursors" in effects(b"DECLARE c CURSOR WITH HOLD FOR SELECT 1")
    assert "loaded" in effects(b"BEGIN LOAD 'x'; END")


def test_expressions() -> None:
    assert "settings" in effects(b"", "sql ", tree=b"{FUNCEXPR :funcid 20001 :funcresulttype 25}")
    assert "settings" in effects(b"", "sql ", tree=b"{FUNCEXPR :funcid 2078 :funcresulttype 25}")
    assert "settings" in effects(b"", "sql ", tree=b"{OPEXPR :opno 20003 :opfuncid 0}")
    assert "settings" in effects(b"", "sql ", tree=b"{ROWCOMPAREEXPR :opnos (o 96 20003)}")
    assert effects(b"", "sql ", tree=b"{FUNCEXPR :funcid 20002 :location 20001}") == set()


def test_names_of_settings_are_found() -> None:
    graph = CatalogGraph()
    function(graph, 20001, "f", b"BEGIN SET my.own = 1; PERFORM current_setting('App.Tenant'); END")
    text = b"its.deep"
    values = b" ".join(str(byte).encode() for byte in b"\0\0\0\0" + text)
    tree = b"{FUNCEXPR :funcid 2077 :args ({CONST :constlen -1 :constvalue 12 [ " + values + b" ]})}"
    function(graph, 20002, "g", b"", "sql ", tree)
    assert graph.customs() == ["my.own", "app.tenant", "its.deep"]


def test_names_of_settings_without_space() -> None:
    """A setting of such a name counts as one of which no text says the name; what is set has more space."""
    graph = CatalogGraph()
    graph.take(0, [b"2078", b"0", b"2078", b"f", b"set_config", b"v", None, None, None])

    def sets(oid: int, setting: str) -> set[str]:
        function(graph, oid, "sets", f"SELECT set_config('{setting}', a, false)".encode(), "sql ")
        found: set[str] = graph.effects("function", "sets")
        return found

    mentioned = ", ".join(f"'file{i}.txt'" for i in range(5000))
    function(graph, 20001, "mentions", f"SELECT {mentioned}".encode(), "sql ")
    assert sets(20002, "app.tenant") == {"settings"}
    setting = "; ".join(f"SELECT set_config('app.number{i}', a, false)" for i in range(5000))
    function(graph, 20003, "many", setting.encode(), "sql ")
    assert sets(20002, "app.tenant") == {"settings"}
    assert {"settings", "opaque", "unsure"} <= sets(20002, "app.another")
    assert sets(20002, "work_mem") == {"settings"}, "the catalogs have it"
    assert "opaque" in sets(20002, "app." + "x" * 100), "too long to be kept"
    assert len(graph.customs()) < 512, "a worker keeps so many"


def test_cycles() -> None:
    graph = CatalogGraph()
    function(graph, 20001, "a", b"SELECT b()")
    function(graph, 20002, "b", b"SELECT c()")
    function(graph, 20003, "c", b"SELECT a(), d()")
    function(graph, 20004, "d", b"BEGIN EXECUTE x; END")
    assert "settings" in graph.effects("function", "a")
    assert "settings" in graph.effects("function", "b")


def test_a_name_is_harmful_when_one_of_its_objects_is() -> None:
    graph = CatalogGraph()
    function(graph, 20001, "twice", b"SELECT 1")
    function(graph, 20002, "twice", b"BEGIN RESET ALL; END")
    assert "settings" in graph.effects("function", "twice")
    function(graph, 20002, "twice", b"SELECT 2")
    assert graph.effects("function", "twice") == set()


@pytest.mark.parametrize("what", ["query", "table", "schema", "database", "cursor"])
@pytest.mark.parametrize("form", ["xml", "xmlschema", "xml_and_xmlschema"])
def test_functions_that_run_what_is_an_argument(what: str, form: str) -> None:
    """Called in a body, where no word of the scanner's tells of them."""
    name = f"{what}_to_{form}"
    graph = CatalogGraph()
    graph.take(0, [b"2923", b"0", b"2923", b"f", name.encode(), b"v", None, None, None])
    function(graph, 20001, "way", f"SELECT {name}('v', true, false, '')".encode(), "sql ")
    assert graph.effects("function", "way") >= {"settings", "locks", "temp", "opaque"}
