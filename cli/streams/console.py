"""`minibus console`: the console of a guest on this terminal, or on stdin and stdout of a script.

It watches over the bus (`bus.library.consoles`), so that it goes on by itself after a crash of anything. Stdin and
stdout have a thread each, because either may block for ever.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from typing import NamedTuple

from bus.errors import BusError, InvalidError, UnavailableError
from bus.library.consoles import ConsoleViewer
from bus.messages.base import WILDCARD
from bus.messages.console import MAX_INPUT_BYTES
from bus.messages.vm import LIVE_STATES, GetVms, GuestKind, VmInfo, VmState
from bus.port import Port
from cli.place import Place, connected, namespace_of
from cli.running import running
from cli.streams.blocking import BlockingCalls
from cli.streams.console_terminal import ESCAPE, QueryFilter, RawTerminal, size, without_queries
from cli.streams.ending import run
from cli.streams.presence import while_there
from cli.streams.standard_streams import STDIN, STDOUT, print_all, receive, until_unread

ASK_S = 10.0
QUIET_S = 1.0
"""How long a guest must say nothing, after the end of the input, before a script is taken to be over."""
CTRL_C = b"\x03"
DRIVERS = {GuestKind.CONTAINER: "container"}


class Wish(NamedTuple):
    """How a user wants to see a console."""

    only_watch: bool = False
    from_now: bool = False
    """Without the scroll-back."""


def console(place: Place, target: str, wish: Wish = Wish(), *, namespace: str = "") -> int:  # noqa: B008 - it is immutable
    """Be the console of a VM; returns the exit status.

    Ends when the user leaves, with the guest, and a moment after the end of stdin where that is no terminal.
    """
    with RawTerminal() as terminal:
        try:
            work = _attend(place, target, namespace, wish, terminal)
            said = run(work, signal.SIGTERM, signal.SIGHUP)  # which leave the terminal as it was
        except BusError as error:
            said, status = str(error), 1
        else:
            status = 0
    if said:
        sys.stderr.write(f"minibus: {said}\n")
    return status


async def _attend(place: Place, target: str, namespace: str, wish: Wish, terminal: RawTerminal) -> str:
    """Gives what there is to say at the end; raises BusError."""
    async with connected(place) as port:
        vm = await _find(port, target, await namespace_of(place, port, namespace))
        driver = f"{DRIVERS[vm.kind]}@{vm.host}"
        viewer = ConsoleViewer(port, driver, vm.vm_id, namespace=vm.namespace, from_now=wish.from_now)
        if vm.state not in LIVE_STATES:
            return await _last_words(viewer, vm, wish)
        if os.isatty(STDIN):
            terminal.enter()
            sys.stderr.write(f"minibus: {_welcome(vm, wish)}\r\n")
        return await while_there(place, _Session(viewer, vm, wish, terminal).run())


async def _find(port: Port, target: str, namespace: str) -> VmInfo:
    if target != WILDCARD:
        found = (await port.ask("vm", GetVms(target=target), timeout_s=ASK_S, namespace=namespace)).vms
    if target == WILDCARD or len(found) != 1:
        raise InvalidError(f"a console belongs to one VM: give its name or id instead of {target}")
    if found[0].kind not in DRIVERS:
        raise UnavailableError(f"{found[0].name} has no console here: only containers have one")
    return found[0]


async def _last_words(viewer: ConsoleViewer, vm: VmInfo, wish: Wish) -> str:
    """Of a VM that does not run: what it has said, to those who only want to watch; raises UnavailableError."""
    if not wish.only_watch:
        error = f": {vm.tags['error']}" if vm.state is VmState.ERROR and vm.tags.get("error") else ""
        raise UnavailableError(
            f"{vm.name} does not run ({vm.state.value}{error}); `minibus console --read-only` shows what it said"
        )
    if (output := await viewer.read()) is not None:
        data = without_queries(output.data) if os.isatty(STDOUT) else output.data
        if not print_all(data):
            raise BrokenPipeError
    return ""


def _welcome(vm: VmInfo, wish: Wish) -> str:
    state = f", which is {vm.state.value}" if vm.state is not VmState.RUNNING else ""
    only = "watching " if wish.only_watch else ""
    return f"{only}the console of {vm.name}{state}; Ctrl-] leaves"


class _Session:
    """One look at one console."""

    def __init__(self, viewer: ConsoleViewer, vm: VmInfo, wish: Wish, terminal: RawTerminal) -> None:
        self._viewer = viewer
        self._name = vm.name
        self._wish = wish
        self._terminal = terminal
        self._has_begun = asyncio.Event()
        self._heard = asyncio.Event()
        self._resized = asyncio.Event()

    async def run(self) -> str:
        """Until it is over; gives what there is to say then. Raises BusError, and BrokenPipeError if nobody reads."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._resized.set)
        loop.add_signal_handler(signal.SIGCONT, self._continued)
        self._resized.set()
        async with (
            running(self._show()) as output,
            running(self._type()) as typing,
            running(self._follow_size()) as window,
            running(until_unread()) as unread,
        ):
            await asyncio.wait({output, typing, unread}, return_when=asyncio.FIRST_COMPLETED)
            if window.done():
                await window
            if output.done():
                return await output
            if typing.done():
                return await typing
            raise BrokenPipeError

    async def _show(self) -> str:
        stdout = BlockingCalls("stdout")
        is_past = not self._wish.from_now
        # What the terminal answers goes to whoever reads it next: that is the guest only if its keys go there.
        unasked = QueryFilter() if os.isatty(STDOUT) and (self._wish.only_watch or not self._terminal.is_raw) else None
        while (output := await self._viewer.read()) is not None:
            data = output.data
            if unasked is not None:
                data = unasked.feed(data)
            elif is_past and self._terminal.is_raw:
                data = without_queries(data)
            is_past = False
            self._has_begun.set()
            if output.skipped:
                self._say(f"{output.skipped} bytes skipped")
            if data:
                self._heard.set()
                if not await stdout.call(functools.partial(print_all, data)):
                    raise BrokenPipeError
        return f"{self._name} has ended"

    async def _type(self) -> str:
        if self._wish.only_watch and not self._terminal.is_raw:
            await asyncio.Event().wait()
        await self._has_begun.wait()  # with --new, the answer to what is typed is new
        stdin = BlockingCalls("stdin")
        while data := await stdin.call(functools.partial(receive, MAX_INPUT_BYTES)):
            keys, escape, _ = data.partition(ESCAPE) if self._terminal.is_raw else (data, b"", b"")
            if not self._wish.only_watch:
                await self._viewer.type(keys)
                if self._viewer.in_doubt:
                    self._say("it is not known whether what was typed last has arrived")
            elif CTRL_C in keys:
                return ""
            if escape:
                return ""
        await self._until_quiet()
        return ""

    async def _until_quiet(self) -> None:
        self._heard.set()
        while self._heard.is_set():
            self._heard.clear()
            await asyncio.sleep(QUIET_S)

    async def _follow_size(self) -> None:
        """The window is that of whoever has resized it last. Who only watches leaves it alone."""
        while self._terminal.is_raw and not self._wish.only_watch:
            await self._resized.wait()
            self._resized.clear()
            if (window := size()) is not None:
                await self._viewer.resize(*window)

    def _continued(self) -> None:
        """The program was stopped, and whoever was in front of the terminal meanwhile has changed its settings."""
        if self._terminal.is_raw:
            self._terminal.enter()
            self._resized.set()

    def _say(self, sentence: str) -> None:
        newline = "\r\n" if self._terminal.is_raw else "\n"
        sys.stderr.write(f"{newline if self._terminal.is_raw else ''}minibus: {sentence}{newline}")
        sys.stderr.flush()
