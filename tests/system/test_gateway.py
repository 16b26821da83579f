"""`up --listen` and `minibus key`, as users have them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import bus
from bus.errors import BusError, DeniedError
from tests.ports import LOOPBACK, free_port
from tests.system.product import product_on, run, until


def test_a_key_opens_the_bus_until_it_is_revoked(base_dir: Path, rootfs: Path) -> None:
    address = f"tcp://{LOOPBACK}:{free_port()}"
    with product_on(base_dir, rootfs, up=False) as product:
        out = base_dir / "alice.toml"
        made = product.minibus("key", "make", "alice", "--role", "control", "--namespace", "exp1", "--out", out)
        assert made.status == 0  # before minibus runs: it does not know yet where it will listen
        done = product.minibus("up", "--detach", "--listen", address)
        assert (done.status, done.out, done.err) == (0, f"gateway: {address}\n", "")
        assert (product.ps()["gateway"]["state"], product.ps()["gateway"]["address"]) == ("running", address)
        with bus.connect_sync(address, key=out) as client:
            assert client.run("vm config memory 64", namespace="exp1").errors == ()
            with pytest.raises(DeniedError, match="not for the namespace `exp2`: only exp1"):
                client.run("vm info", namespace="exp2")
            (refused,) = client.run("shell id", namespace="exp1").errors
            assert "this key is limited to namespaces" in refused
            old = product.kill("gateway")
            product.replaced("gateway", old)
            until(lambda: answers(client), "the client goes on")
            assert product.minibus("key", "revoke", "alice").status == 0
            with pytest.raises(BusError):
                client.run("vm info", namespace="exp1")
        with pytest.raises(DeniedError, match="refuses the key alice"), bus.connect_sync(address, key=out):
            pass
        product.down("--guests")
        assert not (base_dir / "run" / "gateway").exists()


def answers(client: bus.BlockingClient) -> bool:
    """Whether a command is answered."""
    try:
        return client.run("vm info", namespace="exp1").errors == ()
    except BusError:
        return False


def test_an_address_of_another_host_keeps_minibus_from_starting(base_dir: Path) -> None:
    done = run("up", "--base", base_dir, "--detach", "--listen", "tcp://192.0.2.1:9200")
    assert "cannot listen on tcp://192.0.2.1:9200: this host has no such address" in done.sentence()
    assert run("nuke", "--yes", "--base", base_dir).status == 0


def test_a_port_that_is_taken_keeps_minibus_from_starting(base_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("up", "--base", base_dir, "--detach", "--listen", f"tcp://{LOOPBACK}:{port}")
        said = done.sentence()
    assert said.endswith(
        f"cannot listen on tcp://{LOOPBACK}:{port}: Address already in use (more in {base_dir}/log/minibus.log)"
    )
    done = run("nuke", "--yes", "--base", base_dir)
    assert (done.status, done.out.splitlines()[-1]) == (
        0,
        f"nothing of minibus is left on {base_dir}; its files, log and keys stay",
    )
