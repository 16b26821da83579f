"""minimega's daemon: a node with a prompt, a script on stdin, or neither, whose end is the end of all guests.

The node runs in a process of its own, so that Ctrl-C at the prompt does not reach it. This one holds the terminal and
the pid file, and turns signals and the end of input into an orderly end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bus.errors import BusError, ConflictError
from bus.lock import FileLock, holder
from bus.paths import Paths
from cli.grammar.quoting import quote
from cli.operations.base_directory import prepare, sentence
from cli.operations.down import down
from cli.operations.programs import fill_standard_streams
from cli.operations.up import await_ready, export, fork_node
from cli.prompt.attach import MINIMEGA, Ending, Prompt, is_terminal
from cli.prompt.client import CommandClient, ServerGoneError, cannot_connect
from cli.prompt.one_shot import show
from cli.version import version_text

EXIT_FAILED = 1
EXIT_PANIC = 2
DEFAULTS = {
    **{"level": "error", "verbose": "true", "logfile": "", "filepath": ""},
    **{"port": "9000", "degree": "0", "context": MINIMEGA, "msa": "10", "cgroup": "/sys/fs/cgroup", "vlanrange": ""},
    **{"nostdin": "false", "force": "false", "panic": "false"},
}
"""minimega's flags. Those about the mesh have no effect on one host; those about cgroups never, they are detected."""
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NODE_FILE = "minimega.node"
"""In `run`: the pid of the node that a daemon has made."""
ALREADY_RUNNING = "minimega appears to already be running, override with -force"


class Daemon:
    """One life of the daemon."""

    def __init__(self, base: Path, flags: Mapping[str, str], lock: FileLock) -> None:
        self._base = base
        self._flags = flags
        self._lock = lock
        self._pid_file = base / "minimega.pid"
        self._node_file = Paths(base).run / NODE_FILE
        self._node = 0
        self._is_ready = False
        self._terminals = [number for number in range(3) if os.isatty(number)]
        self._was_told_early = False
        """A signal came before all actors were ready; the next one does not wait for that."""
        self._is_ending = False

    def run(self, scripts: Sequence[str]) -> int:
        """Start, read the scripts, serve until the end; returns the exit status."""
        for number in ENDING_SIGNALS:
            signal.signal(number, self._on_signal)
        self._pid_file.write_text(str(os.getpid()))
        failure = ""
        try:
            failure = self._start()
            if not failure:
                self._serve(scripts)
            self._is_ending = True  # from here on no signal interrupts anything
        except _Signalled:
            self._let_go_of_dead_terminal()
            failure = "" if self._is_ready else "stopped before it was ready"
            _say("caught a signal, shutting down")
        except _NodeEnded:
            pass
        finally:
            was_alone = self._node_ended()
            status = self._shut_down()
            self._pid_file.unlink(missing_ok=True)
            self._node_file.unlink(missing_ok=True)
        if was_alone and status and not failure:
            failure = "the node has ended: guests that run on are taken over by the next start"
        if failure:
            _say(failure)
        return EXIT_FAILED if failure else status

    def _start(self) -> str:
        """Start the node; gives why it does not."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)  # until it is known whom to end
        self._node, pipe = fork_node(self._base, self._settle_node)
        self._node_file.write_text(str(self._node))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        failure = await_ready(pipe)
        if failure:
            return failure
        self._is_ready = True
        signal.signal(signal.SIGCHLD, self._on_child)
        self._on_child()
        if self._was_told_early:
            self._is_ending = True
            raise _Signalled
        return ""

    def _settle_node(self) -> None:
        """What the node must not have from here."""
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        self._lock.release()

    def _serve(self, scripts: Sequence[str]) -> None:
        """Until the input ends or, without one, for ever; raises _Signalled and _NodeEnded."""
        for script in scripts:
            self._read(script)
        if self._flags["nostdin"] == "true":
            _wait_for_signals()
        if is_terminal():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            print(f"{version_text()} on {self._base}: the end of this prompt is the end of all guests\n")
        try:
            ending = self._prompt()
        except (KeyboardInterrupt, OSError):  # OSError: the terminal has gone
            self._is_ending = True
            raise _Signalled from None
        finally:
            signal.signal(signal.SIGINT, self._on_signal)
        if ending is Ending.STOPPED:
            _wait_for_signals()  # the node is on its way out

    def _read(self, script: str) -> None:
        client = self._connect()
        try:
            for reply in client.run(f"read {quote(str(Path(script).absolute()))}"):
                show(reply)
        except ServerGoneError:
            pass  # the script may have held `quit`: the node's end will tell
        finally:
            client.close()

    def _prompt(self) -> Ending:
        client = self._connect()
        try:
            return Prompt(client, label=lambda active: f"{MINIMEGA}[{active}]$ ", is_owner=True).run()
        finally:
            client.close()

    def _connect(self) -> CommandClient:
        try:
            return CommandClient(str(self._base))
        except OSError as error:
            self._is_ending = True
            _say(cannot_connect(str(self._base), error))
            raise _Signalled from error

    # --- what comes from outside

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._flags["panic"] == "true":
            self._panic()
        if not self._is_ready and not self._was_told_early:
            self._was_told_early = True  # guests may run already, so it ends in order, once that is possible
        elif not self._is_ending:  # a second signal changes nothing
            self._is_ending = True
            raise _Signalled

    def _on_child(self, number: int = 0, frame: FrameType | None = None) -> None:
        if not self._is_ending and self._node_ended():
            self._is_ending = True
            raise _NodeEnded

    def _panic(self) -> None:
        """Die at once, where it was: for finding out why it hangs. Guests and files stay."""
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        if self._node:
            os.kill(self._node, signal.SIGKILL)
        os._exit(EXIT_PANIC)

    # --- the end

    def _let_go_of_dead_terminal(self) -> None:
        """After a hang-up nothing can be written there, and the end is in order all the same."""
        for number in self._terminals:
            if not os.isatty(number):
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, number)
                os.close(null)

    def _shut_down(self) -> int:
        """End all guests, then the node; returns the exit status."""
        if not self._node:
            return 0
        status = 0
        if not self._node_ended():
            status = down(self._base, guests=True, namespaces=True) if self._is_ready else EXIT_FAILED
            if status:
                os.kill(self._node, signal.SIGTERM)  # a zombie at worst, so it is nobody else
        _, how = os.waitpid(self._node, 0)
        return status or (EXIT_FAILED if os.WIFSIGNALED(how) else os.WEXITSTATUS(how))

    def _node_ended(self) -> bool:
        """Looks without reaping: a signal may ask at any moment."""
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return bool(self._node) and os.waitid(os.P_PID, self._node, look) is not None


def _wait_for_signals() -> NoReturn:
    """Until a handler raises something. Unlike pause(2) this misses none that comes just before."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writable)
    try:
        while True:
            select.select([readable], [], [])
            os.read(readable, 64)
    finally:
        signal.set_wakeup_fd(-1)
        os.close(readable)
        os.close(writable)


