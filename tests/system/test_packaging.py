"""What is handed out: the sdist has what builds pooler, the wheel what runs it, and no more; the paths agree.

The slow rest, with other versions of Python and a Debian that boots, is in scripts/wheel and scripts/deb.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.install import need

ROOT = Path(__file__).resolve().parents[2]
ETC = ROOT / "etc"

#: Folders of the sdist, with the endings of the files that may be in them.
SDIST = {
    "pooler": {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h", ".typed"},
    "docs": {".md", ".svg", ".png"},
    "etc": {
        ".ini",
        ".service",
        ".socket",
        ".txt",
        ".sysusers",
        ".logrotate",
        ".yaml",
        ".yml",
        ".json",
        ".py",
    },
    "man": {".1"},
    "pooler.egg-info": {"", ".txt"},
}

#: Its files beside those folders; LICENSE is there as soon as the tree has one.
SDIST_TOP = {
    *("CHANGELOG.md", "Dockerfile", "MANIFEST.in", "PKG-INFO", "README.md", "SECURITY.md"),
    *("pyproject.toml", "setup.cfg", "setup.py"),
}

#: Made while building.
GENERATED = {"pooler/core/binding/_core.c"}

#: What the core has for tests only: it stands behind the line of that comment in the stub.
TEST_HOOKS = set(
    re.findall(
        r"^(?:def |class )?(\w+)(?=[(:])",
        (ROOT / "pooler/core/_core.pyi").read_text().partition("POOLER_TEST_HOOKS")[2],
        re.MULTILINE,
    )
)

#: What CPython's internal headers define, up to 3.14, and Cython includes: no names of ours.
NAMES_OF_CPYTHON = re.compile(r"\b(?:read|write)_(?:u16|u32|u64|obj)\b")


def tracked() -> set[str]:
    """The files of the tree, as git knows them; changed and new ones too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name for name in names if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a copy: setuptools adds what an earlier build in the same folder has listed."""
    sources = tmp_path_factory.mktemp("sources")
    for name in tracked():
        if not name.startswith("tests/fuzz/corpus/"):
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, sources / name)
    build = "import setuptools.build_meta as m; print(m.build_sdist('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=sources, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return sources / "dist" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist by the pip of a new environment, which has nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "venv", with_pip=True)
    done = subprocess.run(
        [folder / "venv/bin/python", "-m", "pip", "wheel", "--no-deps", "-w", folder, sdist],
        env={**os.environ, "POOLER_DEBUG": "0", "POOLER_OPTIMIZATION": "-O0"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = folder.glob("*.whl")
    return made


def test_sdist_has_what_pooler_is_built_from_and_no_more(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
    for name in members:
        folder, _, rest = name.partition("/")
        if rest:
            assert Path(name).suffix in SDIST.get(folder, ()), f"{name}: needed by nothing"
        else:
            assert name in SDIST_TOP | {"LICENSE"}, f"{name}: needed by nothing"
    assert not GENERATED & set(members)
    wanted = {name for name in tracked() if name.startswith(("pooler/", "etc/", "docs/", "man/"))}
    assert not [name for name in members if "/testing/" in name], "hooks for tests"
    wanted = {name for name in wanted if "/testing/" not in name}
    wanted |= SDIST_TOP | ({"LICENSE"} & tracked())
    unwanted = {name for name in wanted if name.startswith("pooler/") and name.endswith(".md")}
    assert not wanted - unwanted - set(members)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wheel_has_what_runs_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "pooler = pooler.cli:main" in archive.read(entry_points).decode()
    package = {name for name in names if ".dist-info/" not in name}
    [core] = [name for name in package if name.endswith(".so")]
    assert re.fullmatch(r"pooler/core/_core\.cpython-\d+-.*\.so", core)
    modules = {name for name in tracked() if re.fullmatch(r"pooler/.*\.py|pooler/py\.typed", name)}
    assert {name for name in package - {core} if not name.endswith(".pyi")} == modules
    # Its OpenSSL is the system's: such a wheel runs here only, and says so.
    assert "-linux_" in wheel.name


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wheel_uses_the_systems_openssl(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    [core] = tmp_path.glob("pooler/core/_core*.so")
    linked = subprocess.run(["ldd", core], check=True, capture_output=True, text=True).stdout
    places = dict(re.findall(r"(lib(?:ssl|crypto))\S* => (\S+)", linked))
    assert set(places) == {"libssl", "libcrypto"}
    assert all(place.startswith(("/lib", "/usr/lib")) for place in places.values()), places
    show = "from pooler.core import _core; print(_core.__file__, _core.DEBUG_BUILD, *dir(_core), sep='\\n')"
    command = [sys.executable, "-P", "-c", show]
    shown = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    file, debug, *names = shown.stdout.splitlines()
    assert Path(file) == core
    assert debug == "False"
    assert "Relay" in names
    assert {"PlayedTables", "scan", "EFFECT_FLAGS"} <= TEST_HOOKS
    assert not [name for name in names if name.lower().startswith("test")]
    assert not TEST_HOOKS & set(names)


def test_core_has_no_names_of_cpythons_internal_headers() -> None:
    """Cython includes them; pooler would not compile with a Python that has them (3.13: read_u32)."""
    sources = [path for path in ROOT.glob("pooler/core/*/*") if path.suffix in {".c", ".h", ".pxd", ".pyx"}]
    assert len(sources) > 50
    for path in sources:
        if str(path.relative_to(ROOT)) not in GENERATED:
            assert not NAMES_OF_CPYTHON.findall(path.read_text()), path


def test_the_paths_are_the_same_everywhere() -> None:
    unit = (ETC / "pooler.service").read_text()
    assert "ExecStart=/opt/pooler/bin/pooler /etc/pooler/pooler.ini" in unit
    assert "DH_VIRTUALENV_INSTALL_ROOT := /opt\n" in (ROOT / "debian/rules").read_text()
    image = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["/opt/pooler/bin/pooler"]\nCMD ["/etc/pooler/pooler.ini"]' in image
    [account] = re.findall(r"^u (\S+)", (ETC / "pooler.sysusers").read_text(), re.MULTILINE)
    assert f"\nUser={account}\nGroup={account}\n" in unit
    assert f"chown root:{account} " in (ROOT / "debian/pooler.postinst").read_text()
    [logs] = re.findall(r"^LogsDirectory=(\S+)", unit, re.MULTILINE)
    rotate = (ETC / "pooler.logrotate").read_text()
    assert f"/var/log/{logs}/*.log {{\n    su {account} {account}\n" in rotate
    compose = (ETC / "compose/compose.yaml").read_text()
    for name in ("pooler.ini", "userlist.txt"):
        assert f"./{name}:/etc/pooler/{name}:ro" in compose
        assert (ETC / "compose" / name).is_file()


def test_systemd_knows_the_account_and_the_restrictions(tmp_path: Path) -> None:
    need("systemd", "systemd-analyze")
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", ETC / "pooler.sysusers"], check=True, capture_output=True
    )
    assert re.search(r"^pooler:x:\d+:\d+:.*:/usr/sbin/nologin$", (tmp_path / "etc/passwd").read_text(), re.M)
    unit = str(ETC / "pooler.service")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=14", unit]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # 14: an exposure of at most 1.4 of 10
    assert "Overall exposure level for pooler.service" in done.stdout
