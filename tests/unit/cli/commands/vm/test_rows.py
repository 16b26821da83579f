from __future__ import annotations

from typing import Any

import pytest

from bus.language.vm_config import PARAMS, Shape, assign
from bus.messages.base import Ack
from bus.messages.cc import ConnectedGuests
from bus.messages.namespace import Batch, Draft, Queue, SavedConfigs, SetConfig
from bus.messages.network import (
    GuestInterfaces,
    GuestRates,
    Interface,
    InterfaceList,
    Netspec,
    Rates,
    Shaping,
)
from bus.messages.vlan import DISCONNECTED, VlanTable
from bus.messages.vm import GuestKind, HostLoad, VmConfig, VmInfo, VmList, VmState, VmUsage, VmUsages
from cli.answers.response import Row
from cli.commands.declare import Args, Both, Command
from cli.commands.host.load import host_answer
from cli.commands.namespace.namespaces import queue_text
from cli.commands.registry import COMMANDS
from cli.commands.vm.rows import SUMMARY, vm_info, vm_tags, vm_top
from cli.grammar.matcher import Grammar

GRAMMAR: Grammar[Command] = Grammar((pattern, command) for command in COMMANDS for pattern in command.patterns)
HEADER = (
    "id name state uptime type uuid cc_active vlan bridge tap mac ip ip6 qos memory vcpus disk snapshot initrd kernel "
    "cdrom migrate append serial-ports virtio-ports vnc_port pid filesystem hostname init preinit fifo volume "
    "console_port tags"
)


SILENT = (None, None, None)
"""Nobody else says anything of the VMs."""


def guest(kind: GuestKind, config: VmConfig, **more: Any) -> VmInfo:
    known: dict[str, Any] = {"vm_id": 7, "name": "web", "namespace": "minimega", "host": "n1", "uuid": "u-u"}
    return VmInfo(kind=kind, state=VmState.RUNNING, created_s=0.0, config=config, **{**known, **more})


def cells(
    vm: VmInfo,
    connected: ConnectedGuests | None = None,
    interfaces: InterfaceList | None = None,
    vlans: VlanTable | None = None,
) -> dict[str, str]:
    answer = vm_info(Both(VmList(vms=(vm,)), (connected, interfaces, vlans)), Args({}))
    assert answer.header is not None and answer.rows is not None
    return dict(zip(answer.header, answer.rows[0], strict=True))


def picked(row: dict[str, str], names: str) -> dict[str, str]:
    return {name: row[name] for name in names.split()}


def test_the_columns_and_their_order() -> None:
    assert vm_info(Both(VmList(vms=()), SILENT), Args({})).header == tuple(HEADER.split())
    assert vm_info(Both(VmList(vms=()), SILENT), Args({"summary": True})).header == SUMMARY
    assert " ".join(SUMMARY) == "id name state type uuid cc_active vlan"


def test_whether_an_agent_is_connected_is_what_cc_says() -> None:
    vm = guest(GuestKind.CONTAINER, VmConfig())
    assert cells(vm, ConnectedGuests(uuids=("u-u",)))["cc_active"] == "true"
    assert cells(vm, ConnectedGuests(uuids=("other",)))["cc_active"] == "false"
    assert cells(vm, None)["cc_active"] == "N/A"


def test_a_container() -> None:
    config = VmConfig(memory_mib=64, filesystem="/fs", fifos=2, init=("/i", "-x"), volumes={"/b": "/x", "/a": "/y"})
    row = cells(guest(GuestKind.CONTAINER, config, uptime_s=63.2, pid=12, tags={"k": 'a "b"'}))
    assert picked(row, "id name state uptime type memory vcpus snapshot pid") == {
        "id": "7",
        "name": "web",
        "state": "RUNNING",
        "uptime": "1m3.2s",
        "type": "container",
        "memory": "64",
        "vcpus": "1",
        "snapshot": "true",
        "pid": "12",
    }
    assert picked(row, "filesystem hostname init preinit fifo volume console_port tags") == {
        "filesystem": "/fs",
        "hostname": "web",
        "init": "[/i -x]",
        "preinit": "",
        "fifo": "2",
        "volume": '{"/a":"/y","/b":"/x"}',
        "console_port": "0",
        "tags": '{"k":"a \\"b\\""}',
    }
    assert set(picked(row, "disk initrd kernel cdrom migrate append serial-ports vnc_port").values()) == {"N/A"}
    assert set(picked(row, "vlan bridge tap mac ip ip6 qos").values()) == {"[]"}


def test_a_kvm_guest() -> None:
    row = cells(
        guest(GuestKind.KVM, VmConfig(disks=("/a", "/b"), networks=(Netspec(vlan=1), Netspec(vlan=2)), serial_ports=2))
    )
    assert (row["disk"], row["serial-ports"], row["vlan"], row["append"]) == ("[/a /b]", "2", "[1, 2]", "[]")
    assert set(picked(row, "filesystem hostname init preinit fifo volume console_port").values()) == {"N/A"}


