"""Members of the group use minibus without being root; others are told in one sentence that they may not."""

from __future__ import annotations

import itertools
import select
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.product import MINIBUS, Done, Product, one_sentence, run

GROUP = 54_321
MEMBER = 54_322
STRANGER = 54_323


class Shared(Product):
    """Shared with a group that has only a number, as its configuration file says."""

    def up(self) -> None:
        """Start, detached, for the group."""
        file = self.base / "minibus.toml"
        file.write_text(f"[host]\nbase = '{self.base}'\ngroup = '{GROUP}'\n[log]\nformat = 'text'\nlevel = 'error'\n")
        done = run("up", "--detach", "--config", file, "--level", "debug", MINIBUS_GROUP="")
        assert done == Done(0, "", ""), (done, self.log_end())


@pytest.fixture(scope="module")
def shared_base() -> Iterator[Path]:
    """A directory that only root may enter, as one below /tmp is."""
    path = Path(tempfile.mkdtemp(prefix="mbg-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def product(shared_base: Path, rootfs: Path) -> Iterator[Product]:
    """With one container."""
    shared = Shared(shared_base, rootfs)
    try:
        shared.up()
        with shared.configured() as console:
            console.ok("vm launch container web", "vm start web")
        yield shared
    finally:
        shared.end()


def by(user: int, base: Path, *words: str, typed: str = "") -> Done:
    """Run `minibus` as a user who is nothing but, if it is the member, in the group."""
    ended = subprocess.run(
        [MINIBUS, *words[:1], "--base", base, *words[1:]],
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        cwd="/",
        user=user,
        group=user,
        extra_groups=[GROUP] if user == MEMBER else [],
    )
    return Done(ended.returncode, ended.stdout, ended.stderr)


def test_what_is_open_to_whom(product: Product) -> None:
    modes = {
        str(path.relative_to(product.base)): (oct(stat.S_IMODE(path.stat().st_mode)), path.stat().st_gid == GROUP)
        for path in (product.base, *product.base.glob("bus"), *product.base.glob("bus/*"), product.base / "minimega")
    }
    assert modes == {
        ".": ("0o710", True),
        "bus": ("0o750", True),
        "bus/requests": ("0o660", True),
        "bus/events": ("0o660", True),
        "bus/publish": ("0o600", False),
        "minimega": ("0o660", True),
    }
    for private in ("run", "state", "log"):
        assert stat.S_IMODE((product.base / private).stat().st_mode) == 0o700


def test_the_rest_of_the_configuration_holds(product: Product) -> None:
    lines = (product.base / "log" / "minibus.log").read_text().splitlines()
    assert all(" DEBUG " in line or " INFO " in line or " WARN " in line for line in lines), lines
    assert any(" DEBUG " in line for line in lines)  # the flag goes before the file


def test_a_wrong_configuration_is_refused_before_anything_is_done(base_dir: Path) -> None:
    file = base_dir / "minibus.toml"
    file.write_text("[host]\nbase = '/nowhere/at/all'\n[log]\nlevle = 'error'\n")
    said = run("up", "--config", file).sentence()
    assert said == f"minibus: {file}: line 4: there is no setting `log.levle`: did you mean `log.level`?"
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize(
    ("words", "typed", "expected"),
    [
        (("exec", ".columns name,state vm info"), "", "RUNNING"),
        (("exec", "--namespace", "exp1", "vm config memory 64"), "", ""),
        (("attach",), ".columns name vm info\n", "web"),
        (("ps",), "", "warden"),
        (("ask", "vm", "vm.names.get"), "", "web"),
        (("topics", "vm/"), "", "vm/minimega/web/"),
        (("rate", "--for", "0.2", "stats/"), "", "all"),
        (("trace",), "", "vm info"),
        (("pipe", "--write", "log"), "", ""),
        (("console", "--read-only", "--new", "nobody"), "", None),
        (("restart", "scheduler"), "", ""),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_member_may(product: Product, words: tuple[str, ...], typed: str, expected: str | None) -> None:
    done = by(MEMBER, product.base, *words, typed=typed)
    if expected is None:
        assert "there is no VM" in done.err or "vm not found" in done.err, done
        return
    assert (done.status, done.err) == (0, ""), done
    assert expected in done.out


@pytest.mark.parametrize(
    "words",
    [("exec", "vm info"), ("attach",), ("ps",), ("tap", "vm/"), ("ask", "vm", "vm.names.get"), ("pipe", "log")],
    ids=lambda words: words[0],
)
def test_a_stranger_is_told_whom_to_ask(product: Product, words: tuple[str, ...]) -> None:
    said = by(STRANGER, product.base, *words).sentence()
    assert said == (
        f"minibus: user {STRANGER} may not use minibus on {product.base}: ask root to add you to the group {GROUP}"
    )


def test_a_member_is_told_what_is_for_root(product: Product) -> None:
    assert one_sentence(by(MEMBER, product.base, "down").err.removesuffix("\n")).startswith("minibus: user ")
    assert by(MEMBER, product.base, "up").status == 1


def test_a_tap_of_a_member_follows(product: Product) -> None:
    words = [str(MINIBUS), "tap", "--base", str(product.base), "--json", "vm/"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, user=MEMBER, group=MEMBER, extra_groups=[GROUP], cwd="/"
    ) as tap:
        assert tap.stdout is not None
        try:
            for verb in itertools.cycle(("stop", "start")):  # until the subscription holds
                assert by(MEMBER, product.base, "exec", f"vm {verb} web").status == 0
                if select.select([tap.stdout], [], [], 0.2)[0]:
                    break
            assert "vm/minimega/web/" in tap.stdout.readline()
        finally:
            tap.terminate()


POSE = """
import asyncio, os, sys
from pathlib import Path
from bus import client, errors
from bus.messages.control import Hello

async def main():
    async with client.connect(Path(sys.argv[1])) as port:
        try:
            await port.ask("broker", Hello(actor="vm", epoch="e", pid=1, token="0" * 64), timeout_s=5.0)
        except errors.DeniedError as error:
            print("denied", error)
for name in ("run/token", "bus/publish"):
    try:
        os.open(os.path.join(sys.argv[1], name), os.O_RDONLY)
    except PermissionError:
        print("closed", name)
asyncio.run(main())
"""


def test_a_member_cannot_pose_as_an_actor(product: Product) -> None:
    done = subprocess.run(
        [sys.executable, "-c", POSE, product.base],
        capture_output=True,
        text=True,
        timeout=30,
        user=MEMBER,
        group=MEMBER,
        extra_groups=[GROUP],
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines()[:2] == ["closed run/token", "closed bus/publish"], done
    assert done.stdout.splitlines()[2].startswith("denied ")
