"""The agent's command line. Exit statuses: 0, 1 for what did not work, 2 for a wrong command line."""

from __future__ import annotations

import os
import signal
import sys

from shims.agent import VERSION, platform_linux
from shims.agent.flags import USAGE, FlagError, Flags, parse
from shims.agent.line.line import Endpoint
from shims.agent.local_client import LocalError, run_pipe, set_tag
from shims.agent.log import Log, open_log
from shims.agent.places import AlreadyRunningError, take_place
from shims.agent.processes import keep_standard_descriptors

FAILED, WRONG = 1, 2
NO_UUID = (
    "this guest has no UUID: neither -uuid nor $MINIBUS_UUID, /etc/minibus/uuid, minibus.uuid= on the kernel "
    "command line or the machine (DMI) says one"
)


def main(words: list[str]) -> int:
    """Do what the command line says; returns the exit status."""
    try:
        flags = parse(words)
        if flags.h:
            os.write(1, USAGE.encode())
            return 0
        if flags.version:
            os.write(1, f"minibus-agent {VERSION}\n".encode())
            return 0
        return _run(flags)
    except FlagError as error:
        return _fail(str(error), WRONG)
    except (LocalError, AlreadyRunningError) as error:
        return _fail(str(error))
    except UnicodeEncodeError:
        return _fail("a tag, its value or the name of a pipe has bytes that are not UTF-8", WRONG)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except OSError as error:
        return _fail(": ".join(str(part) for part in (error.filename, error.strerror) if part))


def _fail(sentence: str, status: int = FAILED) -> int:
    os.write(2, f"minibus-agent: {sentence}\n".encode("utf-8", "backslashreplace"))
    return status


def _run(flags: Flags) -> int:
    uuid = platform_linux.checked_uuid(flags.uuid) if flags.uuid else platform_linux.guest_uuid()
    if flags.uuid and not uuid:
        raise FlagError(f"`{flags.uuid}` is no UUID")
    if flags.tag:
        set_tag(flags.path, uuid, *flags.words)
        return 0
    if flags.pipe is not None:
        run_pipe(flags.path, uuid, flags.pipe)
        return 0
    if not uuid:
        return _fail(NO_UUID)
    return _serve(flags, uuid)


def _serve(flags: Flags, uuid: str) -> int:
    from shims.agent.agent import Agent  # what a user of -tag need not load

    keep_standard_descriptors()
    for number in (signal.SIGPIPE, signal.SIGHUP):  # the terminal that it was started from may go
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    log = _log(flags)
    place, reasons = take_place(flags.path, uuid)
    if reasons:
        log.warn(f"files go to {place.directory or 'nowhere'}: {'; '.join(reasons)}")
    Agent(uuid, endpoints(flags), place, log).run()
    return 0


def _log(flags: Flags) -> Log:
    """A file that cannot be written, as on a read-only root, keeps no agent from serving."""
    try:
        return open_log(flags.level, verbose=flags.v, path=flags.logfile)
    except OSError as error:
        log = Log(flags.level)
        log.error(f"the log goes to stderr: {flags.logfile}: {error.strerror}")
        return log


def endpoints(flags: Flags) -> list[Endpoint]:
    """Where the server may be."""
    if flags.serial:
        return [Endpoint(flags.serial)]
    if flags.family == "unix":
        return [Endpoint(flags.parent)]
    if flags.parent:
        return [Endpoint(host=flags.parent, port=flags.port)]
    return [Endpoint(path) for path in platform_linux.DEFAULT_PATHS]


def run() -> int:
    """What the program in the guest calls."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
