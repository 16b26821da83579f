"""The node: starts, watches, restarts and reaps the processes of one base directory. No ZeroMQ, no thread, no decision.

It must be able to fork any child again at any time, so it holds nothing that a fork would break; it imports the
children's modules before it forks them, which makes an actor cost a few megabytes instead of a whole interpreter.
Descriptors that children store with it (as with systemd's fd store) survive their restarts. It is a subreaper: what
loses its parent becomes its child, and the status goes to those who started programs: the warden and `host`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bus import lock
from bus.logs.log_owner import CALLS, LogOwner
from bus.logs.logs import OUTLET, Log
from bus.node import control, notify, outliving, supervision
from bus.node.supervision import Child, ChildSpec, ChildState
from bus.paths import Paths
from bus.processes import describe_status, start_apart

TICK_S = 0.25
START_FAILED = 1
STARVED_S = 1.0
"""A turn that took longer: the node itself was stopped, or got no time."""


class Node:
    """See the module. `run` returns when everything has ended."""

    def __init__(self, base: Path, roster: Sequence[ChildSpec], *, ready_fd: int = -1) -> None:
        """Take the base directory; raises ConflictError if another node has it, OSError if it cannot be written.

        InvalidError: the environment says something about logs (`bus.logs.log_settings`) that makes no sense.

        To `ready_fd` goes `ready`, or why that was not reached, and a newline; then it is closed.
        """
        self.paths = Paths(base)
        self._lock = lock.FileLock(self.paths.run / "node.lock", "minibus")
        self.children = [Child(spec) for spec in roster]
        self._logging = LogOwner(OUTLET)
        self.log = Log("node")
        self.failure = ""
        """Why the start failed, in one sentence."""
        self._notifier = notify.take()
        self._ready_fd = ready_fd
        self._was_ready = False
        self._stopping = False
        self._turned_s = time.monotonic()
        self._pinged_s = 0.0
        self._ping = 0
        self._warm = False
        self._lanes: dict[str, socket.socket] = {}
        self._fds: dict[str, dict[str, int]] = {}
        self._pidfds: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> int:
        """Serve until told to stop; returns 0, or 1 if not everybody could be started."""
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.begin_stop())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not self._finished():
            self._turn()
        self._close()
        self._say_start(self.failure or "stopped before it was ready")
        return START_FAILED if self.failure else 0

    def begin_stop(self) -> None:
        """Stop the actors, then the broker; the warden stays while it owns a container."""
        self._stopping = True
        self._notifier.stopping()

    # --- one turn of the loop

    def _turn(self) -> None:
        now_s = time.monotonic()
        if self._stopping:
            self._stop_next(now_s)
        else:
            for child in supervision.to_start(self.children, now_s):
                self._start(child)
            for child in supervision.to_end(self.children, now_s):
                self._ask_to_end(child)
            if not self._warm:
                self._warm_up()
            self._check_start()
        self._watch(now_s)
        for key, _ in self._selector.select(TICK_S):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_r, 4096)
            elif isinstance(key.fileobj, socket.socket):
                self._read(key.data)
            else:
                self._outlived_is_gone(key.data)
        self._reap()

    def _watch(self, now_s: float) -> None:
        if now_s - self._turned_s > STARVED_S:
            supervision.not_watched(self.children, now_s)
        self._turned_s = now_s
        if now_s - self._pinged_s >= supervision.PING_INTERVAL_S:
            self._pinged_s = now_s
            self._ping += 1
            for lane in self._lanes.values():
                control.send(lane, {"type": "ping", "n": self._ping})
            self._logging.tell(self._lanes)
            OUTLET.flush()
            self._notifier.alive(supervision.status(self.children) if self._was_ready else "")
        for child in self.children:
            if child.spec.name in self._pidfds and child.spec.name not in self._lanes:
                child.heard_s = now_s  # found running, takes no lane: only its death can be seen
            if child.alive and supervision.is_hung(child, now_s):
                self.log.error("child_hung", child=child.spec.name, pid=child.pid, state=child.state.value)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
                supervision.hung(child, now_s)

    def _check_start(self) -> None:
        if self._was_ready:
            return
        failed = [child for child in self.children if child.state is ChildState.FAILED]
        if failed:
            first = failed[0]
            self.failure = first.refusal or f"{first.spec.name} does not start: {first.reason}"
            self.begin_stop()
        elif supervision.all_ready(self.children):
            self._was_ready = True
            self.log.info("ready", base=str(self.paths.base))
            self._say_start("ready")
            self._notifier.ready(supervision.status(self.children))

    def _say_start(self, what: str) -> None:
        if self._ready_fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._ready_fd, f"{what}\n".encode())
            os.close(self._ready_fd)
            self._ready_fd = -1

    # --- starting

    def _start(self, child: Child) -> None:
        if child.spec.outlives_node and (pid := lock.holder(self.paths.run / f"{child.spec.name}.lock")):
            self._adopt(child, pid)
            return
        self._logging.inherits(child.spec.name)
        try:
            pid, ours, theirs = control.fork_with_lane()
        except OSError as error:
            self._put_off(child, error)
            return
        if pid == 0:
            ours.close()  # else this child would never see the node's end of the lane close
            self._become(child, theirs)
        theirs.close()
        self._lanes[child.spec.name] = ours
        self._selector.register(ours, selectors.EVENT_READ, child)
        supervision.started(child, pid, time.monotonic())
        if child.restarts:
            self.log.warn("child_restarted", child=child.spec.name, pid=pid, reason=child.reason)
            self._tell_broker(child, "restarted")

    def _put_off(self, child: Child, error: OSError) -> None:
        """There is no process, descriptor or memory for it now."""
        self.log.error("child_not_started", child=child.spec.name, error=str(error))
        supervision.put_off(child, time.monotonic())
        if not self._was_ready:
            self.failure = f"cannot start {child.spec.name}: {error.strerror}"
            self.begin_stop()

    def _warm_up(self) -> None:
        for child in self.children:
            importlib.import_module(child.spec.entry.partition(":")[0])
        importlib.import_module("bus.codec").warm_up()
        gc.collect()
        gc.freeze()
        self._warm = True

    def _become(self, child: Child, lane: socket.socket) -> None:
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            self._lock.release()
            OUTLET.forked()
            for fd in (self._wake_r, self._wake_w, self._ready_fd, *self._pidfds.values()):
                if fd >= 0:
                    os.close(fd)
            for other in self._lanes.values():
                other.close()
            for stored in self._fds.values():
                for fd in stored.values():
                    os.close(fd)
            os.setsid()  # the terminal's Ctrl-C is for the node alone
            with contextlib.suppress(OSError):
                Path("/proc/self/comm").write_text(f"mb-{child.spec.name}"[:15])
            if child.spec.prepare:
                pkgutil.resolve_name(child.spec.prepare)()
            status = pkgutil.resolve_name(child.spec.entry)(self.paths.base, lane)
        except BaseException as error:
            self.log.exception("child_crashed", error, child=child.spec.name)
        finally:
            os._exit(status)

    def _adopt(self, child: Child, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError as error:
            self._put_off(child, error)
            return
        self._pidfds[child.spec.name] = pidfd
        self._selector.register(pidfd, selectors.EVENT_READ, child)
        if (lane := outliving.connect(self.paths.run, child.spec.name)) is not None:
            self._lanes[child.spec.name] = lane
            self._selector.register(lane, selectors.EVENT_READ, child)
        supervision.started(child, pid, time.monotonic())
        supervision.ready(child, time.monotonic())
        self.log.info("adopted", child=child.spec.name, pid=pid)

    # --- what children say

    def _read(self, child: Child) -> None:
        lane = self._lanes.get(child.spec.name)
        while lane is not None:
            try:
                received = control.receive(lane)
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                self._close_lane(child)
                return
            packet, fd = received
            self._handle(child, lane, packet, fd)

    def _handle(self, child: Child, lane: socket.socket, packet: dict[str, Any], fd: int | None) -> None:
        stored = self._fds.setdefault(child.spec.name, {})
        match packet.get("type"):
            case "ready":
                supervision.ready(child, time.monotonic())
            case "pong":
                supervision.heard(child, int(packet.get("inbox", 0)), time.monotonic())
            case "refused":
                child.refusal = str(packet.get("message", ""))
            case "last_words":
                child.last_words = str(packet.get("message", ""))
            case "store_fd" if fd is not None:
                old = stored.pop(str(packet.get("name")), None)
                stored[str(packet.get("name"))] = fd
                fd = old
            case "drop_fd":
                fd = stored.pop(str(packet.get("name")), fd)
            case "fetch_fds":
                control.hand_back(lane, stored)
            case "record":
                self._logging.keep(packet)
            case "call":
                control.send(lane, {"type": "answer", "call": packet.get("call"), **self._answer(packet)})
            case _:
                pass
        if fd is not None:
            os.close(fd)

    def _answer(self, packet: dict[str, Any]) -> dict[str, Any]:
        match packet.get("what"):
            case "actors":
                return {"actors": self._rows()}
            case "stop_node":
                self.begin_stop()
                return {}
            case "restart":
                return (
                    {}
                    if self._stopping
                    else supervision.restart(self.children, str(packet.get("actor")), time.monotonic())
                )
            case "nuke":
                return start_apart("shims.nuke", str(self.paths.base))
            case what if what in CALLS:
                answer = self._logging.answer(packet)
                self._logging.tell(self._lanes)
                return answer
            case what:
                return {"error": f"unknown call {what}"}

    def _rows(self) -> list[dict[str, Any]]:
        own = {"actor": "node", "pid": os.getpid(), "state": "stopping" if self._stopping else "running"}
        return [own, *map(supervision.row, self.children)]

    def _tell_broker(self, child: Child, what: str) -> None:
        lane = self._lanes.get("broker")
        if lane is not None:
            packet = {"type": "event", "actor": child.spec.name, "what": what, "pid": child.pid, "reason": child.reason}
            control.send(lane, packet)

    # --- ending

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((child for child in self.children if child.pid == pid), None)
            if child is None:
                self._forward_orphan(pid, status)
            else:
                self._ended(child, describe_status(status))

    def _forward_orphan(self, pid: int, status: int) -> None:
        """Whoever began it before a restart has no other way to learn how it ended."""
        for name in ("warden", "host"):
            lane = self._lanes.get(name)
            if lane is not None:
                control.send(lane, {"type": "reaped", "pid": pid, "status": status})

    def _outlived_is_gone(self, child: Child) -> None:
        pidfd = self._pidfds.pop(child.spec.name)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        self._ended(child, "ended (it was started by an earlier node, which alone could have told why)")

    def _ended(self, child: Child, how: str) -> None:
        self._read(child)  # its last words may still lie in the lane
        self._close_lane(child)
        was_asked = child.state is ChildState.STOPPING
        supervision.ended(child, how, time.monotonic(), time.time())
        if was_asked:
            return
        self.log.error("child_ended", child=child.spec.name, how=how, next=child.state.value)
        self._tell_broker(child, child.state.value)

    def _close_lane(self, child: Child) -> None:
        lane = self._lanes.pop(child.spec.name, None)
        if lane is not None:
            self._selector.unregister(lane)
            lane.close()

    def _stop_next(self, now_s: float) -> None:
        """Ask the last stage that still lives to end; the ones before it wait until it has."""
        for child in self.children:
            if not child.alive and child.state is not ChildState.FAILED:
                child.state = ChildState.STOPPED
        alive = [child for child in self.children if child.alive and not self._stays(child)]
        stage = max((child.spec.stage for child in alive), default=0)
        for child in alive:
            if child.spec.stage == stage and child.state is not ChildState.STOPPING:
                supervision.stopping(child, now_s)
                self._ask_to_end(child)

    def _ask_to_end(self, child: Child) -> None:
        lane = self._lanes.get(child.spec.name)
        if lane is None or not control.send(lane, {"type": "stop"}):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)

    def _stays(self, child: Child) -> bool:
        return child.spec.outlives_node and (child.spec.name in self._pidfds or child.state is ChildState.STOPPING)

    def _finished(self) -> bool:
        return self._stopping and not any(child.alive and not child.spec.outlives_node for child in self.children)

    def _close(self) -> None:
        for lane in self._lanes.values():
            control.send(lane, {"type": "stop"})
        outliving.wait(self.children, self._lanes, self._pidfds)
        for lane in self._lanes.values():
            lane.close()
        for stored in self._fds.values():
            for fd in stored.values():
                os.close(fd)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
        self._lock.release()
