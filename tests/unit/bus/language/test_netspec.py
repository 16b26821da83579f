"""Netspecs, VLANs and MAC addresses as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.language import netspec
from bus.language.netspec import DRIVERS, NetspecError, Parsed, normalised_mac, parse, resolved, spec_text, vlan_text
from bus.messages.network import Netspec
from bus.messages.vlan import Vlan

MAC = "00:11:22:33:44:55"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("LAN", Parsed("LAN")),
        ("100", Parsed("100")),
        ("exp//LAN", Parsed("exp//LAN")),
        ("disconnected", Parsed("disconnected")),
        ("br,LAN", Parsed("LAN", "br")),
        ("br,100", Parsed("100", "br")),
        (",LAN", Parsed("LAN")),
        (f"LAN,{MAC}", Parsed("LAN", mac=MAC)),
        ("LAN,00-11-22-AA-bb-CC", Parsed("LAN", mac="00:11:22:aa:bb:cc")),
        ("LAN,0011.22AA.4455", Parsed("LAN", mac="00:11:22:aa:44:55")),
        ("LAN,e1000", Parsed("LAN", driver="e1000")),
        (f"br,LAN,{MAC}", Parsed("LAN", "br", MAC)),
        (f"LAN,{MAC},vmxnet3", Parsed("LAN", mac=MAC, driver="vmxnet3")),
        ("br,LAN,virtio-net-pci", Parsed("LAN", "br", driver="virtio-net-pci")),
        (f"br,LAN,{MAC},igb", Parsed("LAN", "br", MAC, "igb")),
        (f",5,{MAC},igb", Parsed("5", mac=MAC, driver="igb")),
        ("br0,virtual", Parsed("virtual", "br0")),
        ("br0,a-b-c", Parsed("a-b-c", "br0")),
        ("br0,cafe.babe", Parsed("cafe.babe", "br0")),
    ],
)
def test_parse(text: str, spec: Parsed) -> None:
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("", "VLAN must be non-empty string"),
        ("br,", "VLAN must be non-empty string"),
        (f"br,,{MAC}", "VLAN must be non-empty string"),
        ("4096", "invalid VLAN (0 <= vlan < 4096)"),
        ("-1", "invalid VLAN (0 <= vlan < 4096)"),
        ("a,b,c,d,e", "malformed netspec, `a,b,c,d,e` has more than the four fields bridge,vlan,mac,driver"),
        ("all,LAN", "`all` is a reserved word -- cannot use for bridge name"),
        ("-x,LAN", "invalid bridge name, `-x` is not 1 to 15 letters, digits, `_`, `-` and `.`, the last two not at"),
        ("..,LAN", "invalid bridge name, `..` is not 1 to 15 letters"),
        ("lo,LAN", "invalid bridge name, every network namespace has an interface `lo`"),
        ("a bridge,LAN", "invalid bridge name, `a bridge` is not 1 to 15 letters, digits, `_`, `-` and `.`"),
        ("bridge_too_long_,LAN", "invalid bridge name, `bridge_too_long_` is not"),
        ("LAN,bogusmac", "malformed netspec, invalid mac address: `LAN,bogusmac` would be a VLAN called `bogusmac`"),
        ("LAN,00:11:22:33:44", "malformed netspec, invalid mac address: `LAN,00:11:22:33:44` would be a VLAN called"),
        ("LAN,00:11:22:33:44:5g", "malformed netspec, invalid mac address: `LAN,00:11:22:33:44:5g` would be"),
        ("LAN,001122334455", "malformed netspec, invalid mac address: `LAN,001122334455` would be"),
        ("LAN,00-11-22-33-44", "malformed netspec, invalid mac address: `LAN,00-11-22-33-44` would be"),
        ("LAN,0011.2233.445", "malformed netspec, invalid mac address: `LAN,0011.2233.445` would be"),
        ("LAN,00:11:22:33:44:55:66:77", "malformed netspec, invalid mac address: 00:11:22:33:44:55:66:77 has 64 bits"),
        ("LAN,01:11:22:33:44:55", "malformed netspec, invalid mac address: 01:11:22:33:44:55 cannot be that of a"),
        ("LAN,00:00:00:00:00:00", "malformed netspec, invalid mac address: 00:00:00:00:00:00 cannot be that of a"),
        (
            "LAN,e100",
            "malformed netspec, invalid driver: `LAN,e100` would be a VLAN called `e100` on a bridge; did you",
        ),
        ("LAN,E1000", "malformed netspec, invalid driver: `LAN,E1000` would be"),
        ("LAN,virtio", "malformed netspec, invalid driver: `LAN,virtio` would be"),
        ("LAN,rtl8193", "malformed netspec, invalid driver: `LAN,rtl8193` would be"),
        ("LAN,qinq", "malformed netspec: `LAN,qinq` would be"),
        ("br,LAN,foo", "malformed netspec, invalid driver: foo"),
        ("br,LAN,", "malformed netspec, invalid driver: "),
        ("br,LAN,00:11", "malformed netspec, invalid mac address: 00:11; "),
        ("br,LAN,,e1000", "malformed netspec, invalid mac address: ; "),
        ("br,LAN,x,e1000", "malformed netspec, invalid mac address: x; "),
        (f"br,LAN,{MAC},foo", "malformed netspec, invalid driver: foo"),
        (f"LAN,{MAC},foo", "malformed netspec, invalid driver: foo"),
        (MAC, f"malformed netspec, `{MAC}` is a MAC address, which comes after the VLAN"),
        (f"{MAC},LAN", f"malformed netspec, `{MAC}` is a MAC address, which comes after the VLAN"),
    ],
)
def test_refused(text: str, beginning: str) -> None:
    with pytest.raises(NetspecError) as caught:
        parse(text)
    assert str(caught.value).startswith(beginning)


def test_so_many_interfaces() -> None:
    assert len(netspec.parse_all(["LAN"] * 64)) == 64
    with pytest.raises(NetspecError, match="a VM can have 64 network interfaces, not 65"):
        netspec.parse_all(["LAN"] * 65)


def test_what_was_typed_as_a_number_stays_one() -> None:
    vlan = Vlan(number=101, alias="minimega//LAN")
    assert resolved(parse("LAN"), vlan) == Netspec(vlan=101, alias="minimega//LAN")
    assert resolved(parse("101"), vlan) == Netspec(vlan=101)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Netspec(vlan=101), "mega_bridge,LAN (101)"),
        (Netspec(vlan=103), "mega_bridge,foo//BAR (103)"),
        (Netspec(vlan=101, alias="minimega//LAN"), "mega_bridge,LAN (101)"),
        (Netspec(vlan=103, alias="foo//BAR"), "mega_bridge,foo//BAR (103)"),
        (Netspec(vlan=101, alias="minimega//FORGOTTEN"), "mega_bridge,minimega//FORGOTTEN"),
        (Netspec(vlan=104, alias="minimega//FORGOTTEN"), "mega_bridge,minimega//FORGOTTEN"),
        (Netspec(vlan=7, bridge="br", mac=MAC), f"br,7,{MAC}"),
        (Netspec(vlan=-1, driver="igb"), "mega_bridge,disconnected,igb"),
    ],
)
def test_print(spec: Netspec, text: str) -> None:
    labels = netspec.vlan_labels({"minimega//LAN": 101, "foo//BAR": 103}, "minimega")
    assert spec_text(spec, labels) == text


def test_a_vlan_as_users_read_it() -> None:
    aliases = {"minimega//LAN": 101, "foo//BAR": 103}
    assert [vlan_text(number, aliases, "minimega") for number in (101, 103, 7, -1)] == [
        "LAN (101)",
        "foo//BAR (103)",
        "7",
        "disconnected",
    ]
    assert vlan_text(103, aliases, "foo") == "BAR (103)"


@pytest.mark.parametrize(
    "text", ["", "00:11:22:33:44", "00:11-22:33:44:55", "0:1:2:3:4:5", "001122334455", "\u0660" * 12]
)
def test_no_mac_address(text: str) -> None:
    with pytest.raises(NetspecError, match="invalid mac address"):
        normalised_mac(text)


@given(st.binary(min_size=6, max_size=6), st.sampled_from([(":", 1), ("-", 1), (".", 2)]), st.booleans())
def test_every_form_of_a_mac_address(octets: bytes, form: tuple[str, int], upper: bool) -> None:
    octets = bytes([octets[0] & 0xFE | 2]) + octets[1:]
    text = octets.hex(form[0], form[1])
    assert normalised_mac(text.upper() if upper else text) == octets.hex(":")


WORDS = st.sampled_from(["LAN", "br", "100", MAC, "e1000", "", "a//b", "00:11", "disconnected", *DRIVERS[:3]])


@given(st.lists(WORDS | st.text(max_size=8), max_size=5).map(",".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse(text)
    except NetspecError as error:
        assert str(error)
        return
    whole = resolved(spec, Vlan(number=5))
    assert resolved(parse(spec_text(whole, {})), Vlan(number=5)) == Netspec(
        vlan=5, bridge=whole.bridge, mac=whole.mac, driver=whole.driver
    )
