"""A container's life in the command language, and what the tables tell of it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import psutil

from shims.nuke import leftovers
from tests.system.product import VM_COLUMNS, Console, Product, product_on, shell_init, until

COUNT = "while :; do i=$((i+1)); echo $i >/count; sleep 0.02; done"


def counter(product: Product, vm_id: str) -> int:
    """How far the container that runs COUNT has come; 0 before it has begun."""
    path = product.inside(vm_id) / "count"
    return int(path.read_text() or 0) if path.exists() else 0


def counts_on(product: Product, vm_id: str) -> None:
    """Wait until the container has done something."""
    before = counter(product, vm_id)
    until(lambda: counter(product, vm_id) > before, "the container to count")


def test_life_of_a_container(shared: Product, console: Console) -> None:
    console.ok(shell_init(COUNT), "vm launch container web")
    built = console.vm("web")
    vm_id = built["id"]
    assert built["state"] == "BUILDING"
    assert counter(shared, vm_id) == 0
    console.ok("vm start web")
    assert console.vm("web") | {"uptime": ""} == built | {"state": "RUNNING", "uptime": ""}
    counts_on(shared, vm_id)

    console.ok("vm stop web")
    assert console.states() == {"web": "PAUSED"}
    stood = counter(shared, vm_id)
    before = psutil.Process(int(built["pid"])).cpu_times()
    console.ok("vm top 1")
    assert counter(shared, vm_id) == stood
    assert psutil.Process(int(built["pid"])).cpu_times() == before
    console.ok("vm start web")
    counts_on(shared, vm_id)

    console.ok("vm kill web")
    ended = console.vm("web")
    assert (ended["state"], ended["pid"], ended["console_port"]) == ("QUIT", "0", "0")
    assert not psutil.pid_exists(int(built["pid"]))
    assert shared.guests_left() == []
    (shared.inside(vm_id) / "kept").write_text("from before")

    console.ok(f"vm start {vm_id}")
    again = console.vm("web")
    assert again["state"] == "RUNNING"
    assert again["pid"] != built["pid"]
    same = {"state": "", "pid": "", "uptime": "", "console_port": ""}
    assert again | same == built | same
    assert (shared.inside(vm_id) / "kept").read_text() == "from before"
    counts_on(shared, vm_id)
    console.ok("vm kill web", "vm flush")
    assert console.rows() == []


def test_the_overlay_keeps_what_a_container_wrote(shared: Product, console: Console) -> None:
    console.ok(shell_init("echo x >>/log; wc -l </log >/lines"), "vm launch container x")
    for run in range(1, 4):
        console.ok("vm start x")
        until(lambda: console.states() == {"x": "QUIT"}, "its init to end")
        assert (shared.inside(console.vm("x")["id"]) / "lines").read_text().strip() == str(run)
    assert not (shared.rootfs / "log").exists()


def test_an_init_that_ends_well(console: Console) -> None:
    console.ok(shell_init("exit 0"), "vm launch container x", "vm start x")
    until(lambda: console.states() == {"x": "QUIT"}, "its init to end")
    assert console.vm("x")["tags"] == "{}"


def test_an_init_that_fails(console: Console) -> None:
    console.ok(shell_init("exit 7"), "vm launch container x", "vm start x")
    until(lambda: console.states() == {"x": "ERROR"}, "its init to end")
    assert json.loads(console.vm("x")["tags"]) == {"error": "killed container: exit status 7"}
    console.ok("vm start x")
    until(lambda: console.states() == {"x": "ERROR"}, "its init to end again")


def test_the_error_goes_when_a_later_start_succeeds(shared: Product, console: Console) -> None:
    console.ok(shell_init("test -e /well && sleep 1000; exit 1"), "vm launch container x", "vm start x")
    until(lambda: console.states() == {"x": "ERROR"}, "its init to end")
    (shared.inside(console.vm("x")["id"]) / "well").touch()
    console.ok("vm start x")
    assert (console.vm("x")["state"], console.vm("x")["tags"]) == ("RUNNING", "{}")
    console.ok("vm kill x")


def test_an_init_that_is_killed(console: Console) -> None:
    console.ok("vm launch container x", "vm start x")
    psutil.Process(int(console.vm("x")["pid"])).kill()
    until(lambda: console.states() == {"x": "ERROR"}, "its init to end")
    assert json.loads(console.vm("x")["tags"]) == {"error": "killed container: signal: killed"}


def test_a_memory_hog(console: Console) -> None:
    console.ok("vm config memory 16", "vm config init /bin/tail /dev/zero", "vm launch container x", "vm start x")
    until(lambda: console.states() == {"x": "ERROR"}, "it to be killed")
    assert json.loads(console.vm("x")["tags"]) == {
        "error": "killed container: signal: killed, out of memory (limit 16 MiB)"
    }


def test_names_ranges_counts_and_targets(console: Console) -> None:
    console.ok("vm launch container foo[0-2,9]", "vm launch container 2", "vm launch container pad[08-10],solo")
    names = ["foo0", "foo1", "foo2", "foo9", "vm-0", "vm-1", "pad08", "pad09", "pad10", "solo"]
    assert list(console.states()) == names
    console.ok("vm start foo[0-2],solo,vm-1")
    running = {"foo0", "foo1", "foo2", "solo", "vm-1"}
    assert {name for name, state in console.states().items() if state == "RUNNING"} == running
    by_id = console.vm("pad09")["id"]
    console.ok(f"vm start {by_id}", "vm stop all")
    assert {name for name, state in console.states().items() if state == "PAUSED"} == running | {"pad09"}
    console.ok("vm kill foo[0-2],foo9")
    assert console.error("vm start foo0,nosuch") == "vm not found: nosuch"
    assert console.vm("foo0")["state"] == "RUNNING"
    console.ok("vm start all")
    assert console.vm("foo1")["state"] == "QUIT", "`all` starts no ended VM"
    console.ok("vm kill all", "vm flush")
    console.ok("vm launch container 1", "vm kill all")
    assert list(console.states()) == ["vm-2"], "a generated name is never used again"


def test_tags(console: Console) -> None:
    console.ok("vm config tags role web", "vm launch container a,b", "clear vm config tags")
    console.ok('vm tag a place "here and there"', "vm tag all n 1")
    assert console.rows("vm tag a") == [
        {"name": "a", "tag": "n", "value": "1"},
        {"name": "a", "tag": "place", "value": "here and there"},
        {"name": "a", "tag": "role", "value": "web"},
    ]
    assert console.rows("vm tag all place") == [
        {"name": "a", "value": "here and there"},
        {"name": "b", "value": ""},
    ]
    console.ok("clear vm tag a place")
    assert json.loads(console.vm("a")["tags"]) == {"n": "1", "role": "web"}
    console.ok("clear vm tag b")
    assert json.loads(console.vm("b")["tags"]) == {}
    assert json.loads(console.vm("a")["tags"]) == {"n": "1", "role": "web"}
    console.ok("vm kill all")


def test_save_restore_and_clone(shared: Product, console: Console) -> None:
    console.ok("vm config memory 24", "vm config vcpus 2", "vm config volume /mnt/x /etc", "vm config save small")
    printed = console.ok("vm config")
    assert "\nMemory:           24\nVCPUs:            2\n" in printed
    console.ok("clear vm config")
    assert "\nMemory:           2048\nVCPUs:            1\n" in console.ok("vm config")
    console.ok("vm config restore small")
    assert console.ok("vm config") == printed
    assert console.ok("vm config restore").splitlines() == ["small"]
    console.ok("vm launch container a", "clear vm config", "vm config clone a")
    assert console.ok("vm config") == printed, "the host name and the UUID that it was given stay behind"
    console.ok("vm launch container b", "vm kill all")
    assert [row["hostname"] for row in console.rows()] == ["a", "b"]
    (shared.base / "files").joinpath("x").mkdir(exist_ok=True)


def test_queueing(console: Console) -> None:
    console.ok("ns queueing true", "vm launch container a", "vm config memory 40", "vm launch container b[1-2]")
    assert console.rows() == []
    queued = console.ok("ns queue")
    assert "Names: a\n" in queued and "Names: b[1-2]\n" in queued and "VMs: 2\n" in queued
    assert console.error("vm launch container b2") == "vm already queued with name `b2`"
    console.ok("vm launch", "ns queueing false")
    assert {row["name"]: row["memory"] for row in console.rows()} == {"a": "32", "b1": "40", "b2": "40"}
    console.ok("vm kill all")


def test_columns(shared: Product, console: Console) -> None:
    uuid = "7a4a1a0f-8bd3-4d02-86a4-43f4e0d3a7a9"
    console.ok(f"vm config uuid {uuid}", "vm config fifos 2", "vm config volume /mnt/x /etc", "vm config tags k v")
    console.ok("vm launch container web")
    assert console.header("vm info") == VM_COLUMNS.split()
    assert console.header("vm info summary") == ["id", "name", "state", "type", "uuid", "cc_active", "vlan"]
    (row,) = console.rows()
    assert re.fullmatch(r"[0-9.]+m?s", row.pop("uptime"))
    assert int(row.pop("pid")) in psutil.pids()
    vm_id = row.pop("id")
    assert vm_id in shared.directories()
    console_port = row.pop("console_port")
    assert 1024 <= int(console_port) <= 65535
    kvm_only = ["disk", "initrd", "kernel", "cdrom", "migrate", "append", "serial-ports", "virtio-ports", "vnc_port"]
    assert row == {
        "name": "web",
        "state": "BUILDING",
        "type": "container",
        "uuid": uuid,
        "cc_active": "false",
        **{column: "[]" for column in ("vlan", "bridge", "tap", "mac", "ip", "ip6", "qos")},
        "memory": "32",
        "vcpus": "1",
        "snapshot": "true",
        **{column: "N/A" for column in kvm_only},
        "filesystem": str(shared.rootfs),
        "hostname": "web",
        "init": "[/init]",
        "preinit": "",
        "fifo": "2",
        "volume": '{"/mnt/x":"/etc"}',
        "tags": '{"k":"v"}',
    }
    printed = shared.minibus("exec", ".columns name,state vm info").out
    host = socket.gethostname()
    width = max(len(host), 4)
    assert printed == f"{'host':{width}} | name | state\n{host:{width}} | web  | BUILDING\n"
    instance = shared.base / vm_id
    assert (instance / "name").read_text() == "web"
    assert (instance / "uuid").read_text() == f"{uuid}\n"
    assert (instance / "state").read_text() == "BUILDING"
    console.ok("vm kill web")
    assert (instance / "state").read_text() == "QUIT"
    console.ok("vm flush")
    assert not instance.exists()


def test_top(console: Console) -> None:
    console.ok(shell_init("while :; do :; done"), "vm launch container busy", "clear vm config init")
    console.ok("vm launch container calm", "vm start all")
    assert console.header("vm top 0") == ["name", "virt", "res", "shr", "cpu", "vcpu", "time", "procs", "rx", "tx"]
    busy, calm = console.rows("vm top 1")
    assert (busy["name"], calm["name"], busy["procs"]) == ("busy", "calm", "1")
    assert float(busy["cpu"]) > 10 > float(calm["cpu"])
    console.ok("vm kill all")


def test_two_namespaces_do_not_touch_each_other(console: Console) -> None:
    console.ok("vm launch container same,only", "vm start same")
    console.ok("namespace other")
    assert console.rows() == []
    assert console.ok("vm config memory") == "2048", "each namespace has its own configuration"
    filesystem = console.ok("namespace minimega vm config filesystem")
    console.ok(
        f"vm config filesystem {filesystem}", "vm launch container same", "vm start same", "vm tag same where other"
    )
    assert console.error("vm stop only") == "vm not found: only"
    console.ok("vm stop all")
    assert console.states() == {"same": "PAUSED"}
    console.ok("namespace minimega")
    assert console.states() == {"same": "RUNNING", "only": "BUILDING"}
    assert console.vm("same")["tags"] == "{}"
    console.ok("vm kill all", "vm flush")
    console.ok("namespace other")
    assert console.states() == {"same": "PAUSED"}
    console.ok("vm kill all", "vm flush", "namespace minimega")


def test_two_bases_do_not_touch_each_other(shared: Product, console: Console, base_dir: Path) -> None:
    console.ok("vm launch container same", "vm start same")
    ours = console.vm("same")
    with product_on(base_dir, shared.rootfs) as second:
        with second.configured() as other:
            assert other.rows() == []
            other.ok("vm launch container same", "vm start same", "vm stop same", "vm kill same", "vm flush")
            other.ok("vm launch container same", "vm start same")
        assert console.vm("same") | {"uptime": ""} == ours | {"uptime": ""}
        second.down("--guests")
        assert leftovers.find(second.base, second.tag) == []
        assert console.vm("same") | {"uptime": ""} == ours | {"uptime": ""}
    console.ok("vm stop same", "vm start same", "vm kill same")


def test_a_script(shared: Product, console: Console, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("# a comment\nvm launch container a\n\nvm start nosuch\nvm start a\n")
    done = shared.minibus("read", script)
    assert (done.status, done.err) == (1, f"Error ({socket.gethostname()}): {script}:4: vm not found: nosuch\n")
    assert console.states() == {"a": "RUNNING"}, "a script goes on after a command that failed"
    console.ok("vm kill all")


def test_down_keeps_the_guests(base_dir: Path, rootfs: Path) -> None:
    with product_on(base_dir, rootfs) as product:
        with product.configured() as console:
            console.ok(shell_init(COUNT), "vm launch container a", "vm start a", "vm launch container b")
            before = [row | {"uptime": ""} for row in console.rows()]
        product.down()
        assert [product.pid(name) != 0 for name in ("node", "broker", "vm", "warden")] == [False, False, False, True]
        hint = product.minibus("down").sentence()
        assert f"its containers are (warden: pid {product.pid('warden')})" in hint
        counts_on(product, before[0]["id"])
        product.up()
        with product.console() as console:
            assert [row | {"uptime": ""} for row in console.rows()] == before
            console.ok("vm start b", "vm stop a", "vm start a")
        counts_on(product, before[0]["id"])
