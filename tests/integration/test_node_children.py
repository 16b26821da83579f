"""A real node with real children that fall, hang, refuse and are killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from bus import codec
from bus.client import connect
from bus.errors import InvalidError
from bus.lock import holder
from bus.messages.base import Ack
from bus.messages.control import ActorChanged, ActorStatus, GetActors, RestartActor, StopNode
from bus.paths import host_name
from bus.processes import is_stopped
from cli.operations.down import down
from shims.linux.scheduling import SLICE_NS, slice_ns
from tests.integration.running_node import WAIT_S, RunningNode, alive, node, until
from tests.integration.toy_node import FDS

# --- starting and ending


def test_stages_start_in_order_and_end_in_reverse(base_dir: Path) -> None:
    with node(base_dir, "fourth", "third", "second", "first") as running:
        assert running.said() == "ready\n"
        steps = running.steps()
        assert steps[:4] == ["first begins", "first is-ready", "second begins", "second is-ready"]
        assert sorted(steps[4:]) == ["fourth begins", "fourth is-ready", "third begins", "third is-ready"]
        assert holder(base_dir / "run" / "node.lock") == running.pid
        comm = Path(f"/proc/{running.pids('third')[0]}/comm").read_text()
        assert comm == "mb-third\n"
        assert running.stop() == 0
        assert sorted(running.steps()[8:10]) == ["fourth stops", "third stops"]
        assert running.steps()[10:] == ["second stops", "first stops"]
        assert holder(base_dir / "run" / "node.lock") == 0


def test_a_child_is_prepared_in_its_own_process(base_dir: Path) -> None:
    with node(base_dir, "first", "second") as running:
        assert running.said() == "ready\n"
        (first,), (second,) = running.pids("first"), running.pids("second")
        others = {slice_ns(pid) for pid in (running.pid, first, os.getpid())}
        assert SLICE_NS not in others
        assert slice_ns(second) == (0 if others == {0} else SLICE_NS)  # 0: a kernel without slices


def test_a_child_that_cannot_run_fails_the_start_with_its_sentence(base_dir: Path) -> None:
    with node(base_dir, "first", "refuser", "third") as running:
        assert running.said() == "refuser: there is no room for it\n"
        assert running.process.wait(WAIT_S) == 1
        assert "first stops" in running.steps()
        assert "Traceback" not in running.errors()


def test_a_child_that_never_starts_is_given_up_and_fails_the_start(base_dir: Path) -> None:
    with node(base_dir, "first", "crasher") as running:
        assert running.said() == "crasher does not start: exit status 70: ValueError: a bug at the start\n"
        assert running.process.wait(WAIT_S) == 1
        assert running.errors().count('"event": "crashed"') == 3
        assert "ValueError: a bug at the start" in running.errors()


def test_a_second_node_on_the_same_base_is_refused(base_dir: Path) -> None:
    with node(base_dir, "first") as running:
        assert running.said() == "ready\n"
        second = RunningNode(base_dir, "first")
        assert second.said() == ""
        assert second.process.wait(WAIT_S) == 1
        assert second.process.stdout is not None
        second.process.stdout.close()
        assert f"minibus is already running on {base_dir} (pid {running.pid})" in running.errors()
        assert "Traceback" not in running.errors()


def test_told_to_end_before_it_is_ready_it_says_so(base_dir: Path) -> None:
    with node(base_dir, "first", "faller", "third") as running:
        running.wait_for("first begins")
        assert running.stop() == 0
        assert running.said() in ("stopped before it was ready\n", "ready\n")


def test_a_suspended_node_is_not_waited_for(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with node(base_dir, "first") as running:
        assert running.said() == "ready\n"
        os.kill(running.pid, signal.SIGSTOP)
        while not is_stopped(running.pid):
            time.sleep(0.01)
        started = time.monotonic()
        assert down(base_dir, guests=False) == 1
        assert time.monotonic() - started < 10.0
        assert f"the node (pid {running.pid}) is suspended, nothing was stopped" in capsys.readouterr().err
        os.kill(running.pid, signal.SIGCONT)
        assert down(base_dir, guests=False) == 0


def test_a_child_that_does_not_end_is_killed_after_its_grace(base_dir: Path) -> None:
    with node(base_dir, "first", "stubborn") as running:
        assert running.said() == "ready\n"
        assert running.stop() == 0
        assert running.steps()[-2:] == ["stubborn stops", "first stops"]


# --- falling and hanging


def test_a_killed_child_is_restarted_and_nobody_else(base_dir: Path) -> None:
    with node(base_dir, "first", "second", "third") as running:
        running.said()
        os.kill(running.pids("second")[0], signal.SIGKILL)
        running.wait_for("second is-ready", 2)
        assert len(set(running.pids("second"))) == 2
        assert len(running.pids("first")) == len(running.pids("third")) == 1


def test_a_child_that_falls_too_often_is_given_up_and_the_others_live_on(base_dir: Path) -> None:
    (base_dir / "stand").touch()
    with node(base_dir, "first", "faller") as running:
        assert running.said() == "ready\n"
        (base_dir / "stand").unlink()
        os.kill(running.pids("faller")[0], signal.SIGKILL)
        until(lambda: '"next": "failed"' in running.errors())
        assert len(running.pids("faller")) == 4
        assert alive(running.pids("first")[0])
        assert running.stop() == 0


def test_a_hung_child_is_killed_and_restarted(base_dir: Path) -> None:
    with node(base_dir, "first", "third", "--hang-s", "0.4") as running:
        running.said()
        os.kill(running.pids("third")[0], signal.SIGSTOP)
        running.wait_for("third is-ready", 2)
        assert not alive(running.pids("third")[0])
        assert "child_hung" in running.errors()
        assert len(running.pids("first")) == 1


def test_a_node_that_was_stopped_itself_takes_nobody_for_hung(base_dir: Path) -> None:
    with node(base_dir, "first", "third", "--hang-s", "0.4") as running:
        running.said()
        os.kill(running.pid, signal.SIGSTOP)
        time.sleep(1.2)  # longer than the limit: that is what is tested
        os.kill(running.pid, signal.SIGCONT)
        os.kill(running.pids("third")[0], signal.SIGKILL)
        running.wait_for("third is-ready", 2)
        assert "child_hung" not in running.errors()
        assert len(running.pids("first")) == 1


def test_restarts_leak_nothing(base_dir: Path) -> None:
    with node(base_dir, "first", "third") as running:
        running.said()

        def fds(pid: int) -> int:
            return len(list(Path(f"/proc/{pid}/fd").iterdir()))

        of_node, of_child = fds(running.pid), fds(running.pids("third")[0])
        for count in range(2, 6):
            os.kill(running.pids("third")[-1], signal.SIGKILL)
            running.wait_for("third is-ready", count)
        assert fds(running.pid) == of_node
        assert fds(running.pids("third")[-1]) == of_child
        assert [child.pid for child in psutil.Process(running.pid).children()] == [
            running.pids("first")[0],
            running.pids("third")[-1],
        ]


def test_descriptors_survive_their_owner(base_dir: Path) -> None:
    with node(base_dir, "first", "keeper") as running:
        running.said()
        running.wait_for("keeper has-stored")
        for count in (2, 3):
            os.kill(running.pids("keeper")[-1], signal.SIGKILL)
            running.wait_for("keeper is-ready", count)
            running.wait_for(f"keeper has-{FDS - 1}-of-which-right-{FDS - 1}", count - 1)


def test_a_process_that_lost_its_parent_is_reaped_and_the_warden_told(base_dir: Path) -> None:
    with node(base_dir, "warden", "orphaner") as running:
        running.said()
        running.wait_for("orphan begins")
        (orphan,) = running.pids("orphan")
        os.kill(running.pids("orphaner")[0], signal.SIGKILL)
        (base_dir / "let-go").touch()
        running.wait_for(f"warden hears-{orphan}-{7 << 8}")


# --- the end of the node itself


def test_a_killed_node_takes_its_children_along_and_the_next_starts_at_once(base_dir: Path) -> None:
    children = ("first", "third", "lingerer")
    with node(base_dir, *children) as running:
        running.said()
        running.process.kill()
        running.process.wait()
        with node(base_dir, *children) as following:
            assert following.said() == "ready\n"
            assert not any(alive(running.pids(name)[0]) for name in children)


def test_a_warden_with_nothing_to_do_ends_with_the_node(base_dir: Path) -> None:
    with node(base_dir, "warden", "first") as running:
        running.said()
        assert running.stop() == 0
        assert holder(base_dir / "run" / "warden.lock") == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_busy_warden_outlives_the_node_and_the_next_one_adopts_it(base_dir: Path, how: signal.Signals) -> None:
    (base_dir / "busy").touch()
    running = RunningNode(base_dir, "warden", "first")
    assert running.said() == "ready\n"
    (warden,) = running.pids("warden")
    running.process.send_signal(how)
    assert running.process.wait(WAIT_S) == (0 if how is signal.SIGTERM else -how)
    running.wait_for("warden is-alone")
    assert holder(base_dir / "run" / "warden.lock") == warden
    assert running.process.stdout is not None
    running.process.stdout.close()
    with node(base_dir, "warden", "broker", "third") as following:
        assert following.said() == "ready\n"
        assert following.pids("warden") == [warden]
        (base_dir / "busy").unlink()  # the old one has nothing to do any more and ends
        following.wait_for("warden begins", 2)
        assert holder(base_dir / "run" / "warden.lock") == following.pids("warden")[1]


# --- what the bus shows of it


async def test_the_bus_shows_every_process_and_what_happens_to_them(base_dir: Path) -> None:
    with node(base_dir, "warden", "broker", "third") as running:
        assert running.said() == "ready\n"
        async with connect(base_dir) as client:
            changes = await client.subscribe(f"node/{host_name()}/")
            rows = (await client.ask("node", GetActors(), timeout_s=10.0)).actors
            assert [(row.actor, row.state, row.restarts) for row in rows] == [
                (name, "running", 0) for name in ("node", "warden", "broker", "third")
            ]
            assert {row.actor: row.pid for row in rows}["third"] == running.pids("third")[0]
            assert all(row.pss_mib > 0 for row in rows)
            os.kill(running.pids("third")[0], signal.SIGKILL)
            told = [(await changes.next()) for _ in range(2)]
            assert [delivery.topic.split("/")[2:4] for delivery in told] == [
                ["third", "backoff"],
                ["third", "restarted"],
            ]
            assert [delivery.envelope.topic_seq for delivery in told] == [1, 1]
            row = (await client.ask("node", GetActors(), timeout_s=10.0)).actors[3]
            assert isinstance(row, ActorStatus)
            assert (row.restarts, row.reason) == (1, "killed by SIGKILL")
            assert ActorChanged(actor="third", what="restarted").what == "restarted"
            await client.ask("node", RestartActor(actor="third"), timeout_s=10.0)
            delivery = await changes.next()
            running.wait_for("third begins", 3)
            assert codec.decode_body(delivery.body) == ActorChanged(
                actor="third", what="restarted", pid=running.pids("third")[-1], reason="asked for"
            )
            assert running.steps().count("third stops") == 1
            with pytest.raises(InvalidError, match="no process `fourth`; there are warden, broker, third"):
                await client.ask("node", RestartActor(actor="fourth"), timeout_s=10.0)
            await client.ask("node", RestartActor(actor="broker"), timeout_s=10.0)
            assert holder(base_dir / "run" / "broker.lock") == rows[2].pid
        until(lambda: holder(base_dir / "run" / "broker.lock") not in (0, rows[2].pid))
        async with connect(base_dir, timeout_s=WAIT_S) as client:
            rows = (await client.ask("node", GetActors(), timeout_s=10.0)).actors
            assert [(row.actor, row.restarts) for row in rows[1:]] == [("warden", 0), ("broker", 1), ("third", 2)]
            assert rows[2].falls == ()
            await client.ask("node", StopNode(), timeout_s=10.0)
        assert running.process.wait(WAIT_S) == 0


async def test_stopping_the_node_over_the_bus(base_dir: Path) -> None:
    with node(base_dir, "warden", "broker", "third") as running:
        assert running.said() == "ready\n"
        async with connect(base_dir) as client:
            assert await client.ask("node", StopNode(), timeout_s=10.0) == Ack()
        assert running.process.wait(WAIT_S) == 0
