"""The cc actor's step: which guests are mounted, and how that ends."""

from __future__ import annotations

from typing import Any

import pytest

from actors.cc.inputs import CloseMounts, HangUp, Left, Mounted, MountLost, OpenMount, Unmounted, VmsGone, VmsSeen
from actors.cc.state import step
from actors.cc.table import CcTable, Mount
from bus.actor.step import Fail, Publish, Recovered, Reply
from bus.messages.base import Ack, Request
from bus.messages.cc import ClearCc, EndCc
from bus.messages.mount import GuestMounted, GuestUnmounted, MountGuest, MountState, UnmountGuests
from bus.messages.vm import VmState
from tests.unit.actors.cc.inputs import NS, after, ask, key, sentence, uuid, vm
from tests.unit.actors.steps import events, only, play, received, replies, the, through_journal, through_snapshot

MOUNT = MountGuest(target="vm1", path="/mnt/link")


def mounts(table: CcTable) -> dict[str, tuple[str, str]]:
    """State and reason of each."""
    return {name: (one.state.value, one.reason) for name, one in table.namespaces[NS].mounts.items()}


def mounted(*more: int) -> CcTable:
    """Guest 1 is mounted at /mnt/one by way of /mnt/link, and more guests are, each at /mnt/N."""
    table = after(received(MOUNT, "m"), Mounted(msg_id="m", path="/mnt/one", source="s1"), guests=3)
    for number in more:
        request = received(MountGuest(target=f"vm{number}", path=f"/mnt/{number}"), f"m{number}")
        play(step, table, request, Mounted(msg_id=f"m{number}", path=f"/mnt/{number}", source=f"s{number}"))
    return table


def test_a_mount_is_answered_when_it_is_there() -> None:
    table = after()
    effects = ask(table, MOUNT, "m")
    assert effects == [OpenMount(key=key(1), path="/mnt/link", msg_id="m")]
    assert mounts(table) == {uuid(1): ("mounting", "")}
    table = through_snapshot(table)
    (effects,) = play(step, table, through_journal(Mounted(msg_id="m", path="/mnt/one", source="s1")))
    event = GuestMounted(uuid=uuid(1), vm="vm1", path="/mnt/one")
    topic = f"cc/{NS}/{uuid(1)}/mounted/"
    assert effects == [Publish(topic=topic, event=event, namespace=NS), Reply(msg_id="m", body=Ack())]
    assert table.namespaces[NS].mounts[uuid(1)] == Mount(
        path="/mnt/one", asked="/mnt/link", state=MountState.MOUNTED, source="s1"
    )
    assert table.waiting == {}


