"""The program dnsmasq(8): its arguments, its files, its start. It runs on the host, on the address of a host tap.

It rereads its files on SIGHUP, which also forgets what is not in them any more; that it watches directories by itself
(`--dhcp-hostsdir` and others) is not used, because entries that are removed there stay.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Final, NamedTuple

from shims.linux.process import start_ticks
from shims.programs import process
from shims.programs.process_tree import MARK

PROGRAM: Final = "dnsmasq"
PREFIX: Final = "dnsmasq_"
"""What the names of directories of servers begin with."""
NAMES, FIXED, OPTIONS, UPSTREAM = "hostdir/hosts", "dhcpdir/dhcp", "dhcpoptsdir/dhcp-options", "resolv.conf"
PID_FILE, LEASES, ERRORS = "dnsmasq.pid", "dnsmasq.leases", "stderr"
USERS: Final = ("dnsmasq", "nobody")
MAX_LEASES: Final = 65_536
START_S: Final = 10.0
POLL_S: Final = 0.01
MAX_SAID: Final = 400
DNS_PORT: Final = 53
MISSING: Final = "there is no program dnsmasq on this host: apt-get install dnsmasq-base"


class DnsmasqError(Exception):
    """Why a server does not serve; `str()` is one sentence for the user, and nothing of it is left."""


class Spec(NamedTuple):
    """What a server is to do."""

    directory: Path
    mark: str
    """Carried by its environment, see `shims.programs.process_tree`."""
    address: str = ""
    low: str = ""
    high: str = ""
    config: str = ""


class Entries(NamedTuple):
    """What is in the files of a server."""

    fixed: Mapping[str, str] = {}
    """Address by hardware address."""
    names: Mapping[str, str] = {}
    """Name by address."""
    options: Sequence[str] = ()
    upstream: str = ""


class Place(NamedTuple):
    """Where an address of this host is."""

    interface: str = ""
    network: str = ""
    """With the length of its prefix, e.g. 10.0.0.0/24."""


class Server(NamedTuple):
    """A server that serves."""

    pid: int
    ticks: int
    """When it started: see `shims.linux.process.start_ticks`."""
    place: Place


def arguments(spec: Spec, interface: str, user: str) -> list[str]:
    """The argument vector.

    The interface is named instead of the address, and bound dynamically: so a query that comes in through another
    interface of the host is not answered, whatever address it is sent to. Of the host's own names nothing is told.
    """
    directory = spec.directory
    argv = [
        PROGRAM,
        "--keep-in-foreground",
        f"--user={user}",
        f"--pid-file={directory / PID_FILE}",
        f"--addn-hosts={directory / NAMES}",
        f"--dhcp-hostsfile={directory / FIXED}",
        f"--dhcp-optsfile={directory / OPTIONS}",
        f"--resolv-file={directory / UPSTREAM}",
        f"--conf-file={spec.config or os.devnull}",
    ]
    if spec.address:
        count = int(IPv4Address(spec.high)) - int(IPv4Address(spec.low)) + 1
        argv += [
            f"--interface={interface}",
            "--except-interface=lo",
            "--bind-dynamic",
            f"--dhcp-range={spec.low},{spec.high}",
            f"--dhcp-leasefile={directory / LEASES}",
            f"--dhcp-lease-max={min(count, MAX_LEASES)}",
            "--no-hosts",
            "--quiet-dhcp",
            "--no-ping",  # which takes three seconds for each new guest, one after the other
        ]
    return argv


def files(entries: Entries) -> dict[str, str]:
    """The content of its files, by path below its directory."""
    return {
        NAMES: "".join(f"{ip}\t{name}\n" for ip, name in entries.names.items()),
        FIXED: "".join(f"{mac},{ip}\n" for mac, ip in entries.fixed.items()),
        OPTIONS: "".join(f"{option}\n" for option in entries.options),
        UPSTREAM: f"nameserver {entries.upstream}\n" if entries.upstream else "",
    }


def write(directory: Path, entries: Entries) -> None:
    """Write its files, each by rename; raises OSError."""
    for name, text in files(entries).items():
        path = directory / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        draft = path.with_name(f".{path.name}")  # dnsmasq takes no notice of such names
        draft.write_text(text)
        draft.chmod(0o644)
        draft.replace(path)


def reread(pid: int, ticks: int) -> None:
    """Have a server read its files again, if it still lives."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start_ticks(pid) == ticks:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGHUP)
    finally:
        os.close(pidfd)


def user_for(directory: Path) -> str:
    """Who the server becomes once it is bound: somebody without rights, if such a one can get to its files."""
    entries = [directory, *directory.resolve().parents]
    if all(entry.stat().st_mode & 0o001 for entry in entries[1:]):
        for name in USERS:
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name).pw_name
    return "root"


