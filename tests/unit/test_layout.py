"""The tree keeps the shape that CONTRIBUTING.md promises."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import bus

ROOT = Path(__file__).parents[2]
PACKAGES = ("bus", "shims", "actors", "cli", "tools")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_FOLDER_FILES = 25
SHAPELESS_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
SOCKET_MAKERS = {"bus/port.py", "bus/broker/broker.py", "bus/gateway/doors.py"}
FILE_NAME = re.compile(rf"(?<![\w/.<-])(?:{'|'.join(PACKAGES)}|tests|docs)/[\w/.-]*\.(?:py|md|toml|json|mjs|c|pem)\b")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")


def tracked(*suffixes: str) -> list[Path]:
    """Files of the checkout with one of the suffixes: those git knows, so that leftovers do not count."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    names = [ROOT / name for name in listing.stdout.decode().split("\0") if name.endswith(suffixes)]
    return [path for path in names if path.is_file()]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_bus_is_ours_and_not_a_distribution_of_that_name() -> None:
    assert Path(bus.__file__ or "").resolve() == ROOT / "bus" / "__init__.py"


HEAVY = {"argparse", "asyncio", "msgpack", "msgspec", "psutil", "pyroute2", "subprocess", "zmq"}


@pytest.mark.parametrize("module", ["bus", "cli", "cli.main"])
def test_one_shot_commands_start_light(module: str) -> None:
    """Each of these costs more than all a one-shot command has to do; they are imported where they are needed."""
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert HEAVY & set(loaded.stdout.split()) == set()


def test_no_file_is_too_long() -> None:
    lengths = {relative(p): len(p.read_text().splitlines()) for p in tracked(".py")}
    assert lengths
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_folder_is_too_full() -> None:
    folders = Counter(relative(p.parent) for p in tracked(".py") if relative(p).startswith((*PACKAGES, "tests/unit")))
    assert {name: n for name, n in folders.items() if n > MAX_FOLDER_FILES} == {}


def test_no_function_is_too_long() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in tracked(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long == []


def test_names_say_what_a_file_is_for() -> None:
    assert [relative(p) for p in tracked(".py") if p.stem in SHAPELESS_NAMES] == []


def test_nothing_is_left_unfinished() -> None:
    marked = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in tracked(".py", ".md", ".toml", "Justfile", "dev")
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert marked == []


def test_files_that_comments_and_pages_name_are_there() -> None:
    """CHANGELOG.md tells of files as they were, and test_workers.py makes some up."""
    named = [
        f"{relative(path)}:{number}: {name}"
        for path in tracked(".py", ".md", "Justfile", "dev")
        if path.name not in ("CHANGELOG.md", "test_workers.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for name in FILE_NAME.findall(line)
        if not (ROOT / name).exists()
    ]
    assert named == []


def test_test_folders_are_not_packages() -> None:
    """With an __init__.py in tests/unit/bus, `import bus` could find the tests."""
    assert [relative(p) for p in tracked("__init__.py") if "tests" in p.relative_to(ROOT).parts] == []


def test_unit_tests_stand_in_folders_like_those_of_what_they_test() -> None:
    folders = {p.parent.relative_to(ROOT / "tests" / "unit") for p in tracked(".py") if "tests/unit/" in str(p)}
    assert len(folders) > len(PACKAGES)
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists() and folder.parts] == []


def test_sockets_are_made_in_few_files() -> None:
    makers = {
        relative(p)
        for p in tracked(".py")
        if relative(p).startswith("bus/") and re.search(r"zmq\.Socket\(|\.socket\(zmq\.", p.read_text())
    }
    assert makers <= SOCKET_MAKERS


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize(
    "page",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/protocol.md", "docs/operations.md"],
)
def test_pages_exist(page: str) -> None:
    assert (ROOT / page).stat().st_size > 200
