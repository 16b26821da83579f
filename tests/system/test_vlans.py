"""VLANs, host taps and bridges of namespaces on a running host, and the end of a namespace that has some."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.product import CommandError, Console, Product, product_on, until


def ip(*words: str) -> str:
    """What ip(8) says, however it ends."""
    return subprocess.run(("ip", *words), capture_output=True, text=True, check=False).stdout


def numbers(console: Console, namespace: str = "minimega") -> dict[str, str]:
    """Number by alias."""
    return {row["alias"]: row["vlan"] for row in console.rows(f"namespace {namespace} vlans")}


@pytest.fixture
def net(shared: Product, console: Console) -> Iterator[Console]:
    """A connection; afterwards there are no VLANs, taps and bridges."""
    yield console
    console.ok("clear namespace", "clear all")
    assert console.rows("bridge") == []
    assert shared.tag not in ip("-oneline", "link"), "an interface of the host is left"
    assert (shared.base / "vlans").read_text() == ""


def test_vlans_outlive_their_owner(base_dir: Path, rootfs: Path) -> None:
    with product_on(base_dir, rootfs) as product, product.console() as console:
        _outlive(product, console)


def _outlive(shared: Product, net: Console) -> None:
    net.ok("vlans range 200 300", "vm config net LAN 205 exp//LAN", "vlans add DMZ 210", "vlans blacklist 203")
    net.ok("namespace exp vlans range 300 310", "namespace exp vm config net OWN minimega//LAN")
    before = [
        net.rows(line) for line in ("vlans", "vlans range", "vlans blacklist", "namespace", "namespace exp vlans")
    ]
    listing = (shared.base / "vlans").read_text()
    assert listing == (
        "Alias         VLAN\nexp//LAN      201\nexp//OWN      300\nminimega//DMZ 210\nminimega//LAN 200\n"
    )
    (shared.base / "vlans").unlink()
    old = shared.kill("namespace")
    shared.replaced("namespace", old)
    shared.everything_answers()
    after = [net.rows(line) for line in ("vlans", "vlans range", "vlans blacklist", "namespace", "namespace exp vlans")]
    assert after == before
    until(lambda: (shared.base / "vlans").exists(), "the list of VLANs")
    assert (shared.base / "vlans").read_text() == listing
    assert net.ok("vm config net") == "[mega_bridge,LAN (200) mega_bridge,205 mega_bridge,exp//LAN (201)]"
    assert "Networks:         [mega_bridge,OWN (300) mega_bridge,minimega//LAN (200)]" in net.ok(
        "namespace exp vm config"
    )


def test_a_mistake_changes_nothing(net: Console) -> None:
    net.ok("vm config net LAN")
    for line in ("vm config net NEW LAN,bogusmac", "vm config net NEW 4096", "vm config net NEW a//b//c"):
        net.error(line)
    assert net.error("vlans range 200 100") == "expected min < max: 200 is not below 100"
    assert net.error("vlans add NEW 5000") == "invalid VLAN (0 <= vlan < 4096)"
    assert net.error("vlans blacklist 101").startswith("vlan already in use: 101 is minimega//LAN")
    assert net.ok("vm config net") == "[mega_bridge,LAN (101)]"
    assert numbers(net) == {"LAN": "101"}


def test_taps_of_the_host(shared: Product, net: Console) -> None:
    made = net.ok("tap create LAN ip 198.51.100.1/24")
    named = f"mbt-{shared.tag}"
    assert net.ok(f"tap create LAN bridge br1 ip 2001:db8::1/64 {named}") == named
    assert {(row["bridge"], row["tap"], row["vlan"]) for row in net.rows("tap")} == {
        ("mega_bridge", made, "LAN (101)"),
        ("br1", named, "LAN (101)"),
    }
    assert net.rows("namespace exp tap") == []
    assert "198.51.100.1/24" in ip("-brief", "address", "show", "dev", made)
    assert "2001:db8::1/64" in ip("-brief", "address", "show", "dev", named)
    assert net.error(f"namespace exp tap delete {named}")
    assert net.error(f"tap create LAN name {named}")
    assert net.error("tap create NEW name lo")
    assert numbers(net) == {"LAN": "101"}, "what fails gives no number to a name"
    assert [(row["bridge"], row["vlans"]) for row in net.rows("bridge")] == [
        ("br1", "[LAN (101)]"),
        ("mega_bridge", "[LAN (101)]"),
    ]
    net.ok(f"tap delete {named}")
    assert ip("link", "show", "dev", named) == ""
    assert [row["bridge"] for row in net.rows("bridge")] == ["mega_bridge"]
    net.ok("clear vlans")
    assert [row["vlan"] for row in net.rows("tap")] == ["101"]
    net.ok("vm config net OTHER")
    assert numbers(net) == {"OTHER": "102"}, "a number that is in use is not given again"
    net.ok("clear tap")
    assert ip("link", "show", "dev", made) == ""


def test_the_end_of_one_of_two_busy_namespaces(shared: Product, net: Console) -> None:
    net.ok("namespace green vlans range 300 310", "namespace red vlans range 200 210")
    for name in ("red", "green"):
        net.ok(f"namespace {name}")
        net.ok(f"vm config filesystem {shared.rootfs}", "vm config memory 32", "vm config net LAN green//JOINT")
        net.ok("vm launch container a,b", "vm start a", f"tap create LAN name mb{name}-{shared.tag}")
    net.ok("clear namespace")
    stays = ("vm info", "tap", "vlans", "vlans range")
    before = [_still(net.rows(f"namespace green {line}")) for line in stays]
    assert numbers(net, "red") == {"LAN": "200"}
    assert numbers(net, "green") == {"JOINT": "300", "LAN": "301"}
    net.ok("clear namespace red")
    assert [_still(net.rows(f"namespace green {line}")) for line in stays] == before
    assert ip("link", "show", "dev", f"mbred-{shared.tag}") == ""
    assert ip("link", "show", "dev", f"mbgreen-{shared.tag}") != ""
    assert {row["vlans"] for row in net.rows("bridge")} == {"[green//JOINT (300) green//LAN (301)]"}
    assert [(row["namespace"], row["vlans"]) for row in net.rows("namespace")] == [
        ("green", "300-310"),
        ("minimega", "101-4096"),
    ]
    assert "red" not in (shared.base / "vlans").read_text()
    with pytest.raises(CommandError, match="unknown namespace: red"):
        net.ok("clear namespace red")
    net.ok("namespace red vlans range 200 201", "namespace red vm config net LAN")
    assert numbers(net, "red") == {"LAN": "200"}
    net.ok("clear namespace red", "clear namespace green")


def test_what_begins_in_a_namespace_that_was_destroyed(shared: Product, net: Console) -> None:
    """It is there again, so that whoever ends all namespaces ends this too."""
    name = f"mblost-{shared.tag}"
    net.ok("namespace lost")
    with shared.console() as other:
        other.ok("clear namespace lost")
    net.ok(f"tap create 100 name {name}")
    assert "lost" in {row["namespace"] for row in net.rows("namespace")}
    net.ok("clear namespace all")
    assert ip("link", "show", "dev", name) == ""
    for line, look in (("pipe foo bar", "pipe"), ("cc exec ls", "cc commands"), ("plumb a b", "plumb")):
        net.ok("namespace lost")
        with shared.console() as other:
            other.ok("clear namespace lost")
        net.ok(line)
        assert len(net.rows(look)) == 1
        net.ok("clear namespace all", "namespace lost")
        assert net.rows(look) == [], line
    net.ok("clear namespace lost")


def _still(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows without what passes by itself."""
    return [row | {"uptime": "", "ip": "", "ip6": ""} for row in rows]
