"""Style and layers, checked instead of reviewed: who may import whom, sizes, docstrings, banned calls."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pooler"

FOUNDATION = {"errors"}

#: Which part may import which at run time (for annotations alone anything goes). Parts are the packages and
#: modules right below pooler/. What stands here is the architecture; docs/internals/architecture.md
#: explains it.
LAYERS: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "log": FOUNDATION,
    "config": FOUNDATION,
    "auth": FOUNDATION,
    "protocol": FOUNDATION | {"auth"},  # a login is a conversation about a proof
    "ipc": FOUNDATION,
    "core": FOUNDATION,
    "provisioning": FOUNDATION | {"config", "core"},
    "tls": FOUNDATION | {"config", "core"},
    "admin": FOUNDATION | {"__init__", "log", "config", "protocol", "core"},
    "master": FOUNDATION | {"__init__", "log", "config", "ipc", "core", "provisioning", "tls"},
    "worker": FOUNDATION
    | {"__init__", "log", "config", "auth", "protocol", "ipc", "core", "provisioning", "tls", "admin"},
    "monitor": FOUNDATION | {"__init__", "log", "config", "auth", "ipc", "core", "admin"},
    "dev": set(),
    "check": FOUNDATION | {"config", "auth", "protocol", "master"},  # master: what a start would refuse
    "operate": FOUNDATION | {"config", "auth", "protocol", "check"},
    "cli": FOUNDATION
    | {"__init__", "log", "config", "master", "worker", "monitor", "dev", "check", "operate"}
    | {"admin", "auth", "protocol"},  # imported for the workers, before their fork
    "__main__": {"cli"},
}

#: Libraries that only the named parts may import: waiting is the worker's, drivers are for trying things out.
ONLY_IN = {
    "gevent": {"worker", "monitor"},
    "greenlet": {"worker"},
    "psycopg2": {"dev"},
    "click": {"cli"},
}

FILE_LINES = 400
LINE_COLUMNS = 110  # ruff holds Python to it
FILE_LINES_BY_NAME = {"pooler/config/settings.py": 600}  # one table
FUNCTION_LINES = 70

#: May talk to a terminal.
PRINTING = {"cli", "dev", "__main__"}

#: Cython's output.
GENERATED = {"_core.c", "_core_testing.c"}

PYTHON_FILES = sorted(PACKAGE.rglob("*.py"))
CYTHON_FILES = sorted(path for path in PACKAGE.rglob("*.p*") if path.suffix in {".pyx", ".pxd", ".pxi"})
SIZED_FILES = [
    *PYTHON_FILES,
    *sorted((ROOT / "tests/support").glob("*.py")),
    *(
        ROOT / f"scripts/{name}.py"
        for name in ("against", "bench", "connect", "figures", "pgbouncer", "storm")
    ),
]
TEXT_FILES = [
    path
    for folder in ("pooler", "tests", "scripts", "etc")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".pyx", ".pxd", ".pxi", ".pyi", ".c", ".h", ".ini", ""} and path.is_file()
    if "corpus" not in path.parts  # inputs of fuzzers
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    """The layer that a file of the package belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from run_time_nodes(child)


