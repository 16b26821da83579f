"""The shell of the namespace actor: the file that lists VLANs."""

from __future__ import annotations

from pathlib import Path

from actors.namespace.actor import NamespaceActor
from actors.namespace.vlan_requests import WriteVlans
from bus.paths import context


async def test_a_list_that_cannot_be_written_is_no_bug(base_dir: Path) -> None:
    actor = NamespaceActor(context(base_dir), None)
    actor.port._zmq.term()
    logged: list[str] = []
    actor.log.record = lambda level, event, fields: logged.append(event)  # type: ignore[method-assign]
    path = actor.context.paths.vlans
    path.mkdir()
    await actor.carry_out(WriteVlans(text="Alias VLAN\n"))
    assert logged == ["file_not_written"]
    path.rmdir()
    await actor.carry_out(WriteVlans(text="Alias VLAN\n"))
    assert (path.read_text(), logged) == ("Alias VLAN\n", ["file_not_written"])
    assert [found.name for found in path.parent.glob("vlans*")] == ["vlans"]
