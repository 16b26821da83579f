"""The executable called as `minimega`: a daemon with a prompt, with a script on stdin, or with neither."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from shims.nuke import leftovers
from tests.integration.terminal import Terminal, on_terminal
from tests.system.product import MINIBUS, PATIENCE_S, Done, Product, run, until

NOBODY = 65534


class Running(NamedTuple):
    """A daemon without a prompt."""

    process: subprocess.Popen[bytes]
    said: Path
    """Its stderr: a file, because guests that outlive it would hold a pipe open."""

    def status(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE_S)


class Minimega:
    """The link, a base directory, and what runs on it."""

    def __init__(self, link: Path, product: Product) -> None:
        self.link = link
        self.product = product
        self.base = product.base
        self.pid_file = product.base / "minimega.pid"

    def run(self, *arguments: object, stdin: str = "", base: Path | None = None) -> Done:
        """Run it to its end."""
        argv = [self.link, "-base", base or self.base, *arguments]
        ended = subprocess.run(
            list(map(str, argv)), input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, cwd="/"
        )
        return Done(ended.returncode, ended.stdout, ended.stderr)

    @contextlib.contextmanager
    def daemon(self, *arguments: object) -> Iterator[Running]:
        """Run it as a daemon that answers; ended at last."""
        argv = [self.link, "-base", self.base, "-nostdin", *arguments]
        said = self.link.with_name("said")
        with said.open("w") as file:
            process = subprocess.Popen(list(map(str, argv)), stderr=file, cwd="/")
        try:
            until(lambda: process.poll() is not None or self.run("-e", "version").status == 0, "the daemon to answer")
            yield Running(process, said)
        finally:
            process.kill()
            process.wait()

    def launch(self) -> None:
        """Two running containers."""
        with self.product.configured() as console:
            console.ok("vm launch container web[1-2]", "vm start all")
        assert self.product.guest_pids()

    def is_gone(self) -> bool:
        """Nothing of it is left, the pid file included."""
        return not self.pid_file.exists() and leftovers.find(self.base, self.product.tag) == []


@pytest.fixture
def minimega(tmp_path: Path, base_dir: Path, rootfs: Path) -> Iterator[Minimega]:
    """Nothing runs yet."""
    link = tmp_path / "minimega"
    link.symlink_to(MINIBUS)
    product = Product(base_dir, rootfs)
    try:
        yield Minimega(link, product)
    finally:
        product.end()


def test_a_script_on_stdin(minimega: Minimega) -> None:
    script = "\n".join(
        [
            f"vm config filesystem {minimega.product.rootfs}",
            "vm config memory 32",
            "vm launch container web[1-2]",
            "vm start all",
            ".annotate false .columns name,state vm info",
            "namespace exp",
            "echo 'a  b'",
            "nonsense",
        ]
    )
    done = minimega.run(stdin=script)
    host = os.uname().nodename.partition(".")[0]
    assert done.status == 0
    assert done.out == f"name | state\nweb1 | RUNNING\nweb2 | RUNNING\n{host}: a  b\n"
    assert done.err == f"Error ({host}): invalid command: `nonsense`\n"
    assert minimega.is_gone()
    assert minimega.run(stdin="vm info\nnamespace\n").out.count("\n") == 2, "nothing of it is remembered"


def test_quit_ends_a_script(minimega: Minimega) -> None:
    assert minimega.run(stdin="echo a\nquit\necho b\n").out.endswith(": a\n")
    assert minimega.is_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(minimega: Minimega, number: signal.Signals) -> None:
    with minimega.daemon() as daemon:
        assert minimega.pid_file.read_bytes() == str(daemon.process.pid).encode()
        minimega.launch()
        for _ in range(3):  # the later ones change nothing
            daemon.process.send_signal(number)
        assert daemon.status() == 0
    assert minimega.is_gone()


def test_a_signal_during_the_start(minimega: Minimega) -> None:
    argv = [str(minimega.link), "-base", str(minimega.base), "-nostdin"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, cwd="/")
    until(minimega.pid_file.exists, "the pid file")
    process.terminate()
    assert process.communicate(timeout=PATIENCE_S)[1] == b"minimega: caught a signal, shutting down\n"
    assert process.returncode == 0
    assert minimega.is_gone()


def test_quit_from_a_client(minimega: Minimega) -> None:
    with minimega.daemon() as daemon:
        minimega.launch()
        assert minimega.run("-e", "quit") == Done(0, "", "")
        assert daemon.status() == 0
    assert minimega.is_gone()


def test_it_can_be_started_as_soon_as_it_was_told_to_quit(minimega: Minimega) -> None:
    for _ in range(3):
        with minimega.daemon() as daemon:
            assert minimega.run("-e", "quit") == Done(0, "", "")
            assert minimega.is_gone()
            assert daemon.status() == 0


def test_only_one(minimega: Minimega) -> None:
    with minimega.daemon() as daemon:
        node = minimega.product.pid("node")
        for flags in (("-nostdin",), (), ("-force", "-nostdin")):
            said = minimega.run(*flags, stdin="vm info\n").sentence()
            assert said.startswith("minimega appears to already be running, override with -force"), said
            assert f"(pid {daemon.process.pid})" in said or f"(pid {node})" in said
        assert minimega.pid_file.read_text() == str(daemon.process.pid)
        assert minimega.product.pid("node") == node


def test_beside_another_program(minimega: Minimega) -> None:
    """The minimega of others, for example: its socket and its pid file stay what they are."""
    minimega.pid_file.write_text("123")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(minimega.base / "minimega"))
        listener.listen()
        said = minimega.run("-nostdin", "-force").sentence()
        assert said.startswith("minimega appears to already be running, override with -force"), said
        assert minimega.pid_file.read_text() == "123"
        assert (minimega.base / "minimega").is_socket()


def test_beside_minibus_up(minimega: Minimega) -> None:
    minimega.product.up()
    said = minimega.run("-nostdin").sentence()
    assert said.startswith("minimega appears to already be running, override with -force"), said
    assert not minimega.pid_file.exists()
    minimega.product.everything_answers()


def test_panic_leaves_everything(minimega: Minimega) -> None:
    with minimega.daemon("-panic") as daemon:
        minimega.launch()
        daemon.process.terminate()
        assert daemon.status() == 2
        said = daemon.said.read_text()
        assert "most recent call first" in said and "cli/operations/daemon.py" in said
    assert minimega.pid_file.exists()
    guests = minimega.product.guest_pids()
    assert guests
    with minimega.daemon():  # takes over what a dead one has left
        assert minimega.product.guest_pids() == guests
        minimega.run("-e", "quit")


def test_the_node_falls_over(minimega: Minimega) -> None:
    with minimega.daemon() as daemon:
        minimega.launch()
        minimega.product.kill("node")
        assert daemon.status() == 1
        assert "minimega: the node has ended: guests that run on are taken over" in daemon.said.read_text()
    assert minimega.product.guest_pids()
    assert not minimega.pid_file.exists()


def test_killed_itself(minimega: Minimega) -> None:
    """Whoever holds the pid file dies: the node and its guests go on, and can be ended as ever."""
    with minimega.daemon() as daemon:
        minimega.launch()
        daemon.process.kill()
        daemon.status()
        minimega.product.everything_answers()
        assert minimega.run("-e", "quit") == Done(0, "", "")
        until(lambda: minimega.product.pid("node") == 0, "the node's end")
    assert leftovers.find(minimega.base, minimega.product.tag) == []


def test_killed_itself_and_started_again(minimega: Minimega) -> None:
    """The new one is the owner of what the old one has left."""
    with minimega.daemon():  # the end of this block kills it
        minimega.launch()
    guests = minimega.product.guest_pids()
    with minimega.daemon() as daemon:
        until(lambda: minimega.pid_file.read_text() == str(daemon.process.pid), "the new one to have its node")
        assert minimega.product.guest_pids() == guests
        daemon.process.terminate()
        assert daemon.status() == 0
    assert minimega.is_gone()


def test_scripts_as_arguments(minimega: Minimega, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "sec ond"
    first.write_text("echo one\n")
    second.write_text("echo two\nnonsense\necho never\n")
    done = minimega.run(first, second, stdin="echo three\n")
    assert [line.partition(": ")[2] for line in done.out.splitlines()] == ["one", "two", "three"]
    assert f"{second}:2: invalid command: `nonsense`" in done.err
    assert done.status == 0
    missing = minimega.run(tmp_path / "nowhere")
    assert (missing.status, missing.out) == (2, "")
    assert missing.err.startswith(
        f"minimega: {tmp_path / 'nowhere'} is neither a file nor a subcommand\nusage: minimega "
    )


def test_flags(minimega: Minimega, tmp_path: Path) -> None:
    files, log = tmp_path / "images" / "mine", tmp_path / "logs" / "log"
    flags = [
        "-filepath",
        files,
        "-logfile",
        log,
        "-level",
        "info",
        "-v=false",
        "-port=9001",
        "-degree",
        "2",
        "-cgroup=/x",
    ]
    with minimega.daemon(*flags, "-context=c", "--msa", "5", "-force", "-vlanrange=200-300") as daemon:
        assert files.is_dir()
        with minimega.product.console() as console:
            known = {row["name"]: row["value"] for row in console.rows("args")}
            assert console.rows("vlans range") == [{"min": "200", "max": "300", "next": "200"}]
        assert known["filepath"] == str(files)
        assert known["logfile"] == str(log)
        assert (known["port"], known["degree"], known["context"], known["msa"]) == ("9001", "2", "c", "5")
        daemon.process.terminate()
        assert daemon.status() == 0
        assert daemon.said.read_text() == "minimega: caught a signal, shutting down\n"
    assert "INFO" in log.read_text()


def test_flags_of_up(minimega: Minimega, tmp_path: Path) -> None:
    files, log = tmp_path / "images", tmp_path / "log"
    done = minimega.product.minibus("up", "--detach", "--filepath", files, "--level=debug", "--logfile", log)
    assert done == Done(0, "", "")
    assert files.is_dir()
    assert "DEBUG" in log.read_text()
    with minimega.product.console() as console:
        assert console.ok("log level") == "debug"


def test_a_file_area_that_cannot_be(minimega: Minimega, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = minimega.product.minibus("up", "--filepath", tmp_path / "file").sentence()
    assert said == f"minibus: the file area {tmp_path / 'file'} is not a directory"
    assert minimega.run("-nostdin", "-filepath", tmp_path / "file").status == 1
    assert not minimega.pid_file.exists()


def test_a_base_directory_others_may_tamper_with(minimega: Minimega, tmp_path: Path) -> None:
    common = tmp_path / "common"
    common.mkdir()
    common.chmod(0o1777)
    mine, theirs, link = common / "mine", common / "theirs", common / "link"
    assert minimega.run(base=mine, stdin="quit\n").status == 0
    assert mine.stat().st_mode & 0o777 == 0o700
    link.symlink_to(mine)
    assert "is a symbolic link in a directory that everybody may write to" in minimega.run(base=link).sentence()
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    assert f"belongs to user {NOBODY}" in minimega.run(base=theirs).sentence()
    os.chown(theirs, 0, 0)
    theirs.chmod(0o777)
    assert "can be written to by everybody" in minimega.run(base=theirs).sentence()
    assert list(theirs.iterdir()) == []


def test_without_root(minimega: Minimega) -> None:
    assert run("-nostdin", "-base", minimega.base, user=NOBODY).sentence().startswith("minimega: minibus up needs root")


def test_the_other_modes(minimega: Minimega) -> None:
    missing = minimega.run("-e", "version")
    assert (missing.status, missing.out) == (1, "") and str(minimega.base) in missing.err
    assert minimega.run("-attach").status == 1
    assert minimega.run("-cli").out.startswith("[{")
    assert minimega.run("-version").out.startswith("minibus ")
    assert minimega.run("-help").out.startswith("usage: minimega ")
    wrong = minimega.run("-nonsense")
    assert (wrong.status, wrong.out) == (2, "")
    assert wrong.err.startswith("minimega: unknown option -nonsense\nusage: minimega ")
    with minimega.daemon():
        assert minimega.run("-e", "nonsense").status == 0
        assert minimega.run("-attach", stdin="echo x\n").out.endswith(": x\n")
        assert minimega.run("-namespace", "exp", "-e", "ns", "queue") == Done(0, "", "")
        assert minimega.run("-e", "") == Done(0, "", "")
        assert minimega.run("ps").out.startswith("actor ")
        minimega.run("-e", "quit")


@asynccontextmanager
async def prompt(minimega: Minimega) -> AsyncIterator[Terminal]:
    argv = [str(minimega.link), "-base", str(minimega.base)]
    async with on_terminal(argv, {**os.environ, "TERM": "dumb"}, "/") as terminal:
        await terminal.sees("minimega[minimega]$ ")
        yield terminal


async def test_its_own_prompt(minimega: Minimega) -> None:
    async with prompt(minimega) as terminal:
        terminal.type("namespace exp\n")
        await terminal.sees("minimega[exp]$ ")
        terminal.type("echo drop\x03")
        await terminal.sees("minimega[exp]$ ")
        terminal.type("disconnect\n")
        await terminal.sees("invalid command: `disconnect`")
        terminal.type("hist\t\n")
        await terminal.sees("history")
        terminal.type("quit\n")
        assert await terminal.ends() == 0
    assert minimega.is_gone()


async def test_the_end_of_its_own_prompt(minimega: Minimega) -> None:
    async with prompt(minimega) as terminal:
        minimega.launch()
        terminal.type("\x04")
        assert await terminal.ends() == 0
    assert minimega.is_gone()


async def test_a_signal_at_its_own_prompt(minimega: Minimega) -> None:
    async with prompt(minimega) as terminal:
        minimega.launch()
        terminal.process.terminate()
        assert await terminal.ends() == 0
    assert minimega.is_gone()


async def test_the_terminal_goes_away(minimega: Minimega) -> None:
    async with prompt(minimega) as terminal:
        minimega.launch()
        terminal.hang_up()
        assert await terminal.process.wait() == 0
    assert minimega.is_gone()


async def test_quit_by_another_client_ends_its_own_prompt(minimega: Minimega) -> None:
    async with prompt(minimega) as terminal:
        assert minimega.run("-e", "quit") == Done(0, "", "")
        assert await terminal.ends() == 0
    assert minimega.is_gone()


async def test_a_nuke_by_another_client_ends_its_own_prompt(minimega: Minimega) -> None:
    async with prompt(minimega) as terminal:
        minimega.launch()
        started = time.monotonic()
        assert run("nuke", "--base", minimega.base, "--yes").status == 0
        assert time.monotonic() - started < 10
        assert await terminal.ends() == 1, "its node was killed, and it could still say so"
    assert sorted(entry.name for entry in minimega.base.iterdir()) == ["files", "log"]
