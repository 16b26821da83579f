"""Processes of minibus have as many descriptors as they can get; what runs for users has what minibus was given."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.product import MINIBUS, PROCESSES, Product, product_on, until

GIVEN = 256


def said(path: Path) -> str:
    """What is in a file by now."""
    return path.read_text() if path.is_file() else ""


@pytest.fixture
def product(base_dir: Path, rootfs: Path) -> Iterator[Product]:
    with product_on(base_dir, rootfs, up=False) as product:
        yield product


def test_everything_of_users_keeps_the_limit_that_was_given(product: Product, tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    up = [str(MINIBUS), "up", "--base", str(product.base), "--detach"]
    subprocess.run(["prlimit", f"--nofile={GIVEN}:", *up], check=True, timeout=60)
    for name in PROCESSES:
        assert resource.prlimit(product.pid(name), resource.RLIMIT_NOFILE) == (hard, hard), name

    inside, job, piped = tmp_path / "inside", tmp_path / "job", tmp_path / "piped"
    inside.mkdir()
    inside.chmod(0o777)
    with product.console() as console:
        console.ok(
            f"vm config filesystem {product.rootfs}",
            f"vm config volume /out {inside}",
            'vm config init /bin/sh -c "ulimit -n > /out/soft; ulimit -Hn > /out/hard; exec sleep 1000"',
            "vm launch container web1",
            "vm start web1",
        )
        until(lambda: said(inside / "hard") != "", "the guest to say its limits")
        assert (inside / "soft").read_text() == f"{GIVEN}\n"
        assert (inside / "hard").read_text() == f"{hard}\n"
        # A program gets its limit in the instant after it has started.
        assert console.ok('shell sh -c "sleep 0.3; ulimit -n"') == f"{GIVEN}\n"
        console.ok(f'background sh -c "sleep 0.3; ulimit -n > {job}.new; mv {job}.new {job}"')
        until(job.is_file, "the job to say its limit")
        assert job.read_text() == f"{GIVEN}\n"
        console.ok(f"plumb numbers \"sh -c 'sleep 0.3; ulimit -n > {piped}.new; mv {piped}.new {piped}; cat'\"")
        until(piped.is_file, "the stage of a pipeline to say its limit")
        assert piped.read_text() == f"{GIVEN}\n"
        console.ok("clear plumb")
