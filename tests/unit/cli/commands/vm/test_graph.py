from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import InvalidError, UnavailableError
from bus.messages.network import GetInterfaces, GuestInterfaces, Interface, InterfaceList
from bus.messages.vlan import DISCONNECTED
from bus.messages.vm import GetVms, VmList, VmState
from cli.commands.vm.graph import edges, graph, quoted
from cli.commands.vm.rows import as_configured, known_interfaces
from tests.unit.cli.stand_ins import Asked, EngineBench, make_vm

LISTED = InterfaceList(
    guests=(
        GuestInterfaces(
            vm_id=0,
            name="a",
            interfaces=(
                Interface(tap="mega_tap0", bridge="mega_bridge", vlan=101, mac="", ip="10.0.0.1", ip6="fd00::1"),
                Interface(tap="mega_tap1", vlan=DISCONNECTED, mac=""),
                Interface(tap="mega_tap2", bridge="mega_bridge", vlan=7, mac=""),
            ),
        ),
    )
)


def test_the_graph() -> None:
    vms = [make_vm(0, "a"), make_vm(1, "b", VmState.ERROR)]
    node = '"n1:a:0:[10.0.0.1, , ]:[fd00::1, , ]"'
    assert graph(edges(vms, known_interfaces(LISTED))) == (
        'graph minimega {\nsize="8,11";\noverlap=false;\n'
        f"{node} [style=filled, color=green];\n"
        f"{node} -- 101\n101;\n{node} -- 7\n7;\n"
        '"n1:b:1:[]:[]" [style=filled, color=red];\n}'
    )


@pytest.mark.parametrize(
    ("state", "colour"),
    [("BUILDING", "yellow"), ("RUNNING", "green"), ("PAUSED", "yellow"), ("QUIT", "blue"), ("ERROR", "red")],
)
def test_colours(state: str, colour: str) -> None:
    assert f"color={colour}]" in graph(edges([make_vm(0, "a", VmState(state))], as_configured))


@given(st.text())
def test_no_name_gets_out_of_its_quotes(name: str) -> None:
    text = quoted(name)
    assert "\n" not in text and "\r" not in text and "\0" not in text
    # As Graphviz reads it: pairs of a backslash and a character, or single characters other than these two.
    assert re.fullmatch(r'"(\\.|[^"\\])*"', text, re.DOTALL)


@pytest.mark.parametrize("reaction", [LISTED, InvalidError("not now")])
async def test_viz_writes_a_file(tmp_path: Path, reaction: Any) -> None:
    path = tmp_path / "g"
    bench = EngineBench({GetInterfaces: reaction})
    assert await bench.text(f"namespace exp viz {path}") == ""
    assert bench.bus.asked[-1].namespace == "exp"
    content = path.read_text()
    assert content.startswith("graph minimega {\n")
    assert content.endswith('"n1:db:1:[]:[]" [style=filled, color=blue];\n}')


async def test_where_a_relative_name_leads_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert await EngineBench().text("viz ./g") == f"written to {tmp_path}/g"
    assert await EngineBench().text("write h") == f"written to {tmp_path}/h"


async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    sentence = f"open {tmp_path}/no/g: no such file or directory"
    assert await EngineBench().error(f"viz {tmp_path}/no/g") == sentence


async def test_without_a_host_s_answer_nothing_is_written(tmp_path: Path) -> None:
    async def react(asked: Asked) -> VmList:
        if asked.to == "vm@n2":
            raise UnavailableError("nobody is at vm@n2")
        return VmList(vms=(make_vm(0, "a"),))

    bench = EngineBench({GetVms: react}, hosts=("n1", "n2"))
    assert await bench.error(f"viz {tmp_path}/g") == "nobody is at vm@n2"
    assert list(tmp_path.iterdir()) == []


async def test_write_is_read_again(tmp_path: Path) -> None:
    bench = EngineBench()
    for line in ("echo one", "# note", 'echo\n"é  x"'):
        await bench.run(line)
    assert await bench.text(f"write {tmp_path}/h") == ""
    assert (tmp_path / "h").read_text() == 'echo one\n# note\necho "é  x"'
    groups = await bench.run(f"read {tmp_path}/h")
    assert [group.responses[0].text for group in groups] == ["one", "é  x"]
    assert await bench.error(f"write {tmp_path}") == f"open {tmp_path}: is a directory"
