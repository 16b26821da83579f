"""Root inside a container tries to act on networks that it is not plugged in to; see `hostile/netns.c`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.product import Console, Product, shell_init, until

OWN = {"own_list", "own_change", "name_own"}
"""What it may do with its own interfaces, and giving its own network namespace a number."""
REACHED = {
    "look",
    "list",
    "addresses",
    "create_bridge",
    "destroy",
    "create_pair",
    "destroy_pair",
    "destroy_lo",
    "span",
    "move",
}
"""What a guest can do in the namespace of all guests' networks that keeps its rights in the host's user namespace."""


@pytest.fixture
def guest(shared: Product, console: Console) -> Console:
    """Configured for two interfaces; a second guest stands beside it."""
    console.ok("vm config init /bin/sleep 1000", "vm config net OTHER", "vm launch container other", "vm start other")
    return console


def attacked(product: Product, console: Console, kit: Path, *more: str) -> dict[str, str]:
    """What came of each attack."""
    console.ok(shell_init("ip link show >/links; /kit/netns >/part; mv /part /out; sleep 1000"))
    console.ok(f"vm config volume /kit {kit}", "vm config net LAN OTHER", *more)
    console.ok("vm launch container hostile", "vm start hostile")
    out = product.inside(console.vm("hostile")["id"]) / "out"
    until(out.exists, "the end of the attacks")
    return dict(line.split() for line in out.read_text().splitlines())


def test_no_network_but_its_own_is_reached(shared: Product, guest: Console, kit: Path) -> None:
    found = attacked(shared, guest, kit)
    assert {name for name, how in found.items() if how == "ok"} == OWN | {"end"}, found
    assert {found[name] for name in REACHED - {"list"}} <= {"EACCES", "EPERM"}, found


def test_that_this_is_due_to_the_user_namespace(shared: Product, guest: Console, kit: Path) -> None:
    """Whoever trusts a guest with `vm config seccomp false` trusts it with this as well."""
    found = attacked(shared, guest, kit, "vm config seccomp false")
    assert {name for name, how in found.items() if how == "ok"} == OWN | REACHED | {"end"}, found