def imports_of(path: Path) -> set[str]:
    """Full names of what a file imports at run time, at its top or within functions."""
    if path.suffix != ".py":
        found = re.findall(r"^\s*(?:from|c?import)\s+([\w.]+)", path.read_text(), re.MULTILINE)
        return set(found)
    names: set[str] = set()
    for node in run_time_nodes(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"{path}:{node.lineno}: import by the full name"
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def pooler_parts(imported: str) -> str | None:
    """The part of pooler that an imported name belongs to, None for other libraries."""
    words = imported.split(".")
    if words[0] != "pooler":
        return None
    return words[1] if len(words) > 1 and words[1] in LAYERS else "__init__"


@pytest.mark.parametrize("path", [*PYTHON_FILES, *CYTHON_FILES], ids=name_of)
def test_layers(path: Path) -> None:
    part = part_of(path)
    assert part in LAYERS, f"{part} has no place in the layers yet"
    allowed = LAYERS[part] | {part}
    for imported in sorted(imports_of(path)):
        other = pooler_parts(imported)
        assert other is None or other in allowed, f"{part} must not import {imported}"
        home = ONLY_IN.get(imported.split(".")[0])
        assert home is None or part in home, f"only {home} may import {imported}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "worker").glob("*.py")), ids=name_of)
def test_helpers_of_a_worker_do_not_know_it(path: Path) -> None:
    """They take the `WorkerContext`, where all stands that they may touch; no annotation names `Worker`."""
    if path.name in {"worker.py", "__init__.py"}:
        return
    for node in ast.walk(tree_of(path)):
        named = isinstance(node, ast.ImportFrom) and node.module == "pooler.worker.worker"
        assert not named, f"line {getattr(node, 'lineno', 0)} imports the worker"
        reached = isinstance(node, ast.Attribute) and node.attr in {"worker", "_worker"}
        assert not reached or ast.unparse(node) == "pooler.worker", f"line {getattr(node, 'lineno', 0)}"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def circles(imported: dict[str, set[str]]) -> list[list[str]]:
    """For each module that leads back to itself: its name, then all that it leads to on circles."""
    left = dict(imported)
    while ends := [name for name in left if not left[name] & left.keys()]:
        for name in ends:
            del left[name]
    found: list[list[str]] = []
    for name in sorted(left):
        reached, at_hand = set[str](), [name]
        while at_hand:
            for other in left[at_hand.pop()] & left.keys() - reached:
                reached.add(other)
                at_hand.append(other)
        if name in reached:
            found.append([name, *sorted(reached - {name})])
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"], ["c", "b"]]


def test_no_module_imports_itself_by_others() -> None:
    """Imports within functions count: they only put a circle off until it is used."""
    paths = {module_of(path): path for path in PYTHON_FILES}
    imported: dict[str, set[str]] = {}
    for name, path in paths.items():
        found = {full if full in paths else full.rpartition(".")[0] for full in imports_of(path)}
        imported[name] = found & paths.keys() - {name}
    assert sum(map(len, imported.values())) > len(paths)
    assert circles(imported) == []


@pytest.mark.parametrize("path", SIZED_FILES, ids=name_of)
def test_sizes(path: Path) -> None:
    lines = path.read_text().count("\n")
    limit = FILE_LINES_BY_NAME.get(name_of(path), FILE_LINES)
    assert lines <= limit, f"{lines} lines; what is it hiding?"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = body_lines(node)
            assert length <= FUNCTION_LINES, f"{node.name}() in line {node.lineno} has {length} lines"


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


@pytest.mark.parametrize("path", [*SIZED_FILES, *sorted((ROOT / "tests").rglob("test_*.py"))], ids=name_of)
def test_module_docstring(path: Path) -> None:
    docstring = ast.get_docstring(tree_of(path))
    assert docstring, "the first sentence says what the file is for"


@pytest.mark.parametrize("path", CYTHON_FILES, ids=name_of)
def test_cython_sizes(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= FILE_LINES, f"{len(lines)} lines; what is it hiding?"
    for number, line in enumerate(lines, 1):
        assert len(line) <= LINE_COLUMNS, f"line {number} has {len(line)} columns"


@pytest.mark.parametrize("path", CYTHON_FILES, ids=name_of)
def test_cython_docstring(path: Path) -> None:
    code = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")).lstrip()
    assert code.startswith('"""'), "the first sentence says what the file is for"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_banned(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            swallowed = catches_everything(node) and all(is_nothing(statement) for statement in node.body)
            assert not swallowed, f"an exception of any kind is swallowed in line {node.lineno}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            swallowed = called.endswith("suppress") and any(is_everything(argument) for argument in node.args)
            assert not swallowed, f"an exception of any kind is swallowed in line {node.lineno}"
            assert called != "print" or part_of(path) in PRINTING, f"print() in line {node.lineno}"
            assert "monkey.patch" not in called, f"monkey patching in line {node.lineno}"


def catches_everything(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(is_everything(kind) for kind in kinds)


def is_everything(kind: ast.expr | None) -> bool:
    return isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}


def is_nothing(statement: ast.stmt) -> bool:
    """`pass`, `continue`, `return` without a value, `...`"""
    if isinstance(statement, ast.Return):
        return statement.value is None
    is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_constant or isinstance(statement, ast.Pass | ast.Continue)


@pytest.mark.parametrize("path", TEXT_FILES, ids=name_of)
def test_nothing_left_over(path: Path) -> None:
    if path == Path(__file__).resolve() or path.name in GENERATED:
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", line), f"line {number}: {line.strip()}"
        assert not re.match(r"(<{7}|>{7}|={7}$)", line), f"line {number}: a conflict"
        assert "breakpoint(" not in line, f"line {number}: a breakpoint"


#: Words that readers would have to decode: data are no persons, and a thing is called by the field's name.
BANNED_WORDS = {
    r"\b(bury|buried|corpses?|creditors?|debtors?|funerals?|graveyards?|heirs?)\b": "no persons for data",
    r"\b(hungry|mourn\w*|out of its mind)\b": "no persons for data",
    r"(/\*|^ \*|(?<!#)#:?|\.) Who\b(?!.*\?)": "a sentence begins with the thing that it is about",
    r"\"\"\"Who\b": "a docstring begins with the thing that it is about",
    r"(?:[^-\w]-?\d|NULL|None): nobody": "a number stands for no client, no row, nothing: say which",
}
WORDED_FILES = [
    *(path for path in TEXT_FILES if path.suffix and path.name not in GENERATED),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("*.md")),
]


@pytest.mark.parametrize("path", WORDED_FILES, ids=name_of)
def test_banned_words(path: Path) -> None:
    if path == Path(__file__).resolve():
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for pattern, reason in BANNED_WORDS.items():
            found = re.search(pattern, line)
            assert found is None, f"line {number}: {found[0]!r}: {reason}"


@pytest.mark.parametrize("line", [
    "/* A row from its funeral to", "#: Who asks gets it.", '"""Who asks."""', " * or 0: nobody", "its heir",
])  # fmt: skip
def test_banned_words_are_found(line: str) -> None:
    assert any(re.search(pattern, line) for pattern in BANNED_WORDS)


#: Words of prose that leave open what they stand for. "Nobody waits" says it; `for nobody.` and `nobody's` do
#: not: it is no client, or no process.
VAGUE_WORDS = {
    r"\bnobody's\b|\bnobody(?=[.,;:)])": "no client, no process, none: say which",
    r"\brooms?\b": "space in a buffer, rows of a table, a place, a limit: say which",
}


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of lines in comments, docstrings and Markdown, without what is quoted there."""
    text = path.read_text()
    found: list[tuple[int, str]] = []
    if path.suffix in {".c", ".h"}:
        found = [(text.count("\n", 0, m.start()), m[0]) for m in re.finditer(r"/\*.*?\*/", text, re.DOTALL)]
    elif path.suffix == ".md":
        kept = re.sub(r"^```.*?^```", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
        found = [(0, kept)]
    elif path.suffix.startswith(".py") or path.suffix in {".pxd", ".pxi"}:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            docstring = token.type == tokenize.STRING and '"""' in token.string[:4]
            if token.type == tokenize.COMMENT or docstring:
                found.append((token.start[0] - 1, token.string))
    for first, prose in found:
        for number, line in enumerate(prose.splitlines(), first + 1):
            yield number, re.sub(r"`[^`]*`|\"\w*\"", "", line)


@pytest.mark.parametrize("path", WORDED_FILES, ids=name_of)
def test_vague_words(path: Path) -> None:
    if path == Path(__file__).resolve():
        return
    for number, line in prose_of(path):
        for pattern, reason in VAGUE_WORDS.items():
            found = re.search(pattern, line, re.IGNORECASE)
            assert found is None, f"line {number}: {found[0]!r}: {reason}"


@pytest.mark.parametrize(("name", "text"), [
    ("a.c", "int a; /* it is\n * nobody's */"), ("a.h", "/* for nobody, */"), ("a.md", "# A\nRoom for ten."),
    ("a.py", "a = 1  # no room\n"), ("a.pxi", '"""A row.\n\nIt is for nobody."""\n'),
])  # fmt: skip
def test_vague_words_are_found(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AssertionError, match="say which"):
        test_vague_words(tmp_path / name)


@pytest.mark.parametrize(("name", "text"), [
    ("a.c", 'char *nobody = "for nobody, no room"; /* nobody waits, `nobody`. */'),
    ("a.md", "```\nnobody:\n```\nAs `nobody`, nobody asks."), ("a.py", 'a = "room"  # the word "rooms"\n'),
])  # fmt: skip
def test_sentences_about_nobody_are_fine(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    test_vague_words(tmp_path / name)


# ---- the compiled core ----

CORE = PACKAGE / "core"
C_FILES = sorted(path for path in CORE.rglob("*.[ch]") if path.name not in GENERATED)
C_SOURCES = [path for path in C_FILES if path.suffix == ".c"]
C_FILE_LINES = 400
C_FUNCTION_LINES = 70
C_COLUMNS = 110

#: From below. A file includes headers of its own folder and of lower floors; features include each other's,
#: too, and of the relay what relay/internal.h declares. pooler/core/README.md explains it.
FLOORS = [
    {"sql", "tls"},
    {"tables", "io"},
    {"catalog"},
    {"statements", "session", "notify", "login"},
    {"relay"},
    {"binding"},
]
FEATURES = {"catalog", "statements", "session", "notify", "login"}
BACK_DOOR = "relay/internal.h"

#: Where the header of a source has another name.
C_HEADERS = {
    "login/logins": "login/login.h",
    "login/opening": "login/login.h",
    "login/proof": "login/login.h",
    "login/refusal": "login/login.h",
    "login/scram_proof": "login/login.h",
    "relay/client_memory": BACK_DOOR,
    "sql/phrases": "sql/scan.h",
    "sql/scan": "sql/effects.h",
    "sql/scan_names": "sql/scan.h",
}

#: With which words the names begin that a source gives to others, where that is another word than the file's
#: or the folder's.
C_PREFIXES = {
    "catalog/database": {"profile"},
    "catalog/graph": {"draft", "symbol"},
    "io/buffer": {"bytes"},
    "io/connection": {"conn"},
    "io/message_table": {"backend", "frontend"},
    "login/packet": {"wanted"},
    "notify/announce": {"listen"},
    "notify/deliver": {"listen"},
    "notify/origin": {"marker"},
    "notify/subscribe": {"listen"},
    "relay/cancel_guard": {"guard"},
    "relay/client_memory": {"memory", "server"},
    "relay/copy": {"doubt"},
    "relay/internal_requests": {"server"},
    "relay/suspend": {"suspended"},
    "session/server_defaults": {"defaults"},
    "session/server_reset": {"handover"},
    "session/startup_values": {"greeting", "client"},
    "sql/effects": {"words", "scan"},
    "sql/lexer": {"token"},
    "sql/phrases": {"scan"},
    "statements/client_names": {"names"},
    "statements/parse_settings": {"meaning"},
    "statements/row_description": {"columns"},
    "statements/sql_execute": {"execute"},
    "tables/channels": {"listener", "listeners"},
    "tables/maintenance": {"pool", "slot"},
    "tables/server_statements": {"prepared"},
}

C_DEFINITION = re.compile(
    r"^(?!DEFINE_)(?P<type>[A-Za-z_][\w ]*?[ *]+)(?P<name>\w+)\((?P<rest>[^;{}]*\) \{)", re.MULTILINE
)
C_VARIABLE = re.compile(
    r"^(?P<type>(?!static\b|extern\b|#)[A-Za-z_][\w ]*?[ *]+)(?P<name>\w+)(?:\[[^\]]*\])* = ", re.MULTILINE
)
C_PROTOTYPE = re.compile(r"^(?!static\b|#| )[A-Za-z_][\w ]*?[ *]+(\w+)\([^;{}]*\);", re.MULTILINE)


def core_name(path: Path) -> str:
    return str(path.relative_to(CORE))


@cache
def code_of(path: Path) -> str:
    """Without comments; lines stay where they are."""
    return re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), path.read_text(), flags=re.DOTALL)


@cache
def included_by(path: Path) -> list[str]:
    if path.suffix in {".c", ".h"}:
        return re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE)
    return re.findall(r'^cdef extern from "([^"]+)"', path.read_text(), re.MULTILINE)


