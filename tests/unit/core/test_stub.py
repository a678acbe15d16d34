"""The stub of the compiled core says what the module has: names, parameters, defaults, enumerators."""

from __future__ import annotations

import ast
import enum
import re
from pathlib import Path
from types import ModuleType

import pytest

from pooler.core import _core

CORE: ModuleType = _core  # by another name mypy would read the stub itself
STUB = Path(__file__).resolve().parents[3] / "pooler/core/_core.pyi"
TREE = ast.parse(STUB.read_text())
CLASSES = {node.name: node for node in TREE.body if isinstance(node, ast.ClassDef)}
#: What Cython adds to modules and classes, and what the module imports for itself.
ADDED = re.compile(r"__\w+__$")
IMPORTED = {"os", "IntEnum"}


def names_in(body: list[ast.stmt]) -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return {name for name in found if not ADDED.match(name)}


def own_names(thing: type | ModuleType) -> set[str]:
    return {name for name in vars(thing) if not ADDED.match(name)}


def parameters_of(node: ast.FunctionDef) -> list[str]:
    """Names with `=` behind those that have a default, `*` before those that must be named."""
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    bare = len(plain) - len(arguments.defaults)
    found = [a.arg + "=" * (number >= bare) for number, a in enumerate(plain)]
    found += ["*" + arguments.vararg.arg] if arguments.vararg else []
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found + ["*" + a.arg + "=" * (default is not None) for a, default in pairs]


def embedded(doc: str | None) -> list[str]:
    """The same from the first line of a docstring, where Cython writes the signature (types before names)."""
    line = (doc or "").split("\n")[0]
    signature = re.match(r"[\w.]+\((.*)\)", line)
    assert signature is not None, line
    source = re.sub(r"\b[\w.]+ (?=\w+\s*[,=)])", "", f"def f({signature[1]}): pass")
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    return parameters_of(node)


def constructor(name: str) -> str:
    """How the source begins to make one: Cython keeps no signature of that."""
    source = "\n".join(path.read_text() for path in sorted(STUB.parent.rglob("*.pxi")))
    found = re.search(rf"^cdef class {name}\b.*?def (__cinit__\(.*?\)):\n", source, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return " ".join(found[1].split())


def test_names_of_the_module() -> None:
    events = {
        name for name, value in vars(CORE).items() if getattr(value, "__module__", "") == "pooler.core.events"
    }
    assert names_in(TREE.body) - {"Row"} == own_names(CORE) - IMPORTED - events


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_class(name: str) -> None:
    node, real = CLASSES[name], getattr(CORE, name)
    if issubclass(real, enum.Enum):
        assert names_in(node.body) == set(real.__members__)
        return
    bases = [ast.unparse(base) for base in node.bases]
    assert (bases or ["object"]) == [base.__name__ for base in real.__bases__]
    stub = names_in(node.body)
    assert stub == {name for name in own_names(real) if name != "__slots__"}
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and not function.decorator_list:
            there = constructor(name) if function.name == "__new__" else getattr(real, function.name).__doc__
            if function.name == "slots":  # another name of servers()
                continue
            _, *parameters = parameters_of(function)
            assert parameters == [p for p in embedded(there) if p != "self"], function.name


@pytest.mark.parametrize(
    "node", [n for n in TREE.body if isinstance(n, ast.FunctionDef)], ids=lambda n: n.name
)
def test_function(node: ast.FunctionDef) -> None:
    assert parameters_of(node) == embedded(getattr(CORE, node.name).__doc__)
