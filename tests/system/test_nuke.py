"""Giving up on a base directory in any state: everything of it goes, and nothing of anybody else's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.nuke import leftovers
from tests.system.product import MINIBUS, PATIENCE_S, PROCESSES, Done, Product, product_on, run, until

GONE = "nothing of minibus is left on {base}; its files and log stay\n"
NOBODY = 65534


@pytest.fixture
def product(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    """minibus with running, waiting and frozen containers, their networks, and a file in the file area."""
    with product_on(base_dir, rootfs) as product:
        with product.configured() as console:
            console.ok("vm config net LAN OTHER", "vm launch container web[1-5]", "vm start web[1-3]", "vm stop web3")
            console.ok(f"tap create LAN name mb-{product.tag}")
        (base_dir / "files" / "image").write_text("precious")
        try:
            yield product
        finally:
            run("nuke", "--base", base_dir, "--yes")  # a test that failed in the middle must not leave containers


def nuked(product: Product) -> Done:
    """Nuke from outside; checks that nothing but the files and logs is left."""
    done = run("nuke", "--base", product.base, "--yes")
    nothing_left(product)
    return done


def kill_everything(product: Product) -> None:
    """SIGKILL for every process of minibus; its containers run on."""
    for pid in [product.pid(name) for name in PROCESSES]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def nothing_left(product: Product) -> None:
    assert leftovers.find(product.base, product.tag) == []
    assert sorted(entry.name for entry in product.base.iterdir()) == ["files", "log"]
    assert (product.base / "files" / "image").read_text() == "precious"


def usable_again(product: Product) -> None:
    """minibus starts as on a new base directory."""
    product.up()
    with product.configured() as console:
        assert console.rows() == []
        console.ok("vm launch container new", "vm start new")
        assert console.states() == {"new": "RUNNING"}


def test_a_healthy_one_and_once_more(product: Product) -> None:
    done = nuked(product)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "minibus ended"
    assert {"5 instance directories removed", "networks removed"} <= set(lines)
    assert done.out.endswith(GONE.format(base=product.base))
    assert nuked(product) == Done(0, "there was nothing to remove\n" + GONE.format(base=product.base), "")
    usable_again(product)


def test_the_command(product: Product) -> None:
    pids = [product.pid(name) for name in PROCESSES]
    assert product.minibus("exec", "nuke") == Done(0, "", "")
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the processes to be gone")
    until(lambda: not (product.base / "run").exists(), "the end of the nuke")
    nothing_left(product)
    usable_again(product)


def test_everything_was_killed(product: Product) -> None:
    kill_everything(product)
    assert product.guest_pids()
    done = nuked(product)
    assert (done.status, done.err) == (0, "")
    assert "5 instance directories removed\n" in done.out
    usable_again(product)


def test_everything_hangs(product: Product) -> None:
    for name in PROCESSES:
        product.kill(name, signal.SIGSTOP)
    assert nuked(product).status == 0


@pytest.mark.parametrize("damage", [b"", b"\xff" * 1000, b"\x00", b"\x93\x01\x02"], ids=["empty", "ff", "zero", "odd"])
def test_damaged_journals(product: Product, damage: bytes) -> None:
    kill_everything(product)
    for path in (product.base / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(damage)
    assert nuked(product).status == 0
    usable_again(product)


def test_a_start_that_fails_is_helped(product: Product) -> None:
    product.down()
    journals = product.base / "state" / "vm"
    for path in sorted(journals.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    journals.rmdir()
    journals.write_text("no directory")
    assert product.minibus("up", "--detach").status == 1
    assert nuked(product).status == 0
    usable_again(product)


def test_locks_that_somebody_has_removed(product: Product) -> None:
    pids = [product.pid(name) for name in PROCESSES]
    for lock in (product.base / "run").glob("*.lock"):
        lock.unlink()
    assert nuked(product).status == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the processes to be reaped")


def test_two_at_once(product: Product) -> None:
    argv = [str(MINIBUS), "nuke", "--base", str(product.base), "--yes"]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE_S) for process in both]
    assert 0 in [process.returncode for process in both], said
    nothing_left(product)


def test_background_jobs_end_too(product: Product) -> None:
    with product.console() as console:
        console.ok("background sleep 1234567", "background sh -c 'setsid sleep 1234567; true'")
    done = nuked(product)
    assert "processes of jobs and servers killed\n" in done.out
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            assert b"1234567" not in command, command


def test_another_base_directory_is_left_alone(product: Product, rootfs: Path, tmp_path: Path) -> None:
    with product_on(tmp_path / "other", rootfs) as other:
        with other.configured() as console:
            console.ok("vm launch container neighbour", "vm start neighbour")
        assert nuked(product).status == 0
        other.everything_answers()
        with other.console() as console:
            assert console.states() == {"neighbour": "RUNNING"}
        assert all(entry["restarts"] == 0 for entry in other.ps().values())


def test_symbolic_links_are_not_followed(product: Product, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis").write_text("years of work")
    kill_everything(product)
    (product.base / "77").symlink_to(mine)
    (product.base / "0" / "escape").symlink_to(mine)
    (product.base / "bus" / "escape").symlink_to(mine)
    assert nuked(product).status == 0
    assert (mine / "thesis").read_text() == "years of work"


def test_a_mount_of_a_guest_is_taken_down_and_the_users_stay(product: Product) -> None:
    kill_everything(product)
    inside, files = product.base / "0" / "fs", product.base / "files"
    for point in (inside, files):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
    (files / "image").write_text("precious")
    try:
        done = run("nuke", "--base", product.base, "--yes")
        assert (done.status, done.err) == (0, "")
        assert "1 mount removed\n" in done.out
        nothing_left_but_mounts = [*leftovers.processes(product.base, product.tag), *leftovers.files(product.base)]
        assert nothing_left_but_mounts == []
        assert (files / "image").read_text() == "precious"
    finally:
        subprocess.run(["umount", files], check=True)
    nothing_left(product)


@pytest.mark.parametrize("arguments", [(), ("--yes",)])
def test_what_is_no_base_directory(base_dir: Path, arguments: tuple[str, ...]) -> None:
    (base_dir / "7").mkdir()
    (base_dir / "state").mkdir()
    (base_dir / "state" / "mine").touch()
    (base_dir / "minimega").touch()
    done = run("nuke", "--base", base_dir, *arguments)
    if arguments:
        assert done.sentence() == f"minibus: {base_dir} is no base directory of minibus: nothing was touched"
    else:
        assert (done.status, done.sentence()) == (
            2,
            "minibus: nuke needs --yes where it cannot ask; see `minibus nuke --help`",
        )
    assert sorted(entry.name for entry in base_dir.iterdir()) == ["7", "minimega", "state"]
    assert (base_dir / "state" / "mine").exists()


def test_refusals(base_dir: Path) -> None:
    nowhere = base_dir / "nowhere"
    assert run("nuke", "--base", nowhere, "--yes").sentence() == f"minibus: there is no directory {nowhere}"
    base_dir.chmod(0o755)
    assert (
        run("nuke", "--base", base_dir, "--yes", user=NOBODY).sentence().startswith("minibus: minibus nuke needs root")
    )
    (base_dir / "run").mkdir()
    (base_dir / "run" / "node.lock").touch()
    os.chown(base_dir, NOBODY, NOBODY)
    assert (
        run("nuke", "--base", base_dir, "--yes").sentence().endswith(f"belongs to user {NOBODY}: nothing was touched")
    )
    assert (base_dir / "run" / "node.lock").exists()


def test_limits_that_were_raised_for_the_host_are_told_of(product: Product) -> None:
    record = product.base / "tuned.json"
    record.write_text("{}")
    done = run("nuke", "--base", product.base, "--yes")
    assert (done.status, done.err) == (0, "")
    assert "the limits of this host stay raised; `minibus doctor --untune` puts them back\n" in done.out
    record.unlink()
    nothing_left(product)