def header_of(source: Path) -> str:
    name = core_name(source).removesuffix(".c")
    return C_HEADERS.get(name, name + ".h")


def floor_of(folder: str) -> int:
    return next(number for number, folders in enumerate(FLOORS) if folder in folders)


def may_include(path: Path, header: str) -> bool:
    folder, other = path.parent.name, header.split("/")[0]
    if other == folder or floor_of(other) < floor_of(folder):
        return True
    sideways = {folder, other} <= FEATURES and floor_of(other) == floor_of(folder)
    return sideways or (folder in FEATURES and header == BACK_DOOR and path.suffix == ".c")


def twice(paths: list[Path]) -> set[str]:
    """Names that more than one of these files has, whatever their folders."""
    names = [path.name for path in paths]
    return {name for name in names if names.count(name) > 1}


def test_a_name_of_a_file_says_which_one() -> None:
    """So it does in a conversation, in a debugger and in a comment, without its folder."""
    assert not twice([*C_FILES, *CYTHON_FILES])
    assert twice([CORE / "tls/a.h", CORE / "session/a.h", CORE / "tls/b.h"]) == {"a.h"}


@pytest.mark.parametrize("path", C_FILES, ids=name_of)
def test_sizes_of_c(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= C_FILE_LINES, f"{len(lines)} lines; what is it hiding?"
    for number, line in enumerate(lines, 1):
        assert len(line) <= C_COLUMNS, f"line {number} has {len(line)} columns"
    code = code_of(path)
    for found in C_DEFINITION.finditer(code):
        first = code.count("\n", 0, found.start())
        one_line = code[found.end() : code.index("\n", found.end())].endswith("}")
        end = found.end() if one_line else code.index("\n}", found.end()) + 1
        length = code.count("\n", 0, end) - first + 1
        assert length <= C_FUNCTION_LINES, f"{found['name']}() in line {first + 1} has {length} lines"


@pytest.mark.parametrize("path", C_FILES, ids=name_of)
def test_floors(path: Path) -> None:
    for header in included_by(path):
        assert (CORE / header).exists(), f"{header}: by its path from pooler/core"
        assert may_include(path, header), f"{name_of(path)} must not include {header}"


#: Names that say nothing of what they are for: a row number that is none is NO_ROW, a buffer has a size or
#: space, an instance quota. A name that is a sentence ("test_nobody_gets_in", "nobody_has_it") is fine.
BANNED_NAMES = re.compile(r"\b_?NOBODY\w*|\b\w+_nobody\b|\b(?:\w+_)?rooms?(?:_\w+)?\b", re.IGNORECASE)
NAMED_FILES = [*C_FILES, *CYTHON_FILES, *PYTHON_FILES]


def names_of(path: Path) -> str:
    """The code of a file without its comments and strings."""
    if path.suffix in {".c", ".h"}:
        return re.sub(r'"[^"\n]*"', "", code_of(path))
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return " ".join(token.string for token in tokens if token.type == tokenize.NAME)


@pytest.mark.parametrize("path", NAMED_FILES, ids=name_of)
def test_banned_names(path: Path) -> None:
    assert not BANNED_NAMES.findall(names_of(path))


@pytest.mark.parametrize("path", [p for p in C_SOURCES if p.parent.name in FEATURES], ids=name_of)
def test_back_door(path: Path) -> None:
    """Features see the structures of the relay, but call only what is declared for them."""
    declared = {
        name for header in (CORE / "relay").glob("*.h") for name in C_PROTOTYPE.findall(code_of(header))
    }
    allowed = set(C_PROTOTYPE.findall(code_of(CORE / BACK_DOOR)))
    called = set(re.findall(r"\b(\w+)\(", code_of(path))) & (declared - allowed)
    assert not called, f"{sorted(called)}: of the relay, and not in {BACK_DOOR}"


def test_states_are_moved() -> None:
    """A server, or a client, goes through state_move() (io/state_machine.h); rows have other states."""
    for path in C_FILES:
        if path.parent.name in {"relay", "session", "statements", "notify"}:
            assert not re.search(r"\b[sc]->state = ", code_of(path)), f"{name_of(path)} sets a state"


@pytest.mark.parametrize("path", C_SOURCES, ids=name_of)
def test_header_of_source(path: Path) -> None:
    header = header_of(path)
    assert header in included_by(path), f"it includes {header}, which declares what it gives to others"
    declared = set(C_PROTOTYPE.findall(code_of(CORE / header))) | set(
        C_PROTOTYPE.findall(code_of(CORE / BACK_DOOR))
    )
    for found in C_DEFINITION.finditer(code_of(path)):
        own = found["type"].startswith("static ") or "inline" in found["type"]
        assert own or found["name"] in declared, f"{found['name']}() is static, or declared in {header}"


@pytest.mark.parametrize("path", [p for p in C_FILES if p.suffix == ".h"], ids=name_of)
def test_header_is_included(path: Path) -> None:
    name = core_name(path)
    others = [p for p in [*C_FILES, *CORE.rglob("*.p[yx]*")] if p.suffix != ".pyc" and p != path]
    users = [core_name(p) for p in others if name in included_by(p)]
    own = {core_name(source) for source in C_SOURCES if header_of(source) == name}
    assert set(users) - own or len(own) > 1, "nobody else needs it"


@pytest.mark.parametrize("path", C_SOURCES, ids=name_of)
def test_prefixes(path: Path) -> None:
    """A name that other sources can see says where it belongs."""
    module = core_name(path).removesuffix(".c")
    stem = path.stem
    words = {stem, stem.removesuffix("s"), stem.split("_")[0], path.parent.name} | C_PREFIXES.get(
        module, set()
    )
    for pattern in (C_DEFINITION, C_VARIABLE):
        for found in pattern.finditer(code_of(path)):
            if not found["type"].startswith("static "):
                name = found["name"]
                assert any(name == word or name.startswith(word + "_") for word in words), (
                    f"{name}: one of {sorted(words)}"
                )


@pytest.mark.parametrize("path", C_FILES, ids=name_of)
def test_order_of_requests_means_nothing(path: Path) -> None:
    """What requests of ours have in common is a trait in their table (relay/internal_table.h)."""
    compared = re.findall(r"[<>]=?\s*INTERNAL_\w+|\bINTERNAL_\w+\s*[<>]=?", code_of(path))
    assert not compared, f"{compared}: a trait says so"
