"""The table of `vm config` parameters: setting, printing, clearing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.language import vm_config
from bus.language.vm_config import PARAMS, VmConfigError
from bus.messages.network import Netspec
from bus.messages.vm import GuestKind, VmConfig

FILES = Path("/base/files")
DEFAULT = VmConfig()

FULL = """\
VM configuration:
Memory:           2048
VCPUs:            1
Networks:         [mega_bridge,LAN (101) br2,100,00:11:22:33:44:55,igb]
Snapshot:         true
UUID:             {}
Schedule host:    {}
Coschedule limit: -1
Backchannel:      true
Tags:             {{"a":"b"}}

KVM configuration:
Migrate Path:       {}
Disk Paths:         [/a /b]
CDROM Path:         {}
Kernel Path:        {}
Initrd Path:        {}
Kernel Append:      []
QEMU Path:          {}
QEMU Append:        []
QEMU Overrides:     [std -> qxl]
CPU:                host
SerialPorts:        0
Virtio-SerialPorts: 0

Container configuration:
Filesystem Path: {}
Hostname:        {}
Init:            [/init]
Pre-init:        {}
FIFOs:           0
Volumes:         {}
                 /data -> /host/dir
Processes:       4096
Seccomp:         true
""".format(*[""] * 11)


@pytest.mark.parametrize(
    ("name", "words", "field", "value"),
    [
        ("memory", ("512",), "memory_mib", 512),
        ("vcpus", ("4",), "vcpus", 4),
        ("coschedule", ("-1",), "coschedule", -1),
        ("coschedule", ("+3",), "coschedule", 3),
        ("snapshot", ("false",), "snapshot", False),
        ("seccomp", ("false",), "seccomp", False),
        ("filesystem", ("rootfs",), "filesystem", "/base/files/rootfs"),
        ("filesystem", ("/rootfs",), "filesystem", "/rootfs"),
        ("filesystem", ("",), "filesystem", ""),
        ("preinit", ("prepare.sh",), "preinit", "/base/files/prepare.sh"),
        ("qemu", ("kvm",), "qemu", "kvm"),
        ("qemu", ("bin/kvm",), "qemu", "/base/files/bin/kvm"),
        ("disk", ("a", "/b"), "disks", ("/base/files/a", "/b")),
        ("disks", ("a",), "disks", ("/base/files/a",)),
        ("state", ("s",), "migrate", "/base/files/s"),
        ("net", ("7", "br,100"), "networks", (Netspec(vlan=7), Netspec(bridge="br", vlan=100))),
        ("networks", ("7,igb",), "networks", (Netspec(vlan=7, driver="igb"),)),
        ("init", ("/sbin/init", "-v", "2"), "init", ("/sbin/init", "-v", "2")),
        ("tags", ("k", ""), "tags", {"k": ""}),
        ("volume", ("/data", "shared"), "volumes", {"/data": "/base/files/shared"}),
        ("qemu-override", ("a", "b"), "qemu_overrides", (("a", "b"),)),
        ("uuid", ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",), "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("uuid", ("{a0eebc999c0b4ef8bb6d6bb9bd380a11}",), "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("uuid", ("",), "uuid", ""),
    ],
)
def test_assign(name: str, words: tuple[str, ...], field: str, value: object) -> None:
    changed = vm_config.assign(DEFAULT, name, words, FILES)
    assert getattr(changed, field) == value
    assert msgspec.structs.replace(changed, **{field: getattr(DEFAULT, field)}) == DEFAULT


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("memory", ("x",), 'strconv.ParseUint: parsing "x": invalid syntax'),
        ("memory", ("-1",), 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("memory", ("\u0663",), 'strconv.ParseUint: parsing "\u0663": invalid syntax'),
        ("memory", ("99999999999999999999",), 'strconv.ParseUint: parsing "99999999999999999999": value out of range'),
        ("memory", ("9" * 9999,), f'strconv.ParseUint: parsing "{"9" * 80}": value out of range'),
        ("memory", ("2000000000",), "memory must be between 0 and 1073741824, not 2000000000"),
        ("vcpus", ("0",), "vcpus must be between 1 and 65536, not 0"),
        ("coschedule", ("x",), 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("coschedule", ("-2",), "coschedule must be between -1 and 2147483648, not -2"),
        ("snapshot", ("yes",), "snapshot must be true or false, not `yes`"),
        ("uuid", ("xyz",), "`xyz` is not a UUID"),
        ("filesystem", ("a\0b",), "filesystem must not contain a NUL character"),
        ("filesystem", ("a", "b"), "filesystem takes one value, not 2"),
        ("init", (), "init needs a value"),
        ("tags", ("k",), "tags takes two values, the first not empty"),
        ("tags", ("", "v"), "tags takes two values, the first not empty"),
        ("tags", ("all", "v"), "tags cannot have the key `all`, which is a reserved word"),
        ("net", ("LAN",), "the VLAN `LAN` is not a number"),
        ("net", ("5000",), "invalid VLAN (0 <= vlan < 4096)"),
        (
            "net",
            ("1", "1,2,3,4,5"),
            "malformed netspec, `1,2,3,4,5` has more than the four fields bridge,vlan,mac,driver",
        ),
        ("nope", ("1",), "there is no vm config parameter `nope`"),
    ],
)
def test_refused(name: str, words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(VmConfigError) as caught:
        vm_config.assign(DEFAULT, name, words, FILES)
    assert str(caught.value) == sentence


def test_maps_and_overrides_grow() -> None:
    config = vm_config.assign(DEFAULT, "tags", ("a", "1"), FILES)
    config = vm_config.assign(config, "tags", ("b", "2"), FILES)
    config = vm_config.assign(config, "qemu-override", ("x", "y"), FILES)
    config = vm_config.assign(config, "qemu-override", ("x", "z"), FILES)
    assert config.tags == {"a": "1", "b": "2"}
    assert config.qemu_overrides == (("x", "y"), ("x", "z"))
    assert DEFAULT.tags == {}


LABELS = {101: "LAN (101)"}
CONFIG = VmConfig(
    networks=(
        Netspec(vlan=101, alias="minimega//LAN"),
        Netspec(bridge="br2", vlan=100, mac="00:11:22:33:44:55", driver="igb"),
    ),
    tags={"a": "b"},
    disks=("/a", "/b"),
    qemu_overrides=(("std", "qxl"),),
    volumes={"/data": "/host/dir"},
)


@pytest.mark.parametrize(
    ("name", "key", "text"),
    [
        ("memory", "", "2048"),
        ("snapshot", "", "true"),
        ("filesystem", "", ""),
        ("disk", "", "[/a /b]"),
        ("net", "", "[mega_bridge,LAN (101) br2,100,00:11:22:33:44:55,igb]"),
        ("append", "", ""),
        ("tags", "", "a -> b"),
        ("tags", "a", "b"),
        ("tags", "c", ""),
        ("volume", "/data", "/host/dir"),
        ("qemu-override", "", 'id\tmatch\treplacement\n0\t"std"\t"qxl"'),
    ],
)
def test_show(name: str, key: str, text: str) -> None:
    assert vm_config.show(CONFIG, name, key, LABELS) == text


def test_layout() -> None:
    assert vm_config.layout(CONFIG, labels=LABELS) == FULL


def test_layout_of_a_kind_leaves_the_other_out() -> None:
    text = vm_config.layout(CONFIG, GuestKind.CONTAINER, LABELS)
    assert "KVM" not in text
    assert vm_config.layout(CONFIG, GuestKind.KVM, LABELS) in FULL
    assert text == FULL[: FULL.index("KVM")] + FULL[FULL.index("Container") :]


def test_clear() -> None:
    config = msgspec.structs.replace(CONFIG, tags={"a": "b", "c": "d"})
    assert vm_config.clear(config) == DEFAULT
    assert vm_config.clear(config, "tags", "a").tags == {"c": "d"}
    assert vm_config.clear(config, "tags", "nope").tags == config.tags
    assert vm_config.clear(config, "tags", "all").tags == {}
    assert vm_config.clear(config, "networks") == msgspec.structs.replace(config, networks=())
    with pytest.raises(VmConfigError, match="memory has no keys"):
        vm_config.clear(config, "memory", "a")


def test_every_field_has_one_parameter() -> None:
    assert sorted(param.field for param in PARAMS) == sorted(VmConfig.__struct_fields__)
    names = [name for param in PARAMS for name in param.names]
    assert len(set(names)) == len(names)


@given(st.sampled_from(PARAMS), st.lists(st.text(max_size=12) | st.just("1"), max_size=3))
def test_any_words_give_a_configuration_or_a_sentence(param: vm_config.Param, words: list[str]) -> None:
    try:
        config = vm_config.assign(DEFAULT, param.name, tuple(words), FILES)
    except VmConfigError as error:
        assert str(error)
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=VmConfig) == config
    vm_config.show(config, param.name)
    vm_config.layout(config)
