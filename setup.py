"""Builds the compiled core; everything else about the package stands in setup.cfg."""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

#: Packages have no test hooks; scripts/env compiles them for the tests (binding/testing/).
TEST_HOOKS = os.environ.get("POOLER_TEST_HOOKS") == "1"

BINDING = "pooler/core/binding/testing" if TEST_HOOKS else "pooler/core/binding"
GENERATED = "pooler/core/binding/_core.c"  # Cython's output lies among our own C files

#: scripts/sanitize compiles with less, which takes half the time.
OPTIMIZATION = os.environ.get("POOLER_OPTIMIZATION", "-O2")

core = Extension(
    "pooler.core._core",
    sources=[f"{BINDING}/_core.pyx", *sorted(set(glob("pooler/core/*/*.c")) - {GENERATED})],
    depends=[
        *sorted(glob("pooler/core/*/*.h")),
        *sorted(glob("pooler/core/binding/**/*.p[xy]*", recursive=True)),
    ],
    include_dirs=["pooler/core"],  # a file includes "FOLDER/NAME.h"
    extra_compile_args=[OPTIMIZATION, "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
    libraries=["ssl", "crypto"],
    extra_link_args=["-pthread"],
)

setup(ext_modules=cythonize([core], language_level=3))  # type: ignore[no-untyped-call]
