"""`read` and `quit`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from bus.errors import NotFoundError, UnavailableError, UnreachableError
from bus.messages.base import Ack, Message
from bus.messages.control import StopNode
from bus.messages.dnsmasq import KillDnsmasqs
from bus.messages.namespace import DestroyNamespace, DestroyReport, GetNamespaces, NamespaceInfo, NamespaceList
from bus.messages.network import BridgeInfo, Bridges, GetBridges, TrunkBridge
from bus.messages.vm import StartVms
from cli.commands.host.stop import ConnectionEnds
from cli.commands.session import script as script_module
from tests.unit.cli.stand_ins import EngineBench

# ---------------------------------------------------------------- scripts


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "script"
    path.write_text(text)
    return str(path)


async def test_a_script_runs_line_by_line(tmp_path: Path) -> None:
    path = script(tmp_path, "# a\r\n\r\necho one\nnamespace exp\nvm info\necho 'two'\n")
    bench = EngineBench()
    groups = await bench.run(f"read {path}")
    assert [group.responses[0].text for group in groups] == ["one", "", "", "two"]
    assert (bench.bus.asked[0].namespace, bench.session.namespace) == ("exp", "minimega")
    assert bench.session.history.lines == ("# a", "echo one", "namespace exp", "vm info", "echo 'two'")


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize(
    ("prefix", "chosen"), [("", None), (".record true ", True), (".record false ", False), (".csv t .rec f ", False)]
)
async def test_which_lines_of_a_script_enter_the_history(
    tmp_path: Path, setting: bool, prefix: str, chosen: bool | None
) -> None:
    bench = EngineBench()
    bench.session.recording = setting
    await bench.run(f"{prefix}read {script(tmp_path, 'echo one')}")
    expected = ("echo one",) if (setting if chosen is None else chosen) else ()
    assert (bench.session.history.lines, bench.session.recording) == (expected, setting)


async def test_a_script_goes_on_after_a_failed_command_and_ends_at_a_bad_line(tmp_path: Path) -> None:
    path = script(tmp_path, "vm start x\necho ok\nvm strat\necho never\n")
    groups = await EngineBench({StartVms: NotFoundError("vm not found: x")}).run(f"read {path}")
    assert [(group.responses[0].text, group.responses[0].error) for group in groups] == [
        ("", f"{path}:1: vm not found: x"),
        ("ok", ""),
        ("", f"{path}:3: invalid command: `vm strat`: did you mean `vm start <target>`?"),
    ]


async def test_check_runs_nothing(tmp_path: Path) -> None:
    bench = EngineBench()
    assert await bench.run(f"read {script(tmp_path, 'vm info')} check") == []
    assert await bench.error(f"read {script(tmp_path, 'vm info' + chr(10) + 'x')} check") == (
        f"{tmp_path}/script:2: invalid command: `x`"
    )
    assert bench.bus.asked == []


@pytest.mark.parametrize("line", ["read x", "rea x", ".csv true read x", "namespace a .sort f rea x"])
async def test_scripts_do_not_nest(tmp_path: Path, line: str) -> None:
    path = script(tmp_path, line)
    assert await EngineBench().error(f"read {path}") == f"{path}:1: cannot run nested `read` commands"


async def test_scripts_that_cannot_be_read(tmp_path: Path) -> None:
    bench = EngineBench()
    os.mkfifo(tmp_path / "fifo")
    assert await bench.error(f"read {tmp_path}/no") == f"open {tmp_path}/no: no such file or directory"
    assert await bench.error(f"read {tmp_path}") == f"read {tmp_path}: is a directory"
    assert await bench.error('read ""') == "the name of the file is empty"
    assert await bench.error(f"read {tmp_path}/fifo") == f"read {tmp_path}/fifo: is not a regular file"
    assert (await bench.error("read \ufffd")).endswith(": no such file or directory")


async def test_scripts_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_module, "MAX_SCRIPT", 10)
    monkeypatch.setattr(script_module, "MAX_LINES", 5)
    bench = EngineBench()
    path = script(tmp_path, "echo x\n\n\n")
    assert (await bench.text(f"read {path}")) == "x"
    assert await bench.error(f"read {script(tmp_path, 'echo longer')}") == f"read {path}: is larger than 10 bytes"
    assert await bench.error(f"read {script(tmp_path, chr(10) * 6)}") == f"read {path}: has more than 5 lines"


async def test_a_script_as_other_systems_write_it(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_bytes(b"\xef\xbb\xbfecho \xc3\xa9 \xff\r\n")
    assert await EngineBench().text(f"read {path}") == "é \ufffd"


async def test_a_failed_script_does_not_lock_the_session(tmp_path: Path) -> None:
    bench = EngineBench()
    await bench.run(f"read {script(tmp_path, 'x')}")
    assert (await bench.run(f"read {script(tmp_path, 'echo y')}"))[0].responses[0].text == "y"


async def test_a_long_line_is_no_problem(tmp_path: Path) -> None:
    path = script(tmp_path, f"echo {'x' * 100_000}")
    assert (await EngineBench().one(f"read {path}")).text == "x" * 100_000


# ---------------------------------------------------------------- quit


def ending() -> dict[type[Message], Any]:
    known = NamespaceList(namespaces=(NamespaceInfo(name="exp", hosts=("n1",)),))
    bridges = Bridges(bridges=(BridgeInfo(name="mega_bridge", trunks=("eth1",)),))
    done: dict[type[Message], Any] = {KillDnsmasqs: Ack(), TrunkBridge: Ack(), StopNode: Ack()}
    return {GetNamespaces: known, DestroyNamespace: DestroyReport(), GetBridges: bridges, **done}


async def test_quit_ends_the_guests_of_all_namespaces_and_then_the_node() -> None:
    bench = EngineBench(ending())
    with pytest.raises(ConnectionEnds):
        await bench.run("quit")
    assert [(type(asked.request), asked.namespace) for asked in bench.bus.asked[1:-1]] == [
        (DestroyNamespace, "exp"),
        (DestroyNamespace, "minimega"),
        (KillDnsmasqs, "minimega"),
        (GetBridges, "minimega"),
        (TrunkBridge, "minimega"),
    ]
    assert bench.bus.asked[-2].request == TrunkBridge(bridge="mega_bridge", interface="eth1", remove=True)
    assert isinstance(bench.bus.asked[-1].request, StopNode)


async def test_quit_stops_nothing_while_guests_stay() -> None:
    bench = EngineBench({**ending(), DestroyNamespace: DestroyReport(errors=("web stays",))})
    assert await bench.error("quit") == "web stays\nweb stays"
    assert StopNode not in {type(asked.request) for asked in bench.bus.asked}


async def test_nor_while_an_interface_of_the_host_does() -> None:
    bench = EngineBench({**ending(), TrunkBridge: UnavailableError("eth1 cannot be moved back")})
    assert await bench.error("quit") == "eth1 cannot be moved back"
    assert StopNode not in {type(asked.request) for asked in bench.bus.asked}


async def test_without_networks_it_quits_all_the_same() -> None:
    bench = EngineBench({**ending(), KillDnsmasqs: UnreachableError("nobody")})
    with pytest.raises(ConnectionEnds):
        await bench.run("quit")


async def test_quit_overlooks_a_namespace_that_is_gone() -> None:
    bench = EngineBench({**ending(), DestroyNamespace: NotFoundError("unknown namespace: exp")})
    with pytest.raises(ConnectionEnds):
        await bench.run("quit")


async def test_quit_after_a_delay_answers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = EngineBench(ending())
    assert await bench.text("quit 5") == "quitting after 5 seconds"
    assert bench.bus.asked == []

    async def no_time(delay_s: float) -> None:
        assert delay_s == 5

    monkeypatch.setattr(asyncio, "sleep", no_time)
    await bench.spawned[0]
    assert isinstance(bench.bus.asked[-1].request, StopNode)