NETWORKS = (
    Netspec(vlan=101, alias="minimega//LAN", mac="02:00:00:00:00:01"),
    Netspec(bridge="br2", vlan=100),
    Netspec(vlan=DISCONNECTED),
)
VLANS = VlanTable(aliases={"minimega//LAN": 101, "foo//BAR": 103}, namespace="minimega")
LISTED = InterfaceList(
    guests=(
        GuestInterfaces(
            vm_id=7,
            name="web",
            interfaces=(
                Interface(tap="mega_tap0", bridge="mega_bridge", vlan=103, mac="m0", ip="10.0.0.1", is_up=True),
                Interface(tap="mega_tap1", bridge="br2", vlan=100, mac="m1", ip6="fd00::1"),
                Interface(
                    tap="mega_tap2", vlan=DISCONNECTED, mac="m2", shaping=Shaping(rate_bps=10**6, delay_us=100_000)
                ),
            ),
        ),
    )
)


@pytest.mark.parametrize(
    ("interfaces", "vlans", "expected"),
    [
        (
            LISTED,
            VLANS,
            {
                "vlan": "[foo//BAR (103), 100, disconnected]",
                "bridge": "[mega_bridge, br2, ]",
                "tap": "[mega_tap0, mega_tap1, mega_tap2]",
                "mac": "[m0, m1, m2]",
                "ip": "[10.0.0.1, , ]",
                "ip6": "[, fd00::1, ]",
                "qos": "[2: rate 1mbit delay 100ms]",
            },
        ),
        (LISTED, None, {"vlan": "[103, 100, disconnected]"}),
        (
            None,
            VLANS,
            {
                "vlan": "[LAN (101), 100, disconnected]",
                "bridge": "[mega_bridge, br2, ]",
                "tap": "[, , ]",
                "mac": "[02:00:00:00:00:01, , ]",
                "ip": "[, , ]",
                "ip6": "[, , ]",
                "qos": "[]",
            },
        ),
        (InterfaceList(guests=()), VLANS, {"vlan": "[LAN (101), 100, disconnected]"}),
    ],
)
def test_interfaces(interfaces: InterfaceList | None, vlans: VlanTable | None, expected: dict[str, str]) -> None:
    row = cells(guest(GuestKind.CONTAINER, VmConfig(networks=NETWORKS)), None, interfaces, vlans)
    assert picked(row, " ".join(expected)) == expected


def test_who_may_not_see_all_vlans_sees_the_names_of_his_own() -> None:
    networks = (Netspec(vlan=103, alias="exp1//LAN"), Netspec(vlan=100), Netspec(vlan=102, alias="exp2//WAN"))
    vm = guest(GuestKind.CONTAINER, VmConfig(networks=networks), namespace="exp1")
    assert cells(vm)["vlan"] == "[LAN (103), 100, exp2//WAN (102)]"
    assert cells(vm, None, LISTED)["vlan"] == "[LAN (103), 100, disconnected]"


def test_programs_get_the_interfaces() -> None:
    vms = VmList(vms=(guest(GuestKind.CONTAINER, VmConfig(networks=NETWORKS)),))
    answer = vm_info(Both(vms, (None, LISTED, VLANS)), Args({"summary": True}))
    assert [one["tap"] for one in answer.data[0]["interfaces"]] == ["mega_tap0", "mega_tap1", "mega_tap2"]


def test_programs_get_the_vms_themselves() -> None:
    data = vm_info(Both(VmList(vms=(guest(GuestKind.KVM, VmConfig(vcpus=2)),)), SILENT), Args({})).data
    assert (data[0]["name"], data[0]["config"]["vcpus"]) == ("web", 2)


def test_top() -> None:
    usage = VmUsage(
        vm_id=7,
        name="web",
        virt_bytes=3 * 2**20 + 5,
        res_bytes=2**20,
        shr_bytes=0,
        cpu_percent=150.456,
        vcpu_percent=0,
        time_s=61.9,
        processes=3,
    )
    rates = Rates(vms=(GuestRates(vm_id=7, rx_mbps=1.256, tx_mbps=0.5), GuestRates(vm_id=8, rx_mbps=9.0)))
    for also, shown in {rates: ("1.26", "0.50"), None: ("0.00", "0.00"), Rates(): ("0.00", "0.00")}.items():
        assert vm_top(Both(VmUsages(usages=(usage,)), also), Args({})).rows == [
            ("web", "3", "1", "0", "150.46", "0.00", "1m1s", "3", *shown)
        ]


@pytest.mark.parametrize(
    ("key", "header", "rows"),
    [
        (None, ("name", "tag", "value"), [("web", "a", "1"), ("web", "b", "2")]),
        ("all", ("name", "tag", "value"), [("web", "a", "1"), ("web", "b", "2")]),
        ("a", ("name", "value"), [("web", "1"), ("db", "")]),
        ("z", ("name", "value"), [("web", ""), ("db", "")]),
    ],
)
def test_tags(key: str | None, header: Row, rows: list[Row]) -> None:
    vms = VmList(
        vms=(
            guest(GuestKind.KVM, VmConfig(), tags={"b": "2", "a": "1"}),
            guest(GuestKind.KVM, VmConfig(), name="db"),
        )
    )
    answer = vm_tags(vms, Args({"key": key} if key else {}))
    assert (answer.header, answer.rows) == (header, rows)


