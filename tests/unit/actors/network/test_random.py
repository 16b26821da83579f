"""The network actor's step under requests, failures and crashes in any order: what the table says is what there is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.network.audit import picture
from bus.messages.base import Request
from bus.messages.network import (
    AddInterfaces,
    ClearMirrors,
    ConnectInterfaces,
    CreateTap,
    DeleteTaps,
    EndNetworks,
    ForgetGuestNics,
    GuestNic,
    MirrorTap,
    Netspec,
    PlugGuests,
    ShapeInterfaces,
    Shaping,
    TrunkBridge,
    UnplugGuests,
)
from tests.unit.actors.network.model import Model, guest

STEPS = 60
NAMESPACES = ("minimega", "other")
MACS = ("", "", "", "00:16:3e:00:00:01", "00:16:3e:00:00:02")


class Chance:
    """Requests that may come, in no order."""

    def __init__(self, seed: int, model: Model) -> None:
        self.random = random.Random(seed)
        self.model = model

    def request(self) -> Request[Any]:
        """One of any kind."""
        pick = self.random
        some = tuple(pick.sample(range(6), pick.randrange(1, 4)))
        guests = tuple(self.guest(number) for number in some)
        kinds: list[Request[Any]] = [
            PlugGuests(guests=guests),
            PlugGuests(guests=guests),
            UnplugGuests(vm_ids=some),
            ForgetGuestNics(vm_ids=some),
            AddInterfaces(vms=guests),
            ConnectInterfaces(vms=guests, index=pick.randrange(3), vlan=pick.randrange(-1, 4), bridge=self.bridge()),
            ShapeInterfaces(vms=guests, index=pick.randrange(-1, 3), shaping=Shaping(delay_us=pick.randrange(1, 9))),
            ShapeInterfaces(vms=guests, clear=True),
            CreateTap(vlan=pick.randrange(4), name=pick.choice(["", "a", "b"])),
            DeleteTaps(name=pick.choice(["a", "b", "all"])),
            MirrorTap(source=self.tap(), destination=self.tap()),
            ClearMirrors(),
            TrunkBridge(bridge=self.bridge() or "br", interface="eth1", remove=pick.random() < 0.5),
            EndNetworks(),
        ]
        return pick.choice(kinds)

    def guest(self, number: int) -> GuestNic:
        """Of one of two namespaces, whose number tells which."""
        networks = [
            Netspec(vlan=self.random.randrange(-1, 4), mac=self.random.choice(MACS))
            for _ in range(self.random.randrange(3))
        ]
        return guest(number, *networks, namespace=NAMESPACES[number % 2])

    def bridge(self) -> str:
        """Ours, or what is none."""
        return self.random.choice(["", "", "br", "eth0"])

    def tap(self) -> str:
        """One that may be there."""
        return self.random.choice(["a", "b", "nosuch", *self.model.fabric.ports, *self.model.fabric.taps])

    def trouble(self) -> set[str]:
        """Ports with which nothing works for a while; mostly none."""
        return {self.tap()} if self.random.random() < 0.2 else set()


def agree(model: Model) -> None:
    """After an audit what should exist does, and nothing else; a fabric that nothing needs is removed."""
    model.audit()
    if model.table.is_empty:
        model.fabric.destroy()
    wanted, fabric = picture(model.table), model.fabric
    assert fabric.ports == {name: port for name, (_, port) in wanted.ports.items()}
    assert fabric.taps == wanted.taps
    assert fabric.trunks == wanted.trunks
    assert {name: one for name, one in fabric.shapings.items() if one != Shaping()} == wanted.shapings
    assert tuple(sorted(fabric.mirrors.items())) == tuple(sorted((to, source) for source, to in wanted.mirrors))


def sound(model: Model) -> None:
    """What must never be, whatever has happened."""
    nics = [nic for _, _, nic in model.table.places()]
    names = [*(nic.tap for nic in nics), *model.table.taps]
    assert len(set(names)) == len(names)
    places = [(nic.segment, nic.mac) for nic in nics if nic.is_up and nic.segment is not None]
    assert len(set(places)) == len(places)
    assert all(
        guest_.nics and any(nic.is_up for nic in guest_.nics) == bool(guest_.pid)
        for guest_ in model.table.guests.values()
    )


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_the_kernel_has_what_the_table_says(seed: int) -> None:
    model = Model()
    model.fabric.host.add("eth1")
    chance = Chance(seed, model)
    asked: list[str] = []
    for number in range(STEPS):
        model.fabric.refuses = chance.trouble()
        model.holds = chance.random.random() < 0.3
        for turn in range(chance.random.randrange(1, 4)):
            asked.append(model.send(chance.request(), f"{number}/{turn}", chance.random.choice(NAMESPACES)))
        if model.holds and chance.random.random() < 0.5:
            if chance.random.random() < 0.5:
                for effect in model.held:
                    model.do(effect)
            model.holds = False
            model.fabric.refuses = set()
            model.crash()
        model.release()
        assert set(model.answers) == set(asked)
        sound(model)
        model.fabric.refuses = set()
        if chance.random.random() < 0.2:
            agree(model)
    for namespace in NAMESPACES:
        model.ask(EndNetworks(), namespace)
    agree(model)
    assert (model.fabric.ports, model.fabric.taps, model.fabric.mirrors) == ({}, {}, {})
