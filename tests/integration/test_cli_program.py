"""The executable `minibus` against a real command socket; only the bus behind it is a stand-in."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bus.lock import FileLock
from bus.messages.base import Ack, Message
from bus.messages.control import StopNode
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.namespace import DestroyNamespace, DestroyReport, GetNamespaces, NamespaceList
from bus.messages.network import Bridges, GetBridges
from bus.messages.vm import GetVms
from cli.commands.host.stop import ConnectionEnds
from cli.subcommands import SUBCOMMANDS
from tests.unit.cli.stand_ins import Asked, make_vms, serving

ROOT = Path(__file__).parents[2]


async def minibus(base: Path, *arguments: str, program: str = "minibus", first: str = "") -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the executable under that name; `first` is code to run before it."""
    code = f"{first}\nimport sys; sys.argv[0] = {program!r}; from cli.main import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments),
        cwd=ROOT,
        env={**os.environ, "MINIBUS_BASE": str(base)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_exec(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        assert await minibus(server.base, "exec", "echo 'a  b'") == (0, "n1: a  b\n", "")
        assert await minibus(server.base, "exec", "echo", "--json") == (0, "n1: --json\n", "")
        assert await minibus(server.base, "exec", "echo", "a  b", "#c", '"') == (0, 'n1: a  b #c "\n', "")
        assert await minibus(server.base, "-e", "echo", "a  b") == (0, "n1: a  b\n", "")
        assert await minibus(server.base, "--base", str(base_dir), "exec", "--", "echo", "x") == (0, "n1: x\n", "")
        assert await minibus(server.base, "-e") == (0, "", "")


async def test_exec_says_what_failed(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        sentence = "invalid command: `vm infos`: did you mean `vm info [summary,]`?"
        assert await minibus(server.base, "exec", "vm infos") == (1, "", f"Error (n1): {sentence}\n")
        assert await minibus(server.base, "-e", "vm infos") == (1, "", f"Error (n1): {sentence}\n")
        old = await minibus(server.base, "-base", str(base_dir), "-e", "vm infos", program="/usr/bin/minimega")
        assert old == (0, "", f"Error (n1): {sentence}\n")


async def test_exec_json(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        answers = [
            await minibus(server.base, "exec", "--json", ".columns", "name", "vm", "info"),
            await minibus(server.base, "exec", ".columns name vm info", "--json"),
        ]
        for status, out, err in answers:
            (response,) = json.loads(out)
            assert (status, err, response["Header"], response["Tabular"]) == (0, "", ["name"], [["vm-0"], ["vm-1"]])


async def test_exec_in_a_namespace(base_dir: Path) -> None:
    async with serving(base_dir) as server:
        await minibus(server.base, "exec", "--namespace", "exp", "vm info")
        assert server.bus.asked[-1].namespace == "exp"


async def test_exec_quit(base_dir: Path) -> None:
    reactions: dict[type[Message], Any] = {GetNamespaces: NamespaceList(namespaces=()), StopNode: Ack()}
    reactions |= {KillDnsmasqs: Ack(), GetBridges: Bridges()}
    async with serving(base_dir, {**reactions, DestroyNamespace: DestroyReport()}) as server:
        assert await minibus(server.base, "exec", "quit") == (0, "", "")
        assert type(server.bus.asked[-1].request) is StopNode


async def test_quit_while_minibus_goes_on(base_dir: Path) -> None:
    """The command server fell over in the middle of it: the node still holds its lock."""

    def fall_over(request: Asked) -> Message:
        raise ConnectionEnds

    (base_dir / "run").mkdir()
    lock = FileLock(base_dir / "run" / "node.lock", "minibus")
    try:
        async with serving(base_dir, {GetNamespaces: fall_over}) as server:
            shorter = "import cli.prompt.client; cli.prompt.client.END_S = 0.2"
            status, out, err = await minibus(server.base, "exec", "quit", first=shorter)
            assert (status, out) == (1, "") and "what became of the command is unknown" in err
    finally:
        lock.release()


async def test_read(base_dir: Path) -> None:
    script = base_dir / "my script"
    script.write_text("echo a\nbad\n")
    async with serving(base_dir) as server:
        expected = (1, "n1: a\n", f"Error (n1): {script}:2: invalid command: `bad`\n")
        assert await minibus(server.base, "read", str(script)) == expected
        assert await minibus(server.base, "read", "--check", str(script)) == (1, "", expected[2])
        assert await minibus(server.base, "read", str(script), "--check") == (1, "", expected[2])


async def test_nobody_there(base_dir: Path) -> None:
    sentence = f"minibus: minibus is not running on {base_dir}: start it with `minibus up --base {base_dir}`\n"
    assert await minibus(base_dir, "exec", "version") == (1, "", sentence)
    assert (await minibus(base_dir, "-base", str(base_dir), "-e", "version", program="minimega"))[0] == 1
    assert (await minibus(base_dir, "exec", "--base", "/" + "x" * 200, "version"))[0] == 1


async def test_a_reader_that_leaves_ends_it_quietly(base_dir: Path) -> None:
    async with serving(base_dir, {GetVms: make_vms(2000)}) as server:
        code = "import sys; from cli.main import main; sys.exit(main())"
        command = f"'{sys.executable}' -c '{code}' exec vm info | head -n 1"
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", command),
            cwd=ROOT,
            env={**os.environ, "MINIBUS_BASE": str(server.base)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert out.startswith(b"host | id") and out.count(b"\n") == 1
        assert err == b""


@pytest.mark.parametrize(
    ("redirection", "status", "sentence"),
    [
        (">/dev/full", 1, b"minibus: cannot write the answer: No space left on device\n"),
        (">&-", 0, b""),
        ("2>&-", 0, b""),
    ],
)
async def test_output_that_cannot_be_written(base_dir: Path, redirection: str, status: int, sentence: bytes) -> None:
    async with serving(base_dir) as server:
        code = "import sys; from cli.main import main; sys.exit(main())"
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", f"'{sys.executable}' -c '{code}' exec echo x {redirection}"),
            cwd=ROOT,
            env={**os.environ, "MINIBUS_BASE": str(server.base)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
        assert (process.returncode, err) == (status, sentence)


async def test_a_locale_without_the_letters(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    async with serving(base_dir) as server:
        assert await minibus(server.base, "exec", "echo \u00e9") == (0, "n1: \\xe9\n", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("frobnicate",), "there is no subcommand frobnicate"),
        (("exec",), "exec needs a command"),
        (("exec", "--jsn", "x"), "unknown option --jsn"),
        (("ps", "x"), "ps does not take `x`"),
        (("--base",), "--base needs a value"),
        (("read",), "read needs one file"),
        (("up", "--namespace", "x"), "up takes no --namespace"),
        (("help", "x"), "there is no subcommand x"),
    ],
)
async def test_wrong_arguments(base_dir: Path, arguments: tuple[str, ...], sentence: str) -> None:
    about = f"{arguments[0]} " if arguments[0] in SUBCOMMANDS else ""
    expected = (2, "", f"minibus: {sentence}; see `minibus {about}--help`\n")
    assert await minibus(base_dir, *arguments) == expected


@pytest.mark.parametrize(
    "words", [("--help",), ("-h",), (), ("help",), ("exec", "--help"), ("help", "tap"), ("up", "-h")]
)
async def test_help(base_dir: Path, words: tuple[str, ...]) -> None:
    status, out, err = await minibus(base_dir, *words)
    assert (status, err) == (0, "")
    assert "usage: minibus" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("words", [("version",), ("-version",), ("--version",)])
async def test_version_needs_no_server(base_dir: Path, words: tuple[str, ...]) -> None:
    status, out, err = await minibus(base_dir, *words)
    assert (status, err) == (0, "") and out.startswith("minibus ")