def test_a_mount_that_cannot_be_is_not_listed() -> None:
    table = after(received(MOUNT, "m"))
    (effects,) = play(step, table, Mounted(msg_id="m", code="not_found", error="mount point does not exist: /mnt"))
    assert sentence(effects) == "not_found: mount point does not exist: /mnt"
    assert mounts(table) == {} and table.waiting == {}


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (MountGuest(target="vm1", path=""), "invalid: must provide a mount path: an empty directory of this host"),
        (MountGuest(target="vm2", path="x/y"), "invalid: `x/y` is no absolute path"),
        (MountGuest(target="vm2", path="/x\0y"), "invalid: `/x\0y` is no absolute path"),
        (MountGuest(target="vm2", path="/" + "x" * 4095), f"invalid: `/{'x' * 199}` is no absolute path"),
        (MountGuest(target="vm9", path="/mnt"), "not_found: no such client: vm9"),
        (MountGuest(target="vm3", path="/mnt"), "unavailable: the agent of vm3 is not connected"),
        (MountGuest(target="vm1", path="/mnt"), "conflict: vm1 is mounted at /mnt/one already"),
        (MountGuest(target=uuid(1), path="/mnt"), "conflict: vm1 is mounted at /mnt/one already"),
        (UnmountGuests(target="vm2"), "not_found: vm2 is not mounted"),
        (UnmountGuests(target="/mnt"), "not_found: nothing is mounted by this name: /mnt"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(request_: Request[Any], told: str) -> None:
    table = mounted()
    play(step, table, Left(key=key(3)))
    assert sentence(ask(table, request_)) == told
    assert mounts(table) == {uuid(1): ("mounted", "")} and table.waiting == {}


@pytest.mark.parametrize("target", ["vm1", uuid(1), "/mnt/one", "/mnt/one/", "/mnt/link", ""])
def test_unmounting(target: str) -> None:
    table = mounted()
    effects = ask(table, UnmountGuests(target=target), "u")
    assert the(CloseMounts, effects) == CloseMounts(mounts=((key(1), "s1"),), msg_id="u")
    assert the(Publish, effects).event == GuestUnmounted(uuid=uuid(1), vm="vm1", path="/mnt/one")
    assert mounts(table) == {} and replies(effects) == {}
    (effects,) = play(step, table, Unmounted(msg_id="u"))
    assert replies(effects) == {"u": Ack()} and table.waiting == {}


def test_something_lies_over_it() -> None:
    table = mounted()
    ask(table, UnmountGuests(), "u")
    (effects,) = play(step, table, Unmounted(msg_id="u", error="/mnt/one cannot be unmounted"))
    assert sentence(effects) == "conflict: /mnt/one cannot be unmounted"


def test_unmounting_all_where_there_is_none() -> None:
    table = after()
    assert ask(table, UnmountGuests(), "u") == [CloseMounts(mounts=(), msg_id="u")]
    (effects,) = play(step, table, Unmounted(msg_id="u"))
    assert replies(effects) == {"u": Ack()}


def test_what_is_lost_stays_listed_until_it_is_mounted_again_or_cleared() -> None:
    table = mounted(2)
    (effects,) = play(step, table, MountLost(key=key(1), reason="it was unmounted"))
    event = GuestUnmounted(uuid=uuid(1), vm="vm1", path="/mnt/one", reason="it was unmounted")
    assert effects == [Publish(topic=f"cc/{NS}/{uuid(1)}/unmounted/", event=event, namespace=NS)]
    assert mounts(table) == {uuid(1): ("lost", "it was unmounted"), uuid(2): ("mounted", "")}
    assert play(step, table, MountLost(key=key(1), reason="once more")) == [[]]
    assert only(Fail, ask(table, MOUNT, "again")) == []
    play(step, table, Mounted(msg_id="again", path="/mnt/one"))
    assert mounts(table)[uuid(1)] == ("mounted", "")
    play(step, table, MountLost(key=key(1), reason="gone"))
    effects = ask(table, UnmountGuests(target="vm1"), "u")
    assert the(CloseMounts, effects).mounts == () and events(effects) == []
    assert uuid(1) not in mounts(table)


def test_it_is_taken_back_while_it_is_being_mounted() -> None:
    table = after(received(MOUNT, "m"))
    assert ask(table, UnmountGuests(target="vm1"), "u") == [CloseMounts(mounts=(), msg_id="u")]
    (effects,) = play(step, table, Mounted(msg_id="m", error="vm1 was unmounted before it was mounted"))
    assert sentence(effects) == "unavailable: vm1 was unmounted before it was mounted"
    assert mounts(table) == {}


def test_with_its_vm_it_goes() -> None:
    table = mounted()
    (effects,) = play(step, table, VmsSeen(vms=(vm(1, state=VmState.QUIT),)))
    assert only(HangUp, effects), "with its line the mount is lost"
    play(step, table, MountLost(key=key(1), reason="the VM has ended"))
    assert mounts(table) == {uuid(1): ("lost", "the VM has ended")}
    (effects,) = play(step, table, VmsGone(vm_ids=(1,)))
    assert mounts(table) == {}
    table = mounted()
    (effects,) = play(step, table, VmsGone(vm_ids=(1,)))
    assert the(CloseMounts, effects).mounts == ((key(1), "s1"),)
    assert play(step, table, MountLost(key=key(1), reason="late")) == [[]]


@pytest.mark.parametrize("request_", [ClearCc(), EndCc()])
def test_clearing_all_and_the_end_of_the_namespace_unmount(request_: Request[Any]) -> None:
    table = mounted(2)
    effects = ask(table, request_)
    assert the(CloseMounts, effects) == CloseMounts(mounts=((key(1), "s1"), (key(2), "s2")))
    assert events(effects)[-2:] == [f"cc/{NS}/{uuid(number)}/unmounted/" for number in (1, 2)]
    assert mounts(table) == {}


def test_clearing_a_part_does_not_unmount() -> None:
    table = mounted()
    assert only(CloseMounts, ask(table, ClearCc(parts=("filter", "commands")))) == []
    assert mounts(table) == {uuid(1): ("mounted", "")}


def test_no_mount_outlives_the_process() -> None:
    """Whoever waited is answered, and what was mounted is told to be lost."""
    table = mounted(2)
    ask(table, MountGuest(target="vm3", path="/mnt/3"), "m")
    ask(table, UnmountGuests(target="vm2"), "u")
    (effects,) = play(step, through_snapshot(table), Recovered())
    assert replies(effects) == {
        "m": Fail(msg_id="m", code="unavailable", message="the actor cc was restarted meanwhile: try again"),
        "u": Ack(),
    }
    assert events(effects) == [f"cc/{NS}/{uuid(1)}/unmounted/"]
    play(step, table, Recovered())
    assert mounts(table) == {uuid(1): ("lost", "minibus was restarted")} and table.waiting == {}
