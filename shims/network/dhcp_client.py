"""A lease for an interface of the host, and its renewal: python -m shims.network.dhcp_client INTERFACE FILE

A process of its own, because whoever answers is a guest: what cannot be read ends this process and nothing else. It
writes one line of JSON for each change of the address, and ends when its standard input does; the address stays then,
so that the next one, which finds the lease in FILE, goes on with it. Routes and name servers are not taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

import psutil
from pyroute2.dhcp.client import AsyncDHCPClient, ClientConfig
from pyroute2.dhcp.dhcp4socket import AsyncDHCP4Socket
from pyroute2.dhcp.enums import dhcp
from pyroute2.dhcp.hooks import Trigger, hook
from pyroute2.dhcp.leases import JSONFileLease, Lease, MissingOptionError
from pyroute2.iproute.linux import AsyncIPRoute

WANTED: Final = (
    dhcp.Option.SUBNET_MASK,
    dhcp.Option.LEASE_TIME,
    dhcp.Option.RENEWAL_TIME,
    dhcp.Option.REBINDING_TIME,
)
SHORTEST_PREFIX: Final = 8
"""A network without a limit to its size would be a default route."""


class RefusedError(Exception):
    """What the server offers cannot be had; `str()` is one sentence."""


def address_of(lease: Lease) -> str:
    """The address with its prefix length; raises RefusedError if it can be no address of this host."""
    try:
        text = f"{lease.ip}/{lease.subnet_mask}"
    except MissingOptionError:
        text = f"{lease.ip}/32"
    try:
        interface = ipaddress.IPv4Interface(text)
    except ValueError:
        raise RefusedError("the server offers what is no address") from None
    network, address = interface.network, interface.ip
    is_edge = network.prefixlen < 31 and address in (network[0], network[-1])
    if (
        network.prefixlen < SHORTEST_PREFIX
        or is_edge
        or address.is_loopback
        or address.is_multicast
        or not int(address)
    ):
        raise RefusedError(f"the server offers {interface}, which can be no address of a host")
    return str(interface)


def overlap(address: str, own: str, others: dict[str, list[str]]) -> str:
    """The interface whose network an address would take away, by the networks of all; empty if there is none."""
    network = ipaddress.IPv4Interface(address).network
    for name, networks in others.items():
        if name != own and any(network.overlaps(ipaddress.IPv4Network(one, strict=False)) for one in networks):
            return name
    return ""


def networks_of_host() -> dict[str, list[str]]:
    """The IPv4 networks of this host by interface."""
    return {
        name: [f"{one.address}/{one.netmask or 32}" for one in found if one.family == socket.AF_INET]
        for name, found in psutil.net_if_addrs().items()
    }


class _Socket(AsyncDHCP4Socket):  # type: ignore[misc]  # pyroute2 has no types
    """Takes no notice of what cannot be read, of which the original ends."""

    @classmethod
    def _decode_msg(cls, data: bytes) -> Any:
        try:
            return super()._decode_msg(data)
        except Exception as error:
            raise ValueError(f"no DHCP message: {error}") from error


class _Protocol(AsyncDHCPClient):  # type: ignore[misc]
    """Likewise for messages that can be read and make no sense."""

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config)
        self._sock = _Socket(config.interface)

    async def _process_msg(self, msg: Any) -> None:
        with contextlib.suppress(Exception):
            await super()._process_msg(msg)


class Client:
    """Gives the interface the address that was leased, and takes it away when the lease ends."""

    def __init__(self, interface: str, file: Path) -> None:
        self._interface = interface
        self._file = file
        self._address = ""
        self._told = ""
        self._refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Until the standard input ends, or something goes wrong; ends the process."""
        file = self._file

        class KeptLease(JSONFileLease):  # type: ignore[misc]  # pyroute2 has no types
            """In the file that was named."""

            @classmethod
            def _get_path(cls, interface: str) -> Path:
                return file

        if (kept := KeptLease.load(self._interface)) is not None:
            with contextlib.suppress(RefusedError):
                self._address = address_of(kept)
            if kept.expired:
                await self._give_up(kept)
                file.unlink(missing_ok=True)
        config = ClientConfig(
            interface=self._interface,
            lease_type=KeptLease,
            hooks=(
                hook(Trigger.BOUND, Trigger.RENEWED, Trigger.REBOUND)(self._take),
                hook(Trigger.UNBOUND, Trigger.EXPIRED)(self._give_up),
            ),
            requested_parameters=WANTED,
            release=False,
            handle_signals=False,
            vendor_id=None,
            host_name=None,
        )
        async with _Protocol(config) as client:
            await client.bootstrap()
            waits: list[asyncio.Future[Any]] = [
                _end_of_input(),
                self._refusal,
                *(task for task in (client._receiver_task, client._sender_task) if task is not None),
            ]
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            os._exit(self._status(done.pop()))  # nothing is to be told to the server, and nothing to be tidied

    def _status(self, ended: asyncio.Future[Any]) -> int:
        if ended is self._refusal:
            _tell({"refused": self._refusal.result()})
            return 1
        return 1 if not ended.cancelled() and ended.exception() is not None else 0

    async def _take(self, lease: Lease) -> None:
        try:
            address = address_of(lease)
            if name := overlap(address, self._interface, networks_of_host()):
                raise RefusedError(f"the server offers {address}, which is in a network of {name}")
        except RefusedError as error:
            if not self._refusal.done():
                self._refusal.set_result(str(error))
            return
        if self._address != address:
            await self._give_up(lease)
        await self._change("replace", address)
        if self._told != address:  # a lease may be renewed every second
            _tell({"address": address})
        self._address = self._told = address

    async def _give_up(self, lease: Lease) -> None:
        if self._address:
            await self._change("del", self._address)
            self._address = self._told = ""
            _tell({"address": ""})

    async def _change(self, how: str, address: str) -> None:
        interface = ipaddress.IPv4Interface(address)
        async with AsyncIPRoute(ext_ack=True, strict_check=True) as ipr:
            index = await ipr.link_lookup(ifname=self._interface)
            with contextlib.suppress(OSError) if how == "del" else contextlib.nullcontext():
                await ipr.addr(how, index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen)


def _tell(what: dict[str, str]) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def _end_of_input() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        loop.remove_reader(0)
        ended.set_result(None)

    loop.add_reader(0, end)
    return ended


def main(arguments: list[str]) -> int:
    """Command line entry point."""
    interface, file = arguments

    async def run() -> None:
        await Client(interface, Path(file)).run()

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
