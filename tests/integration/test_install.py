"""What `pip install` of minibus puts beside a user's own packages works from there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 100.0


def call(*argv: str | Path, cwd: Path = Path("/")) -> str:
    """What a program prints; fails with what it complains about."""
    ended = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pip builds it from the checkout."""
    target = tmp_path_factory.mktemp("wheel")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    call(sys.executable, "-m", "pip", "wheel", *quiet, "--no-deps", "--wheel-dir", target, ROOT)
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of an environment with minibus in it, which finds what minibus needs in this one."""
    directory = tmp_path_factory.mktemp("user")
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-index")
    call(sys.executable, "-m", "pip", "--python", python, "install", *quiet, "--no-deps", "--no-compile", wheel)
    (packages,) = directory.glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but .pth files there are not: the checkout itself stays out.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    yield python


def test_the_library_is_that_of_the_wheel_and_says_why_it_cannot_connect(python: Path) -> None:
    code = """
import asyncio, bus
from bus.messages.vm import GetVms

async def main():
    async with bus.connect("/nonexistent") as client:
        await client.ask("vm", GetVms())

print(bus.__file__)
for start in (lambda: asyncio.run(main()), lambda: bus.connect_sync("/nonexistent")):
    try:
        start()
    except bus.UnreachableError as error:
        print(error)
"""
    where, *sentences = call(python, "-I", "-c", code).splitlines()
    assert Path(where).is_relative_to(python.parents[1])
    assert sentences == ["minibus is not running on /nonexistent: start it with `minibus up --base /nonexistent`"] * 2


def test_the_executable_is_there_and_works(python: Path) -> None:
    assert "usage" in call(python.with_name("minibus"), "--help").lower()
    assert call(python.with_name("minibus"), "-version") == call(ROOT / ".venv" / "bin" / "minibus", "-version")


def test_every_actor_can_be_loaded_from_it(python: Path) -> None:
    code = """
import importlib
from actors import roster
for spec in (*roster.ROSTER, roster.METRICS):
    print(importlib.import_module(spec.entry.partition(":")[0]).__file__)
"""
    files = call(python, "-I", "-c", code).splitlines()
    assert files
    assert all(Path(file).is_relative_to(python.parents[1]) for file in files)


def test_the_wheel_has_all_that_the_packages_have(wheel: Path) -> None:
    """Files that are no Python too: markers for type checkers, units, whatever a module reads beside itself."""
    packages = ("actors", "bus", "shims", "cli", "tools")
    listing = call("git", "ls-files", "-z", *packages, cwd=ROOT).split("\0")
    tracked = {name for name in listing if name and (ROOT / name).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert tracked - names == set()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == set(packages)
