"""`minibus up`: becomes the node of a base directory, in the foreground or detached."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bus.errors import BusError
from bus.paths import START_FLAGS, Paths
from bus.settings import listen_address, settings, settings_file
from bus.settings.metrics_address import wanted
from cli.operations.base_directory import prepare, sentence
from cli.operations.doctor import tune
from cli.operations.programs import fill_standard_streams

EXIT_FAILED = 1


def up(flags: Mapping[str, str], *, detach: bool, config: str = "") -> int:
    """Start everything; returns the exit status when it has ended, or with `detach` when every actor is ready.

    `flags` are those of the command line, switches as `true` and `false`; `config` is a configuration file, without
    which the one that the environment names is read. See `export`.
    """
    fill_standard_streams()
    base = Path()
    try:
        held = export({"detach": str(detach).lower(), **flags}, config or os.environ.get(settings.CONFIG, ""))
        base = Path(settings.value_of(held, "host.base")).absolute()
        base = prepare(base)
        if settings.value_of(held, "host.tune") == "true" and not tune(base):
            return _fail("the limits of this host could not be raised: `minibus up` works without --tune-host")
    except (BusError, OSError) as error:
        return _fail(sentence(base, error))
    return _detached(base) if detach else _foreground(base)


def export(flags: Mapping[str, str], config: str = "") -> tuple[settings.Effective, ...]:
    """Put what the processes of a node have to know into their environment; gives what holds. Raises InvalidError.

    `bus.settings.settings` says which flags have an effect; `bus.paths.start_flags` gives all of them. `config` is a
    configuration file, empty for none.
    """
    filed = settings_file.read(Path(config)) if config else {}
    held = settings.resolve(flags, os.environ, filed, config)
    settings.export(held, os.environ)
    os.environ[START_FLAGS] = json.dumps(dict(flags))
    return held


def _run_node(base: Path, ready_fd: int) -> tuple[int, str]:
    from bus.node.node import Node  # after the checks that most failures end in

    roster = importlib.import_module("actors.roster")
    node = Node(base, roster.children(), ready_fd=ready_fd)
    roster.prepare_node()
    return node.run(), node.failure


def _foreground(base: Path) -> int:
    try:
        status, failure = _run_node(base, os.dup(2))
    except (BusError, OSError) as error:
        return _fail(sentence(base, error))
    return _fail(failure) if failure else status


def _detached(base: Path) -> int:
    pid, pipe = fork_node(base, lambda: _detach(base))
    failure = await_ready(pipe)
    if not failure:
        _tell_of_metrics(base)
        _tell_of_gateway(base)
        return 0
    os.waitpid(pid, 0)
    return _fail(f"{failure} (more in {Paths(base).log})")


def _tell_of_metrics(base: Path) -> None:
    if wanted():
        with contextlib.suppress(OSError):  # it has ended already
            print(f"metrics: http://{Paths(base).metrics.read_text().strip()}/metrics")


def _tell_of_gateway(base: Path) -> None:
    if listen_address.wanted():
        with contextlib.suppress(OSError):
            print(f"gateway: {Paths(base).gateway.read_text().strip()}")


def fork_node(base: Path, settle: Callable[[], None]) -> tuple[int, int]:
    """Fork a node into a session of its own, where it calls `settle` first.

    Gives its pid, and the descriptor that `await_ready` reads.
    """
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        os._exit(_be_node(base, writable, settle))
    os.close(writable)
    return pid, readable


def await_ready(pipe: int) -> str:
    """Wait until every actor of a new node is ready; gives why that is not to be, otherwise nothing."""
    with os.fdopen(pipe) as stream:
        said = stream.read().strip()
    return "" if said == "ready" else said or "the node ended before it was ready"


def _be_node(base: Path, ready_fd: int, settle: Callable[[], None]) -> int:
    os.setsid()
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(null, number)
        os.close(null)
        settle()
        status, _ = _run_node(base, ready_fd)
    except (BusError, OSError) as error:
        os.write(ready_fd, sentence(base, error).encode())
        return EXIT_FAILED
    return status


def _detach(base: Path) -> None:
    """Keep nobody from unmounting the directory that it was started in; say what there is to say in the log."""
    os.chdir("/")
    log = os.open(Paths(base).log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _fail(message: str) -> int:
    sys.stderr.write(f"minibus: {message}\n")
    return EXIT_FAILED
