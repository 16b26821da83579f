"""All processes of a job are found, and ended, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest

from shims.linux.process import start_ticks
from shims.programs import process_tree
from shims.programs.process_tree import MARK, Tree

FORGETFUL = """
import ctypes, os, time
os.environ.clear()
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
begin, end = int(stat[47]), int(stat[48])  # env_start, env_end: proc(5)
ctypes.memset(begin, 0, end - begin)
print("ready", flush=True)
time.sleep(1000)
"""
"""A program that overwrites its environment, as servers do that set their title."""

Job = tuple[subprocess.Popen[bytes], Tree]
Starter = Callable[..., Job]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for other processes; fails after a while."""
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def start() -> Iterator[Starter]:
    """Starts jobs; whatever is left of them afterwards is killed."""
    jobs: list[Job] = []

    def start(*argv: str) -> Job:
        mark = f"test-{os.getpid()}-{len(jobs)}"
        program = subprocess.Popen(argv, env={**os.environ, MARK: mark}, start_new_session=True, stdout=subprocess.PIPE)
        jobs.append((program, Tree(mark, program.pid, start_ticks(program.pid))))
        return jobs[-1]

    yield start
    process_tree.end([tree for _, tree in jobs], 0.0)
    for program, _ in jobs:
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


def count_is(tree: Tree, count: int) -> None:
    """Wait until the job has so many processes."""
    wait_until(lambda: len(process_tree.members([tree])) == count)


def test_children_in_all_places_are_members(start: Starter) -> None:
    script = "sleep 1000 & setsid sleep 1000 & (sleep 1000 &) ; (setsid sleep 1000 &) ; wait"
    program, tree = start("sh", "-c", script)
    count_is(tree, 5)
    assert program.pid in process_tree.members([tree])
    assert set(process_tree.marked(tree.mark)) == set(process_tree.members([tree]))


def test_a_program_that_forgets_its_mark_is_found_by_its_session(start: Starter) -> None:
    program, tree = start(sys.executable, "-c", FORGETFUL)
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    assert process_tree.marked(tree.mark) == []
    assert process_tree.members([tree]) == [program.pid]


def test_another_job_is_left_alone(start: Starter) -> None:
    first, tree = start("sh", "-c", "sleep 1000 & wait")
    second, other = start("sleep", "1000")
    count_is(tree, 2)
    assert process_tree.end([tree], 5.0).left == ()
    assert first.wait() == -signal.SIGTERM
    assert second.poll() is None
    assert process_tree.members([other]) == [second.pid]


def test_a_mark_is_not_found_by_its_beginning(start: Starter) -> None:
    program, tree = start("sleep", "1000")
    assert process_tree.members([Tree(tree.mark[:-1])]) == []
    assert process_tree.members([Tree("")]) == []
    assert process_tree.marked(tree.mark[:-1]) == [program.pid]


def test_a_session_that_has_become_somebody_else_s_is_not_touched(start: Starter) -> None:
    program, tree = start("sleep", "1000")
    assert process_tree.members([Tree("no-such-mark", program.pid, tree.ticks + 1)]) == []
    assert process_tree.members([Tree("no-such-mark", program.pid, tree.ticks)]) == [program.pid]


def test_children_are_found_after_the_program_has_ended(start: Starter) -> None:
    program, tree = start("sh", "-c", "sleep 1000 & setsid sleep 1000 &")
    program.wait()
    count_is(tree, 2)
    assert process_tree.end([tree], 5.0).left == ()
    assert process_tree.members([tree]) == []


def test_zombies_are_no_members(start: Starter) -> None:
    program, tree = start("true")
    wait_until(lambda: psutil.Process(program.pid).status() == psutil.STATUS_ZOMBIE)
    assert process_tree.members([tree]) == []
    assert process_tree.end([tree], 5.0).left == ()


def test_a_program_that_can_end_by_itself_may(start: Starter) -> None:
    program, tree = start("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.01; done")
    wait_until(lambda: "trap" in " ".join(psutil.Process(program.pid).cmdline()))
    wait_until(lambda: bool(psutil.Process(program.pid).children()))
    assert process_tree.end([tree], 10.0).left == ()
    assert program.wait() == 5


def test_a_program_that_ignores_sigterm_is_killed(start: Starter) -> None:
    program, tree = start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done")
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    begun_s = time.monotonic()
    assert process_tree.end([tree], 0.3).left == ()
    assert 0.3 <= time.monotonic() - begun_s < 5.0
    assert program.wait() == -signal.SIGKILL


def test_a_stopped_program_is_ended_too(start: Starter) -> None:
    program, tree = start("sleep", "1000")
    os.kill(program.pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(program.pid).status() == psutil.STATUS_STOPPED)
    assert process_tree.end([tree], 5.0).left == ()
    assert program.wait() == -signal.SIGTERM


def test_a_program_that_keeps_forking_is_ended(start: Starter) -> None:
    """Each child is the parent of the next one and ends: whoever was listed is gone when the signal comes."""
    program, tree = start("sh", "-c", "trap '' TERM; f() { sleep 0.02; f & }; f & f & wait; sleep 1000")
    wait_until(lambda: len(process_tree.members([tree])) >= 3)
    assert process_tree.end([tree], 0.1).left == ()
    assert program.wait() == -signal.SIGKILL


def test_the_program_is_found_by_its_mark_alone(start: Starter) -> None:
    program, tree = start("sh", "-c", "sleep 1000 & wait")
    count_is(tree, 2)
    assert process_tree.find_leader(tree.mark) == program.pid
    assert process_tree.find_leader("no-such-mark") == 0


def test_there_is_nothing_to_end() -> None:
    assert process_tree.end([], 5.0).left == ()
    assert process_tree.end([Tree("no-such-mark")], 5.0).left == ()


def test_a_mark_behind_a_large_environment() -> None:
    filling = {f"FILL{number}": "x" * 100_000 for number in range(3)}
    program = subprocess.Popen(["sleep", "1000"], env={**filling, MARK: "test-large-0"})
    try:
        wait_until(lambda: process_tree.marked("test-large-") == [program.pid])
        assert process_tree.members([Tree("test-large-0")]) == [program.pid]
        assert process_tree.members([Tree("test-large")]) == []  # not by the beginning of it
    finally:
        program.kill()
        program.wait()


def test_a_process_that_is_becoming_another_program_is_ended_too(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, tree = start("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done")
    assert program.stdout is not None
    program.stdout.readline()
    looks = 0

    def members(trees: Sequence[Tree]) -> list[int]:
        nonlocal looks
        looks += 1
        return [] if looks == 2 else [program.pid] * (program.poll() is None)

    monkeypatch.setattr(process_tree, "members", members)
    assert process_tree.end([Tree(tree.mark)], 0.0) == process_tree.Ending(1, ())
    assert program.wait(10) == -signal.SIGKILL
