"""What is looked at before a node is started, so that a refusal costs nothing."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

from bus.errors import BusError, ConflictError, DeniedError, InvalidError
from bus.lock import holder
from bus.node.base_directory import make
from bus.paths import NO_ADDRESS, console_address
from bus.settings import listen_address, vlan_range
from bus.settings.metrics_address import parse_address, wanted


def prepare(base: Path) -> Path:
    """Make the base directory and what belongs into it; gives it without symbolic links.

    Raises BusError or OSError if it cannot serve, ConflictError if minibus runs there.
    """
    if os.geteuid() != 0:
        raise DeniedError("minibus up needs root: nobody else may make namespaces, mounts and cgroups")
    _check_console_address(console_address())
    if wanted():
        parse_address(wanted())
    vlan_range.wanted()
    if listen_address.wanted():
        listen_address.parse_listen(listen_address.wanted())
    paths = make(base)
    if pid := holder(paths.run / "node.lock"):
        raise ConflictError(f"minibus is already running on {base} (pid {pid})")
    return paths.base


def sentence(base: Path, error: BusError | OSError) -> str:
    """Why there is no node."""
    if not isinstance(error, OSError):
        return str(error)
    return f"cannot use {base} as base directory: {error.strerror or error}"


def _check_console_address(address: str) -> None:
    """Say now what would otherwise show as containers without a console port."""
    if address == NO_ADDRESS:
        return
    try:
        family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((address, 0))
    except ValueError:
        raise InvalidError(f"the console address {address[:80]} is neither an IP address nor `{NO_ADDRESS}`") from None
    except OSError as error:
        raise InvalidError(f"the console address {address} cannot be used: {error.strerror}") from None
