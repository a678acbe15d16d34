"""The program as it was at the start: a worker that is forked later runs the same, whatever the disk has.

Most of pooler is imported by the workers only, after their fork. When its files are replaced while it runs,
a worker that is forked then would be another program on this one's tables. So all of it is read at the start,
kept compiled, and imported from there by whoever imports it. The libraries of the workers cannot be kept like
that; that they have changed is at least told.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from pooler import log

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder

    class Importer(MetaPathFinder, Loader):
        """What Python asks of it."""
else:
    Importer = object  # importlib.abc brings importlib.resources and zipfile along

#: What only the workers and the monitor import, and what that imports. Looked up, never imported here.
LIBRARIES = ("gevent", "greenlet", "zope.interface")

#: Parts of the package that no running pooler imports.
NEVER_IMPORTED = frozenset({"dev", "__main__"})

#: A file as stat() sees it: replaced or rewritten, it is another one.
Stamp = tuple[int, int, int]


class Program(Importer):
    """The modules of one package, from memory; `install` puts it before all other places."""

    def __init__(self, name: str, directory: Path, libraries: Sequence[str] = LIBRARIES) -> None:
        self._codes: dict[str, tuple[CodeType, Path]] = {}
        for path in _sources(directory):
            module = _module_name(name, path.relative_to(directory))
            code = None if module in sys.modules else _compiled(module, path)
            if code is not None:
                self._codes[module] = code, path
        files = [*_sources(directory), *sorted(directory.rglob("*.so"))]
        self._parts: dict[str, list[Path]] = {name: files}
        for library in libraries:
            spec = find_spec(library)
            if spec is not None and spec.origin is not None:
                self._parts[library] = [Path(spec.origin)]
        self._libraries = frozenset(libraries)
        self._stamps = {path: _stamp(path) for paths in self._parts.values() for path in paths}
        self._told: list[str] = []

    def install(self) -> None:
        """From now on this process and its children import the package from here."""
        sys.meta_path.insert(0, self)

    # -- what Python's import asks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._codes:
            return None
        _, file = self._codes[fullname]
        package = file.name == "__init__.py"
        spec = ModuleSpec(fullname, self, origin=str(file), is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [str(file.parent)]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._codes[module.__name__][0], module.__dict__)

    # -- changes

    def changed(self) -> list[str]:
        """The packages whose files are not those of the start."""
        return [
            name
            for name, paths in self._parts.items()
            if any(_stamp(path) != self._stamps[path] for path in paths)
        ]

    def tell_changes(self) -> None:
        """A worker is about to be replaced: say what the operator has to know about it, once."""
        changed = self.changed()
        if changed == self._told:
            return
        self._told = changed
        libraries = [name for name in changed if name in self._libraries]
        if len(libraries) < len(changed):
            log.warning(
                "the program files have changed since the start: new workers run the program of then;"
                " restart pooler to run the new one"
            )
        if libraries:
            log.error(
                "%s on disk is not what pooler was started with: new workers may fail; restart pooler",
                ", ".join(libraries),
            )


def _sources(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*.py")):
        if path.relative_to(directory).with_suffix("").parts[0] not in NEVER_IMPORTED:
            yield path


def _module_name(package: str, path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _compiled(module: str, path: Path) -> CodeType | None:
    """None where that fails: whoever imports it hears why."""
    try:
        return SourceFileLoader(module, str(path)).get_code(module)
    except (OSError, SyntaxError, ValueError):
        return None


def _stamp(path: Path) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
