"""The PyPI package `minimega`, unmodified: its methods for servers and leases of addresses, where there is one."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

from tests.contract.minimega_client import VERSIONS, load
from tests.system.product import product_on
from tests.system.test_minimega_client import Values, called, connected, needs_addresses, served

SERVER = ("10.77.0.1", "10.77.0.10", "10.77.0.20")
TAKEN = "dnsmasq 0 listens on 10.77.0.1 already"
FAILS = {
    "dnsmasq start <listen address> <low dhcp range> <high dhcp range>": TAKEN,
    "dnsmasq start <listen address> <low dhcp range> <high dhcp range> <config>": TAKEN,
}
"""Another one for the same addresses is rightly refused."""


@pytest.fixture(scope="module", params=VERSIONS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    """A version of the client."""
    return load(request.param)


def test_every_method_for_addresses_works(module: ModuleType, base_dir: Path, rootfs: Path) -> None:
    tap = f"mbd{os.getpid()}"
    with product_on(base_dir, rootfs) as product:
        config = base_dir / "dnsmasq.conf"
        config.write_text("port=0\n")
        words = {
            **dict(zip(("listen address", "low dhcp range", "high dhcp range"), SERVER, strict=True)),
            **{"config": str(config), "ID": "0", "id or all": "all", "hostname": "web", "optionstring": "3,10.77.0.1"},
            **{"mac address": "00:16:3e:00:00:01", "ip": "10.77.0.5", "vlan": "LAN", "bridge": "mega_bridge"},
        }
        values = Values(base_dir, rootfs)
        with connected(module, product, raise_errors=False) as client, product.console() as console:
            console.ok(f"tap create LAN ip 10.77.0.1/24 {tap}", f"dnsmasq start {' '.join(SERVER)}")
            try:
                calls = sorted(
                    (call for call in served(module) if needs_addresses(*call)), key=lambda call: "kill" in call[0]
                )
                assert len(calls) == 17
                for method, variant in calls:
                    values.by_method[method] = words
                    errors = called(client, method, variant, values)
                    # the host is in that network already, so that a lease from it is refused
                    expected = FAILS.get(variant) or ("10.77.0." if variant.startswith("tap ") else "")
                    assert bool(errors) is bool(expected), (variant, errors)
                    assert all(expected in error for error in errors), (variant, errors)
                assert console.rows("dnsmasq") == []
            finally:
                console.ok("clear tap")