def find_place(address: str) -> Place:
    """The interface that has an address; raises DnsmasqError if none has."""
    import psutil  # only here: most hosts run no server

    for name, found in psutil.net_if_addrs().items():
        for one in found:
            if one.family == socket.AF_INET and one.address == address:
                network = IPv4Interface(f"{address}/{one.netmask or '255.255.255.255'}").network
                return Place(name, str(network))
    raise DnsmasqError(f"no interface of this host has the address {address}: `tap create <vlan> ip` makes one")


def check_range(place: Place, low: str, high: str) -> None:
    """The addresses to be given must be those of the network that the interface is in; raises DnsmasqError."""
    network = IPv4Interface(place.network).network
    if IPv4Address(low) not in network or IPv4Address(high) not in network:
        raise DnsmasqError(f"{low} to {high} is not within {place.network}, the network of {place.interface}")


def check_free(address: str) -> None:
    """Nobody else may answer DNS there; raises DnsmasqError."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
            try:
                probe.bind((address, DNS_PORT))
            except OSError as error:
                raise DnsmasqError(f"another program answers DNS on {address}: {error.strerror}") from error


async def check(*words: str) -> None:
    """Have the program look at a configuration file or an option; raises DnsmasqError with what it says."""
    said = await _run([PROGRAM, "--test", *words])
    if said:
        raise DnsmasqError(said)


async def _run(argv: Sequence[str]) -> str:
    """What a program says if it fails; empty if it does not."""
    try:
        outcome = await process.Program(argv, _environment(""), MAX_SAID * 4).outcome()
    except process.NotStartedError as error:
        return MISSING if error.missing else str(error)
    return told(outcome.stderr) or "dnsmasq fails without a word" if outcome.exit_status else ""


def told(stderr: bytes) -> str:
    """What dnsmasq said, as one line without its own name."""
    lines = (line.strip().removeprefix("dnsmasq: ") for line in stderr.decode("utf-8", "replace").splitlines())
    text = "; ".join(line for line in lines if line)
    return "".join(one if one.isprintable() else "?" for one in text)[:MAX_SAID]


def start(spec: Spec, entries: Entries) -> tuple[process.Started, Server]:
    """Start a server and wait until it serves; raises DnsmasqError, and then nothing of it is left. Blocks."""
    try:
        program, server = _start(spec, entries)
    except (OSError, process.NotStartedError) as error:
        remove(spec.directory)
        missing = isinstance(error, process.NotStartedError) and error.missing
        raise DnsmasqError(MISSING if missing else f"dnsmasq cannot be started: {error}") from error
    except DnsmasqError:
        remove(spec.directory)
        raise
    return program, server


def _start(spec: Spec, entries: Entries) -> tuple[process.Started, Server]:
    place = Place()
    if spec.address:
        place = find_place(spec.address)
        check_range(place, spec.low, spec.high)
        check_free(spec.address)
    spec.directory.mkdir(mode=0o755, exist_ok=True)
    spec.directory.chmod(0o755)
    write(spec.directory, entries)
    (spec.directory / PID_FILE).unlink(missing_ok=True)
    errors = os.open(spec.directory / ERRORS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        argv = arguments(spec, place.interface, user_for(spec.directory))
        program = process.start(argv, _environment(spec.mark), stdout=errors, stderr=errors)
    finally:
        os.close(errors)
    ticks = start_ticks(program.pid)
    _wait(program, spec.directory)
    return program, Server(program.pid, ticks, place)


def _wait(program: process.Started, directory: Path) -> None:
    """Until it has bound its sockets and written its pid; raises DnsmasqError with its last words if it ends."""
    deadline = time.monotonic() + START_S
    while program.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            if int((directory / PID_FILE).read_text()) == program.pid:
                return
        if time.monotonic() > deadline:
            program.kill()
            program.wait()
            raise DnsmasqError(f"dnsmasq has not begun to serve within {START_S:g} seconds")
        time.sleep(POLL_S)
    with open(directory / ERRORS, "rb") as file:
        said = told(file.read(MAX_SAID * 4))
    raise DnsmasqError(f"dnsmasq: {said or f'it ended at once, with status {program.returncode}'}")


def _environment(mark: str) -> dict[str, str]:
    path = os.environ.get("PATH", process.DEFAULT_PATH)
    return {"PATH": f"{path}:/usr/sbin:/sbin", "LC_ALL": "C", **({MARK: mark} if mark else {})}


def remove(directory: Path) -> None:
    """Remove its files."""
    shutil.rmtree(directory, ignore_errors=True)