def test_host() -> None:
    load = HostLoad(host="n1", cpus=2, load=(0.5, 1, 2), mem_total_mib=100, mem_used_mib=50, vms=3, uptime_s=1393.72)
    answer = host_answer(Both(load, Rates(rx_mbps=1.25, tx_mbps=20.0)), Args({}))
    assert " ".join(answer.header or ()) == (
        "cpus load memused memtotal rx tx vms vmlimit cpucommit memcommit netcommit uptime"
    )
    row = ("2", "0.50 1.00 2.00", "50", "100", "1.2", "20.0", "3", "-1", "0", "0", "0", "23m13.72s")
    assert list(answer.rows or ()) == [row]
    assert answer.data["Uptime"] == 1_393_720_000_000
    assert (answer.data["RxBps"], answer.data["TxBps"]) == (1.25, 20.0)
    assert host_answer(Both(load, None), Args({"name": True})).text == "n1"
    assert host_answer(Both(load, None), Args({"rx": True})).text == "0.0"


def test_the_queue() -> None:
    batches = (
        Batch(kind=GuestKind.KVM, names=("x1", "x2", "x3"), config=VmConfig()),
        Batch(kind=GuestKind.CONTAINER, names=("", ""), config=VmConfig(memory_mib=5)),
    )
    text = queue_text(Both(Queue(batches=batches), None), Args({})).text
    assert text.startswith("VMs: 3\nNames: x[1-3]\nVM Type: kvm\n\nVM configuration:\nMemory:           2048\n")
    assert "\nVMs: 2\nNames: \nVM Type: container\n\nVM configuration:\nMemory:           5\n" in text


# ---------------------------------------------------------------- vm config

EXAMPLES = {
    Shape.STRING: ("x",),
    Shape.UUID: ("6a80d50c-6d25-4f22-8626-2a26b88f55e1",),
    Shape.PATH: ("/x",),
    Shape.PROGRAM: ("/x",),
    Shape.UNSIGNED: ("3",),
    Shape.SIGNED: ("3",),
    Shape.BOOLEAN: ("false",),
    Shape.WORDS: ("a", "b c"),
    Shape.PATHS: ("/a", "/b c"),
    Shape.MAP: ("k", "v"),
    Shape.PATH_MAP: ("/k", "/v"),
    Shape.PAIRS: ("m", "r"),
    Shape.NETSPECS: ("br,7", "8,00:11:22:33:44:55"),
}
NAMES = [(param, name) for param in PARAMS for name in param.names]


@pytest.mark.parametrize(("param", "name"), NAMES, ids=[name for _, name in NAMES])
def test_every_parameter_is_set_shown_and_cleared(param: Any, name: str, tmp_path: Any) -> None:
    words = EXAMPLES[param.shape]
    match = GRAMMAR.parse(("vm", "config", name, *words))
    assert match.owner.request is not None
    assert match.owner.request(Args(match.values)) == SetConfig(param=param.name, words=words)
    shown = GRAMMAR.parse(("vm", "config", name))
    assert shown.owner is match.owner
    config = assign(VmConfig(), param.name, words, tmp_path)
    draft = Draft(config=config)
    text = shown.owner.answer(Both(draft, None) if shown.owner.also else draft, Args(shown.values)).text
    assert all(word in text for word in words)
    assert shown.owner.answer(Both(Ack(), None) if shown.owner.also else Ack(), Args(shown.values)).text == ""
    cleared = GRAMMAR.parse(("clear", "vm", "config", name))
    assert cleared.owner.request is not None
    assert cleared.owner.request(Args(cleared.values)).param == param.name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vm config tags k", None),
        ("vm config tags k v", ("k", "v")),
        ("vm config hostname", None),
        ('vm config hostname ""', ("",)),
        ("vm config snapshot t", ("true",)),
    ],
)
def test_a_value_is_told_from_a_question(line: str, words: tuple[str, ...] | None) -> None:
    match = GRAMMAR.parse([word.strip('"') for word in line.split()])
    assert match.owner.request is not None
    request = match.owner.request(Args(match.values))
    assert (request.words if isinstance(request, SetConfig) else None) == words


def test_saved_names() -> None:
    answer = GRAMMAR.parse(("vm", "config", "restore")).owner.answer
    assert answer(SavedConfigs(names=("a", "b")), Args({})).text == "a\nb"
    assert answer(SavedConfigs(names=()), Args({})).error == "no vm configs saved"


@pytest.mark.parametrize("word", ["xyz", "1.5", "-1", "", "3601", "9" * 30])
def test_a_window_is_a_number_of_seconds(word: str) -> None:
    match = GRAMMAR.parse(("vm", "top", word))
    assert match.owner.request is not None
    with pytest.raises(ValueError, match="invalid number of seconds"):
        match.owner.request(Args(match.values))