class _Signalled(Exception):
    """Told to end."""


class _NodeEnded(Exception):
    """The node has ended: `quit`, `minibus down`, or a fault."""


def daemon(base: Path, flags: Mapping[str, str], scripts: Sequence[str]) -> int:
    """Be minimega's daemon; `flags` are those that were given. Returns the exit status when it has ended."""
    flags = {"base": str(base), **DEFAULTS, **flags}
    fill_standard_streams()
    try:
        export(flags)
        base = _prepare(base)
        _check_socket(Paths(base).command_socket)
        lock = FileLock(Paths(base).run / f"{MINIMEGA}.lock", MINIMEGA)
    except ConflictError as error:
        sys.stderr.write(f"{ALREADY_RUNNING} works only once it is dead: {error}\n")
        return EXIT_FAILED
    except (BusError, OSError) as error:
        return _say(sentence(base, error))
    try:
        return Daemon(base, flags, lock).run(scripts)
    finally:
        lock.release()


def _prepare(base: Path) -> Path:
    """As `prepare`; a node whose daemon was killed is ended first, because it is nobody's now. Its guests run on."""
    try:
        return prepare(base)
    except ConflictError:
        if not _has_orphan(Paths(base)) or down(base, guests=False):
            raise
    return prepare(base)


def _has_orphan(paths: Paths) -> bool:
    """Whether the node that runs was made by a daemon, and that is dead."""
    node = holder(paths.run / "node.lock")
    with contextlib.suppress(OSError, ValueError):
        return int((paths.run / NODE_FILE).read_text()) == node and not holder(paths.run / f"{MINIMEGA}.lock")
    return False


def _check_socket(path: Path) -> None:
    """Raise ConflictError if another program serves the command socket; its pid file is not ours to write over."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise ConflictError(f"another program serves {path}")


def _say(message: str) -> int:
    sys.stderr.write(f"{MINIMEGA}: {message}\n")
    return EXIT_FAILED
