"""The demo as a user runs it: to its end, and interrupted at several moments."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.lock import holder
from bus.paths import Paths, base_tag
from shims.nuke.leftovers import find as find_leftovers

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60
NOTHING_LEFT = "Nothing is left: no process, mount, cgroup, device or file."


@pytest.fixture
def base(base_dir: Path) -> Iterator[Path]:
    """A base directory that does not exist yet, and must not afterwards, nor anything of it."""
    path = base_dir / "b"
    yield path
    assert not path.exists()
    assert find_leftovers(path, base_tag(path)) == []


class DemoRun:
    """A demo under way; its stderr is read to the end by a thread, so that it never waits for us."""

    def __init__(self, base: Path, guests: int) -> None:
        arguments = [sys.executable, "-m", "tools.demo", "--guests", str(guests), "--base", str(base)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(arguments, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        self.said: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.said.append(line.strip())
                self._news.notify_all()
        with self._news:
            self.said.append("")
            self._news.notify_all()

    def wait_for(self, text: str) -> None:
        """Until the demo says `text`; fails when it ends without."""
        with self._news:
            assert self._news.wait_for(lambda: text in self.said or self.said[-1:] == [""], TIMEOUT_S)
        assert text in self.said, self.said

    def end(self) -> tuple[int, str]:
        """Exit status and standard output."""
        assert self.process.stdout is not None
        with self.process:
            try:
                out = self.process.stdout.read()
                status = self.process.wait(TIMEOUT_S)
            finally:
                self.process.kill()
                self._reader.join()
        return status, out


def test_five_containers_come_and_go(base: Path) -> None:
    demo = DemoRun(base, 5)
    status, out = demo.end()
    assert status == 0, (out, demo.said)
    assert out.rstrip().endswith(NOTHING_LEFT)
    assert "Events on the bus: 5 launched, 5 started, 5 quit, 5 flushed; none lost." in out
    assert len(re.findall(r"\| demo\d +\| RUNNING ", out)) == 5
    assert re.search(r"^warden +\d+ +running", out, re.MULTILINE)
    assert re.search(r"^pipe +\d+\.\d\d s  20,000 lines tapped", out, re.MULTILINE)
    assert "| demo | all  | 1       |" in out, "the tap counts as a reader"
    assert re.search(r"^command .* 5 containers, .* each; each answered with its own name$", out, re.MULTILINE)
    assert re.search(r"^addresses .* 5 containers, .* each; by DHCP$", out, re.MULTILINE)
    assert re.search(r"^ping .* 5 containers, .* each; each reaches demo5 by its name$", out, re.MULTILINE)
    assert re.search(r"\| demo1 +\| \[lan \(101\)\] +\| \[mega_tap\d+\] +\| \[198\.18\.\d+\.\d+\]", out)
    assert re.search(r"^pipe between guests .* 10,000 lines from demo1 to demo5, ", out, re.MULTILINE)
    assert re.search(r"^launch +\d+\.\d\d s  5 containers", out, re.MULTILINE)
    assert re.search(r"^all together +\d+\.\d s$|^all together +\d\.\d\d s$", out, re.MULTILINE)


@pytest.mark.parametrize("doing", ["making a root file system", "starting the actors", "giving them addresses"])
def test_interrupted_it_cleans_up(base: Path, doing: str) -> None:
    demo = DemoRun(base, 5)
    demo.wait_for(f"demo: {doing}")
    demo.process.send_signal(signal.SIGINT)
    demo.process.send_signal(signal.SIGINT)  # a second one must do no harm
    status, out = demo.end()
    assert status == 128 + signal.SIGINT, (out, demo.said)
    assert NOTHING_LEFT in out
    assert "demo: stopping and cleaning up" in demo.said
    assert "demo: ended early by SIGINT" in demo.said


def test_terminated_it_cleans_up(base: Path) -> None:
    demo = DemoRun(base, 5)
    demo.wait_for("demo: killing containers")
    demo.process.send_signal(signal.SIGTERM)
    status, out = demo.end()
    assert status == 128 + signal.SIGTERM, (out, demo.said)
    assert NOTHING_LEFT in out


def test_a_part_that_fails_is_named_in_one_sentence(base_dir: Path) -> None:
    demo = DemoRun(base_dir / ("x" * 90), 5)
    status, out = demo.end()
    assert status == 1
    assert NOTHING_LEFT in out
    assert any(line.startswith("demo: `minibus up --detach`: base directory is longer than 80") for line in demo.said)
    assert list(base_dir.iterdir()) == []


def test_the_node_is_killed(base: Path) -> None:
    demo = DemoRun(base, 5)
    demo.wait_for("demo: looking at them")
    os.kill(holder(Paths(base).run / "node.lock"), signal.SIGKILL)
    status, out = demo.end()
    assert status == 1, (out, demo.said)
    assert NOTHING_LEFT in out
