"""The PyPI package `minimega`, unmodified, its oldest and its newest version, against a running host."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.contract.minimega_client import VERSIONS, arguments, load, unserved, variants
from tests.system.product import Console, Product, product_on, until

FIRST = ("vm_launch", "vm_launch_container", "vm_launch_kvm")
"""Methods that need the configuration as it is at the beginning."""
LAST = ("clear_plumb", "clear_pipe", "file_delete", "vm_kill", "vm_flush", "clear_all")
"""Methods that take away what others need."""
ENDING = ("quit", "nuke")
"""Methods after which nobody answers."""
ELSEWHERE = ("cc", "clear_cc")
"""Methods that begin so need guests with agents: see test_minimega_client_agents.py."""


@pytest.fixture(scope="module", params=VERSIONS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    """A version of the client."""
    return load(request.param)


@contextlib.contextmanager
def connected(
    module: ModuleType, product: Product, *, raise_errors: bool = True, namespace: str | None = None
) -> Iterator[Any]:
    """A connection, closed afterwards, which the client leaves to the garbage collector."""
    client = module.connect(path=str(product.base / "minimega"), raise_errors=raise_errors, namespace=namespace)
    try:
        yield client
    finally:
        client._socketfile.close()
        client._socket.close()


def test_pipes(module: ModuleType, shared: Product) -> None:
    with connected(module, shared) as client, shared.console() as console:
        client.pipe_mode("chat", "round-robin")
        client.pipe("chat", "hello")
        client.plumb("chat", "copy")
        until(lambda: bool(client.pipe()[0]["Tabular"][0][2] == "1"), "the pipeline to read")
        client.pipe("chat", "again")
        (response,) = client.pipe()
        assert response["Header"][:6] == ["name", "mode", "readers", "writers", "via", "last message"]
        until(lambda: [row["last message"] for row in console.rows("pipe")] == ["again"] * 2, "the copy")
        assert [row[0] for row in client.plumb()[0]["Tabular"]] == ["chat copy"]
        client.clear_plumb()
        client.clear_pipe("chat")
        assert [row["name"] for row in console.rows("pipe")] == ["copy"]
        client.clear_pipe()
        assert console.rows("pipe") == []


# --- every method


QOS = {"interface": "0", "percent": "1", "duration": "1ms", "bw": "10"}


class Values:
    """Sensible words for the placeholders of the client's patterns."""

    def __init__(self, base: Path, rootfs: Path) -> None:
        self._numbers = itertools.count()
        self._base = base
        script = base / "script"
        script.write_text("# nothing\n")
        (base / "files").mkdir(exist_ok=True)
        (base / "files" / "a.txt").write_text("a")
        self.by_method: dict[str, dict[str, str]] = {
            "read": {"file": str(script)},
            "file_get": {"file": "a.txt"},
            "file_list": {"path": "/"},
            "file_delete": {"file": "a.txt"},
            "vm_config_filesystem": {"value": str(rootfs)},
            "vm_config_init": {"value": "/init"},
            "vm_config_uuid": {"value": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
            "vm_config_schedule": {"value": "localhost"},
            "vm_config_volume": {"key": "/data", "value": str(base / "files")},
            "vm_config_networks": {"netspec": "LAN"},
            "ns_add_hosts": {"hostname": "localhost"},
            "vm_config_save": {"name": "other"},
            "vm_config_restore": {"name": "small"},
            "plumb": {"src": "from", "dst": "to"},
            "clear_plumb": {"pipeline": "from to"},
            "log_syslog_remote": {"address": "127.0.0.1:5514"},
            "vlans_range": {"min": "300", "max": "400"},
            "vlans_blacklist": {"vlan": "500"},
            "clear_vlans": {"prefix": "nothing"},
            "tap_delete": {"tap": "all"},
            "clear_qos": {"tap index": "0"},
            "clear_tap_mirror": {"vm name": "web", "interface index or all": "all"},
            "tap_mirror": {"interface index": "0", "vm2 name": "web", "interface2 index": "0"},
            **{f"qos_add_{what}": QOS for what in ("delay", "loss", "rate")},
            "vm_net_connect": {"tap position": "0"},
            "vm_net_disconnect": {"tap position": "0"},
        }
        self._by_key: dict[str, Callable[[], str]] = {
            "vm": lambda: "web",
            "config": lambda: "small",
            "name": lambda: f"new{next(self._numbers)}",
            "value": lambda: "1",
            "command": lambda: "echo hello",
            "id": lambda: "1",
            "duration": lambda: "0",
            "size": lambda: "100",
            "file": lambda: str(base / f"out{next(self._numbers)}"),
            "filename": lambda: str(base / f"out{next(self._numbers)}"),
            "delay": lambda: "1",
            "vlan": lambda: str(1000 + next(self._numbers)),
            "alias": lambda: f"alias{next(self._numbers)}",
            "bridge": lambda: "br1",
            "interface": lambda: "eth-none",
            "tap": lambda: f"mbt{os.getpid() % 10_000}-{next(self._numbers)}",
            "ip": lambda: f"192.0.2.{next(self._numbers) % 250}/32",
        }

    def give(self, method: str, placeholder: str) -> str:
        """A word for a placeholder of a method."""
        key = placeholder.split()[0]
        own = self.by_method.get(method, {})
        return own.get(placeholder) or own.get(key) or self._by_key.get(key, lambda: "x")()


NOTHING_QUEUED = "namespace must contain at least one queued VM to launch VMs"
NO_PLAN = "must run dry-run first"
NO_KVM = "this version cannot run KVM guests"
NO_SYSLOG = "Unix syslog delivery error"
FAILS = {
    "ns schedule": NOTHING_QUEUED,
    "ns schedule dry-run": NOTHING_QUEUED,
    "ns schedule dump": NO_PLAN,
    "ns schedule mv <vm target> <dst>": NO_PLAN,
    "vm launch": NOTHING_QUEUED,
    "vm launch kvm <name or count>": NO_KVM,
    "vm launch kvm <name or count> <config>": NO_KVM,
    "clear tap mirror <name>": "not a mirror: ",
    **{
        f"tap mirror {words}": "cannot mirror tap to itself"
        for words in (
            "<src name> <dst name>",
            "<src name> <dst name> <bridge>",
            "<vm name> <interface index> <vm2 name> <interface2 index>",
        )
    },
    "vm net add <vm target>": "which interfaces? expected netspecs",
    "bridge trunk <bridge> <interface>": "this host has no interface eth-none",
    "bridge notrunk <bridge> <interface>": "unknown trunk: eth-none",
    **({} if Path("/dev/log").exists() else {"log syslog local": NO_SYSLOG}),
}
"""Variants that rightly answer with an error, and what it must contain."""
MAY_FAIL = {
    f"qos add <vm target> <interface> {what}": "it has no sch_netem" for what in ("delay <duration>", "loss <percent>")
}
"""Variants that need more of the kernel than some have."""
CHOICES = {"log_syslog_remote": {"tcp_or_udp": "udp"}}
"""Options other than the first, where that needs more than a host."""


def called(client: Any, method: str, variant: str, values: Values) -> list[str]:
    """The errors that a call is answered with, over all its replies."""
    words = arguments(variant, lambda placeholder: values.give(method, placeholder))
    words |= CHOICES.get(method, {})
    groups = [getattr(client, method)(**words)]
    with contextlib.suppress(Exception):  # there are no more, which the client says by an exception
        groups += client.streamResponses()
    for group in groups:
        for response in group:
            assert set(response) == {"Host", "Response", "Header", "Tabular", "Error", "Data"}
    return [response["Error"] for group in groups for response in group if response["Error"]]


def is_elsewhere(method: str) -> bool:
    """Whether it is tested with agents."""
    return any(method == word or method.startswith(f"{word}_") for word in ELSEWHERE)


def needs_addresses(method: str, variant: str) -> bool:
    """Whether it is about servers and leases of addresses: see test_minimega_client_addresses.py."""
    return method.startswith("dnsmasq") or (method.startswith("tap_create") and "dhcp" in variant)


def served(module: ModuleType) -> list[tuple[str, str]]:
    """Name and pattern of every call that must work, in an order in which it can."""
    calls = [call for call in variants(module) if call[0] not in unserved() and not is_elsewhere(call[0])]
    order = {**{method: -1 for method in FIRST}, **{method: place for place, method in enumerate(LAST, 1)}}
    return sorted(calls, key=lambda call: order.get(call[0], 0))


def test_every_served_method_works(module: ModuleType, base_dir: Path, rootfs: Path) -> None:
    wrong: dict[str, list[str]] = {}
    with product_on(base_dir, rootfs) as product:
        with product.configured() as console:
            console.ok("vm config net LAN", "vm config save small", "vm launch container web")
        values = Values(base_dir, rootfs)
        with connected(module, product, raise_errors=False) as client:
            calls = [call for call in served(module) if call[0] not in ENDING and not needs_addresses(*call)]
            assert len(calls) > 100
            for method, variant in calls:
                errors = called(client, method, variant, values)
                expected = FAILS.get(variant) or (MAY_FAIL.get(variant) if errors else None)
                if (not errors) if expected else errors:
                    wrong[variant] = errors
                assert all(expected in error for error in errors if expected), (variant, errors)
            assert wrong == {}
            assert client.quit(1)[0]["Response"].startswith("quitting after 1 second")
        until(lambda: not product.pid("node"), "the end after `quit 1`")


@pytest.mark.parametrize("method", sorted(set(ENDING) - set(unserved())))
def test_methods_that_end_everything(module: ModuleType, base_dir: Path, rootfs: Path, method: str) -> None:
    with product_on(base_dir, rootfs) as product:
        product.configured().close()
        with connected(module, product) as client:
            client.vm_launch_container("a")
            with pytest.raises((UnboundLocalError, ConnectionError)):  # the client stumbles over the missing answer
                getattr(client, method)()
        until(lambda: not product.pid("node") and not product.guests_left(), f"the end after `{method}`")


# --- an experiment


def test_an_experiment(
    module: ModuleType, shared: Product, console: Console, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected(module, shared) as mm:
        mm.clear_vm_config()
        mm.vm_config_filesystem(str(shared.rootfs))
        mm.vm_config_memory(32)
        mm.vm_config_tags("role", "web")
        mm.vm_config_save("small")
        mm.vm_config_tags("role", "db")
        mm.vm_launch_container("db")
        mm.vm_launch_container("web[1-2]", "small")
        mm.vm_start("all")
        mm.vm_tag("db", "disk", "full")
        vms = {row["name"]: row for row in module.as_dict(mm.vm_info()[0])}
        assert {name: (row["state"], row["memory"], row["tags"]) for name, row in vms.items()} == {
            "db": ("RUNNING", "32", '{"disk":"full","role":"db"}'),
            "web1": ("RUNNING", "32", '{"role":"web"}'),
            "web2": ("RUNNING", "32", '{"role":"web"}'),
        }
        capsys.readouterr()
        module.print_rows(mm._run(".columns", "name,state", ".filter", "name~web", "vm", "info"))
        assert sorted(capsys.readouterr().out.splitlines()) == ["['web1', 'RUNNING']", "['web2', 'RUNNING']"]
        assert mm.vm_config_tags()[0]["Response"] == "role -> db"
        mm.vm_config_clone("web1")
        assert mm.vm_config_tags("role")[0]["Response"] == "web"
        mm.vm_config_restore("small")
        assert "small" in mm.vm_config_restore()[0]["Response"].split()
        mm.vm_stop("web1")
        mm.vm_kill("web2")
        mm.vm_flush()
        states = {row["name"]: row["state"] for row in module.as_dict(mm.vm_info("summary")[0])}
        assert states == {"db": "RUNNING", "web1": "PAUSED"}
        launches = module.as_dict(mm.ns_schedule_status()[0])
        assert [launch["launched"] for launch in launches][-1] == "2"
        mm.vm_kill("all")
        mm.vm_flush("all")
        assert module.as_dict(mm.vm_info()[0]) == []


def test_a_planned_launch(module: ModuleType, shared: Product, console: Console) -> None:
    with connected(module, shared) as mm:
        host = mm.host_name()[0]["Response"]
        mm.ns_queueing("true")
        mm.vm_launch_container("web[1-2]")
        mm.ns_load_memcommit()
        plan = [{"vm": "web1", "dst": host}, {"vm": "web2", "dst": host}]
        assert module.as_dict(mm.ns_schedule_dry_run()[0]) == plan
        with pytest.raises(module.Error, match="new dst host is not in namespace: elsewhere"):
            mm.ns_schedule_mv("web1", "elsewhere")
        mm.ns_schedule_mv("web1", host)
        assert module.as_dict(mm.ns_schedule_dump()[0]) == plan
        assert module.as_dict(mm.vm_info()[0]) == []
        mm.ns_schedule()
        assert {row["name"]: row["state"] for row in module.as_dict(mm.vm_info()[0])} == {
            "web1": "BUILDING",
            "web2": "BUILDING",
        }
        run = module.as_dict(mm.ns_schedule_status()[0])[-1]
        assert (run["state"], run["launched"], run["failures"], run["total"], run["hosts"]) == (
            "completed",
            *("2", "0", "2", "1"),
        )
        mm.ns_queueing("false")
        mm.ns_load_cpucommit()


def test_namespaces_of_the_client(module: ModuleType, shared: Product, console: Console) -> None:
    with connected(module, shared) as mm:
        with mm.namespace("clients") as inner:
            inner.vm_config_filesystem(str(shared.rootfs))
            inner.vm_config_memory(32)
            inner.vm_launch_container("inside")
            mm.vm_launch_container("outside")
            assert [row["name"] for row in module.as_dict(inner.vm_info()[0])] == ["inside"]
        assert [row["name"] for row in module.as_dict(mm.vm_info()[0])] == ["outside"]
        with mm.namespace("clients") as inner:
            inner.vm_kill("all")
            inner.vm_flush()
    with connected(module, shared, namespace="clients") as mm:
        assert [row["name"] for row in module.as_dict(mm.vm_info()[0])] == []
        mm.vm_launch_container("bound")
        assert [row["name"] for row in module.as_dict(mm.vm_info()[0])] == ["bound"]
    assert "bound" not in console.states()
    console.ok("clear namespace clients")


def test_answers_in_several_parts(module: ModuleType, shared: Product, console: Console, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo one\n# a comment\necho two\nvm config memory\nvm start nobody\necho three\n")
    with connected(module, shared, raise_errors=False) as mm:
        first = mm.read(str(script))
        with pytest.raises(module.Error, match="more responses to be read"):
            mm.version()
        groups = [first, *mm.streamResponses()]
        assert [response["Response"] for group in groups for response in group] == ["one", "two", "32", "", "three"]
        assert [bool(response["Error"]) for group in groups for response in group] == [False] * 3 + [True, False]
        mm.read(str(script))
        module.discard(mm)
        module.discard(mm)
        assert mm.read(str(script), "check") == []
        assert "minibus" in mm.version()[0]["Response"]


def test_errors_are_raised_if_wanted(module: ModuleType, shared: Product, console: Console) -> None:
    with connected(module, shared) as mm:
        with pytest.raises(module.Error, match=r"^vm not found: nobody$"):
            mm.vm_start("nobody")
        with pytest.raises(module.Error, match="invalid command: `vm launch nonsense x`"):
            mm._run("vm", "launch", "nonsense", "x")
        with pytest.raises(module.Error, match="missing terminal"):
            mm.echo('"open')
        assert mm.echo("still here")[0]["Response"] == "still here"
    with connected(module, shared, raise_errors=False) as mm:
        (response,) = mm.vm_start("nobody")
        assert response["Error"] == "vm not found: nobody"
        assert mm.echo("# only a comment")[0]["Response"] == ""


def test_two_clients_of_different_versions_do_not_meet(shared: Product, console: Console) -> None:
    with contextlib.ExitStack() as stack:
        old, new = (stack.enter_context(connected(load(version), shared)) for version in VERSIONS)
        old._run("namespace", "of-old")
        old._run(".csv", "true")
        assert new._run("namespace")[0]["Tabular"] is not None
        new.echo("typed by the new one")
        assert "typed by" not in old.history()[0]["Response"]
        assert old._run(".csv")[0]["Response"] == "true"
        assert new._run(".csv")[0]["Response"] == "false"
