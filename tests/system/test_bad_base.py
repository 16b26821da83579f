"""What users get wrong around the program: base directories, disks, rights, arguments, nothing that runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.paths import base_tag
from cli.subcommands import SUBCOMMANDS
from shims.nuke import leftovers
from tests.system.product import MINIBUS, Product, product_on, run

NOBODY = 65534


@pytest.fixture
def scratch(base_dir: Path) -> Iterator[Path]:
    """A directory that others may search, in which nothing of minibus may run afterwards."""
    base_dir.chmod(0o755)
    yield base_dir
    assert [lock for lock in base_dir.rglob("*.lock") if Product(lock.parent.parent, lock).pid(lock.stem)] == []


def test_a_base_that_is_a_file(scratch: Path) -> None:
    file = scratch / "file"
    file.write_text("mine")
    for flags in ((), ("--detach",)):
        assert run("up", "--base", file, *flags).sentence() == f"minibus: {file} is not a directory"
        assert run("up", "--base", file / "x", *flags).sentence() == (
            f"minibus: cannot use {file / 'x'} as base directory: Not a directory"
        )
    assert file.read_text() == "mine"


def test_a_base_that_is_a_dangling_link(scratch: Path) -> None:
    link = scratch / "link"
    link.symlink_to("nowhere")
    assert run("up", "--base", link).sentence() == f"minibus: {link} is not a directory"
    assert [entry.name for entry in scratch.iterdir()] == ["link"]


def test_a_base_whose_path_is_too_long(scratch: Path) -> None:
    base = scratch / ("d" * 80)
    assert run("up", "--base", base).sentence() == (
        f"minibus: base directory is longer than 80 bytes, more than a unix socket can have: {base}"
    )
    assert list(scratch.iterdir()) == []


def test_a_base_of_another_user(scratch: Path) -> None:
    base = scratch / "theirs"
    base.mkdir()
    os.chown(base, NOBODY, NOBODY)
    assert run("up", "--base", base).sentence() == (
        f"minibus: {base} belongs to user {NOBODY}, not to root: choose another with --base DIR"
    )
    assert list(base.iterdir()) == []


def test_no_root(scratch: Path) -> None:
    sentence = "minibus: minibus up needs root: nobody else may make namespaces, mounts and cgroups"
    for flags in ((), ("--detach",)):
        assert run("up", "--base", scratch / "b", *flags, user=NOBODY).sentence() == sentence
    assert list(scratch.iterdir()) == []


def test_somebody_else_may_not_command(shared: Product) -> None:
    for mode in (0o755, 0o700):
        shared.base.chmod(mode)
        for words in (("exec", "version"), ("ps",), ("tap", "vm/"), ("down",)):
            said = run(words[0], "--base", shared.base, *words[1:], user=NOBODY).sentence()
            assert said.startswith(("minibus: user nobody may not use", "minibus: user nobody may not stop")), said


def test_a_full_disk_from_the_start(scratch: Path) -> None:
    with small_disk(scratch / "disk", "64k") as disk:
        fill(disk / "ballast")
        base = disk / "b"
        for flags in ((), ("--detach",)):
            said = run("up", "--base", base, *flags).sentence()
            assert "No space left on device" in said, said
            assert str(base) in said, said
            assert leftovers.find(base, base_tag(base)) == []


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A tmpfs of the given size."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_disk_that_fills_up(scratch: Path, rootfs: Path) -> None:
    with (
        small_disk(scratch / "disk", "512k") as disk,
        product_on(disk / "b", rootfs) as product,
        product.configured() as console,
    ):
        console.ok("vm launch container before", "vm start before")
        fill(disk / "ballast")
        before = console.rows()
        for line in ("vm launch container x", "vm launch container 100", "vm config save full", "vm tag before k v"):
            said = console.error(line)
            assert "No space left on device" in said, (line, said)
        assert console.vm("before") | {"uptime": ""} == before[0] | {"uptime": ""}
        (disk / "ballast").unlink()
        console.ok("vm flush", "vm tag before k v", "vm launch container after", "vm start after", "vm kill all")
        assert set(console.states().values()) == {"QUIT"}


def test_a_second_minibus_on_the_same_base(shared: Product) -> None:
    pid = shared.pid("node")
    for flags in ((), ("--detach",)):
        said = run("up", "--base", shared.base, *flags).sentence()
        assert said == f"minibus: minibus is already running on {shared.base} (pid {pid})"
    link = shared.base / "files" / "here"
    link.symlink_to(shared.base)
    try:
        assert "is already running on" in run("up", "--base", link).sentence()
    finally:
        link.unlink()
    assert shared.pid("node") == pid
    shared.everything_answers()


def test_nothing_runs(scratch: Path) -> None:
    for base in (scratch, scratch / "nowhere"):
        hint = f"minibus: minibus is not running on {base}: start it with `minibus up --base {base}`"
        for words in (("exec", "vm info"), ("ps",), ("tap", "vm/"), ("read", "/dev/null"), ("-e", "version")):
            first = [*words[:1], "--base", base] if words[0] != "-e" else ["--base", base, "-e"]
            assert run(*first, *words[1:]).sentence() == hint, words
        assert run("down", "--base", base).sentence() == f"minibus: minibus is not running on {base}"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "there is no subcommand nonsense"),
        (["--nonsense"], "unknown option --nonsense"),
        (["up", "--nonsense"], "unknown option --nonsense"),
        (["up", "now"], "up does not take `now`"),
        (["exec"], "exec needs a command"),
        (["read"], "read needs one file"),
        (["ps", "--base"], "--base needs a value"),
        (["help", "nonsense"], "there is no subcommand nonsense"),
    ],
    ids=lambda value: "-".join(value)[:20],
)
def test_arguments(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    about = f"{arguments[0]} " if arguments[0] in SUBCOMMANDS else ""
    assert done.sentence() == f"minibus: {sentence}; see `minibus {about}--help`"
    assert done.status == 2


def test_too_few_descriptors(base_dir: Path, rootfs: Path) -> None:
    """What fits is launched, the rest is told why not, and nobody falls over."""
    with product_on(base_dir, rootfs, up=False) as product:
        up = [str(MINIBUS), "up", "--base", str(base_dir), "--detach"]
        subprocess.run(["prlimit", "--nofile=128:128", *up], check=True)
        with product.configured() as console:
            sentences = console.error("vm launch container x[1-60]").splitlines()
            # Which call meets it, and so whether there is advice, is chance.
            assert {line.partition(": ")[2].partition(";")[0] for line in sentences} == {
                "start container: system call: Too many open files"
            }
            states = list(console.states().values())
            assert states.count("ERROR") == len(sentences)
            assert states.count("BUILDING") == 60 - len(sentences) > 10
            console.ok("vm start all", "vm kill all", "vm flush")
        assert product.guests_left() == []
        assert all(entry["restarts"] == 0 for entry in product.ps().values())
