"""Builds the compiled core; everything else about the package stands in setup.cfg."""

import filecmp
import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

#: Packages have no test hooks; scripts/env compiles them for the tests (binding/testing/).
TEST_HOOKS = os.environ.get("POOLER_TEST_HOOKS") == "1"

SOURCE = "pooler/core/binding/" + ("testing/_core_testing.pyx" if TEST_HOOKS else "_core.pyx")
GENERATED = "pooler/core/binding/_core.c"  # Cython's output lies among our own C files

#: scripts/sanitize compiles with less, which takes half the time.
OPTIMIZATION = os.environ.get("POOLER_OPTIMIZATION", "-O2")

#: Whether the core checks itself (io/state_machine.h): what tests run on. Whoever asks for nothing has a
#: release build. Each has a folder of its own, so that objects of the one are none of the other.
DEBUG = os.environ.get("POOLER_DEBUG", "0") != "0"
FOLDER = "build/debug" if DEBUG else "build/release"

core = Extension(
    "pooler.core._core",
    sources=[SOURCE, *sorted(set(glob("pooler/core/*/*.c")) - {GENERATED})],
    depends=[
        *sorted(glob("pooler/core/*/*.h")),
        *sorted(glob("pooler/core/binding/**/*.p[xy]*", recursive=True)),
    ],
    include_dirs=["pooler/core"],  # a file includes "FOLDER/NAME.h"
    define_macros=[("POOLER_DEBUG", "1")] if DEBUG else [],
    extra_compile_args=[OPTIMIZATION, "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
    libraries=["ssl", "crypto"],
    extra_link_args=["-pthread"],
)


class BuildExt(build_ext):  # type: ignore[misc]
    """Puts the core that was asked for into the tree, also where the other one there is newer."""

    def copy_file(self, infile: str, outfile: str, *arguments: object, **options: object) -> object:
        self.force = not (os.path.exists(outfile) and filecmp.cmp(infile, outfile))
        return super().copy_file(infile, outfile, *arguments, **options)


setup(
    ext_modules=cythonize([core], language_level=3),  # type: ignore[no-untyped-call]
    cmdclass={"build_ext": BuildExt},
    options={"build": {"build_base": FOLDER}},
)
