"""Guests that use up whatever they can, all at once; the host, the actors and a guest beside them go on.

`hostile/exhaust.c` has the attacks. Each says how far it came, and what stopped it.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shims.cgroups.cgroup import Cgroups, host_layout
from shims.cgroups.guest_share import read_share
from tests.system.product import Console, Product, product_on, shell_init, until

WATCHED_S = 4.0
PROCESSES = 100
MEMORY_MIB = 160

ATTACKS = {
    "forks": "forks",
    "zombies": "zombies",
    "memory": "memory",
    "sockets": "sockets",
    "shm": "names /dev/shm 1000000",
    "dev": "names /dev 1000000",
    "ptys": "ptys",
    "files": "files",
    "queues": "queues",
    "signals": "signals 60000",
    "flood": "flood",
    "cpu": "cpu",
}


def cgroup_file(product: Product, vm_id: str, *names: str) -> Path:
    """A file of a container's cgroup, in the tree that has it, under one of these names."""
    directories = [Path(base) / vm_id for base in Cgroups(host_layout(), product.tag).directories]
    (path,) = [path for directory in directories for name in names if (path := directory / name).exists()]
    return path


def launch(console: Console, kit: Path, name: str, script: str, memory_mib: int = MEMORY_MIB) -> None:
    """A guest that runs a shell script."""
    console.ok(
        "clear vm config volume",
        f"vm config volume /kit {kit}",
        f"vm config memory {memory_mib}",
        f"vm config processes {PROCESSES}",
        shell_init(script),
        f"vm launch container {name}",
    )


def beats(product: Product, vm_id: str) -> int:
    """How often the guest beside them has written."""
    return len((product.inside(vm_id) / "beat").read_bytes())


class Watch:
    """What a client and a bystander saw while the attacks went on."""

    def __init__(self, product: Product, console: Console, bystander: str) -> None:
        before = beats(product, bystander)
        self.latencies_s: list[float] = []
        begin = time.monotonic()
        while time.monotonic() < begin + WATCHED_S:
            asked = time.monotonic()
            console.ok("vm info")
            with product.console() as another:
                another.ok("host")
            self.latencies_s.append(time.monotonic() - asked)
            time.sleep(0.05)
        self.beats = beats(product, bystander) - before
        self.restarts = {name: entry["restarts"] for name, entry in product.ps().items() if entry["restarts"]}


class Attacked:
    """All attacks under way."""

    def __init__(self, product: Product, console: Console, kit: Path) -> None:
        self.product = product
        self.console = console
        launch(console, kit, "bystander", "while :; do printf x >>/beat; sleep 0.1; done")
        for name, words in ATTACKS.items():
            # The console is flooded; what the others say goes into a file.
            launch(console, kit, name, f"exec /kit/exhaust {words}{'' if name == 'flood' else ' >/out'}")
        ids = {row["name"]: row["id"] for row in console.rows()}
        self.ids = ids
        # No bomb goes off before its limit has been seen.
        assert cgroup_file(product, ids["forks"], "pids.max").read_text() == f"{PROCESSES}\n"
        console.ok("vm start all")
        until(lambda: (product.inside(ids["bystander"]) / "beat").exists(), "the bystander")
        self.watch = Watch(product, console, ids["bystander"])

    def came_to(self, name: str) -> tuple[int, str]:
        """How far an attack came, and what stopped it."""
        path = self.product.inside(self.ids[name]) / "out"
        until(lambda: path.exists() and path.read_text().endswith("\n"), f"the end of {name}")
        count, how = path.read_text().split()
        return int(count), how


@pytest.fixture(scope="module")
def attacked(kit: Path, rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """Everything at once; afterwards it can be ended, and is."""
    base = tmp_path_factory.mktemp("mb")
    with product_on(base, rootfs) as product, product.configured() as console:
        attacked = Attacked(product, console, kit)
        yield attacked
        console.ok("vm kill all", "vm flush")
        assert console.rows() == []
        assert product.guests_left() == []
        assert product.directories() == []


def test_the_actors_answer(attacked: Attacked) -> None:
    assert statistics.median(attacked.watch.latencies_s) < 1.0, attacked.watch.latencies_s
    assert max(attacked.watch.latencies_s) < 5.0, attacked.watch.latencies_s
    assert attacked.watch.restarts == {}


def test_the_guest_beside_them_goes_on(attacked: Attacked) -> None:
    assert attacked.watch.beats >= WATCHED_S


def test_another_guest_can_be_launched(attacked: Attacked) -> None:
    attacked.console.ok("clear vm config init", "vm launch container late", "vm start late")
    assert attacked.console.states()["late"] == "RUNNING"


def test_nobody_else_was_ended(attacked: Attacked) -> None:
    states = attacked.console.states()
    mortal = {"memory", "sockets"}  # they are killed for the memory that they take
    assert {name: state for name, state in states.items() if name not in mortal and state != "RUNNING"} == {}


def test_fork_bombs_are_contained(attacked: Attacked) -> None:
    current = int(cgroup_file(attacked.product, attacked.ids["forks"], "pids.current").read_text())
    assert PROCESSES // 2 <= current <= PROCESSES
    refused = re.search(r"max (\d+)", cgroup_file(attacked.product, attacked.ids["forks"], "pids.events").read_text())
    assert refused and int(refused[1]) > 0
    assert attacked.came_to("zombies") == (PROCESSES - 1, "EAGAIN")


def test_a_fork_bomb_can_be_paused(attacked: Attacked) -> None:
    attacked.console.ok("vm stop forks")
    assert attacked.console.states()["forks"] == "PAUSED"
    attacked.console.ok("vm start forks")
    assert attacked.console.states()["forks"] == "RUNNING"


def test_memory_ends_who_takes_it(attacked: Attacked) -> None:
    until(lambda: attacked.console.states()["memory"] == "ERROR", "the end of the one that takes memory")
    assert "memory" in attacked.console.vm("memory")["tags"]
    for name in ("flood", "files", "shm", "dev"):
        usage = cgroup_file(attacked.product, attacked.ids[name], "memory.usage_in_bytes", "memory.current")
        assert int(usage.read_text()) <= MEMORY_MIB << 20


@pytest.mark.parametrize(
    ("name", "low", "high", "how"),
    [
        ("shm", 1000, 65536, "ENOSPC"),
        ("dev", 1000, 65536, "ENOSPC"),
        ("ptys", 200, 256, "ENOSPC"),
        ("files", 1000, 1 << 20, "EMFILE"),
        ("queues", 1, 1000, "EMFILE"),
        ("signals", 1000, 59_999, "EAGAIN"),
    ],
)
def test_how_far_each_comes(attacked: Attacked, name: str, low: int, high: int, how: str) -> None:
    count, stopped_by = attacked.came_to(name)
    assert low <= count <= high
    assert stopped_by == how


def test_all_guests_together_leave_the_host_its_part(attacked: Attacked) -> None:
    share = read_share()
    tops = {Path(base).parent for base in Cgroups(host_layout(), attacked.product.tag).directories}
    values = {
        name: int((top / name).read_text())
        for top in tops
        for name in ("pids.max", "memory.limit_in_bytes", "memory.max")
        if (top / name).exists()
    }
    assert values.pop("pids.max") == share.processes
    assert list(values.values()) == [share.memory_bytes]


def test_a_fork_bomb_is_no_match_for_nuke(kit: Path, rootfs: Path, base_dir: Path) -> None:
    product = Product(base_dir, rootfs)
    product.up()
    try:
        with product.configured() as console:
            launch(console, kit, "forks", "exec /kit/exhaust forks")
            assert cgroup_file(product, "0", "pids.max").read_text() == f"{PROCESSES}\n"
            console.ok("vm start forks")
            until(lambda: int(cgroup_file(product, "0", "pids.current").read_text()) == PROCESSES, "the bomb")
        assert product.minibus("nuke", "--yes").status == 0
    finally:
        product.end()


def test_a_tree_that_nobody_wants_to_remove(kit: Path, shared: Product, console: Console, tmp_path: Path) -> None:
    """Ten thousand levels, names that are commands to a terminal or a shell, links out of the guest's directory."""
    outside = tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    (outside / "kept" / "file").write_text("kept")
    console.ok(f"vm config volume /kit {kit}", "vm config memory 256")
    console.ok(
        shell_init(f"exec /kit/exhaust litter /l {outside} 10000 5000 >/out"), "vm launch container pig", "vm start all"
    )
    pig = console.vm("pig")["id"]
    until(
        lambda: (shared.inside(pig) / "out").exists() and (shared.inside(pig) / "out").read_text() == "10000 all\n",
        "it",
    )
    directory = shared.base / pig
    assert directory.stat().st_mode & 0o7777 == 0o700  # nobody gets at its setuid programs and device nodes
    console.ok("vm kill pig")
    console.send("vm flush")
    with shared.console() as another:
        asked = time.monotonic()
        another.ok("vm info")
        assert time.monotonic() - asked < 2.0
    assert [response["Error"] for response in console.receive()] == [""]
    assert not directory.exists()
    assert (outside / "kept" / "file").read_text() == "kept"


@pytest.fixture
def small_base(tmp_path: Path) -> Iterator[Path]:
    """A base directory on a file system that has room for a few thousand files."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=4000,mode=700", "small", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_guest_uses_up_the_file_system_of_the_base(kit: Path, rootfs: Path, small_base: Path) -> None:
    """That cannot be kept from it; but nothing dies, nobody is lied to, and removing the guest makes all well."""
    base = small_base / "b"
    base.mkdir()
    with product_on(base, rootfs) as product, product.configured() as console:
        console.ok("vm launch container before", "vm start before")
        launch(console, kit, "hog", "/kit/exhaust names / 1000000 >/out; sleep 1000")
        console.ok("vm start hog")
        said = product.inside(console.vm("hog")["id"]) / "out"
        until(lambda: said.exists() and said.stat().st_size > 0, "the hog")
        console.ok("vm info")
        text = console.error("vm launch container after")
        assert "No space left on device" in text, text
        assert console.states()["before"] == "RUNNING"
        console.ok("vm kill hog", "vm flush")
        console.ok("vm launch container later", "vm start later")
        assert console.states() == {"before": "RUNNING", "later": "RUNNING"}
        assert all(entry["restarts"] == 0 for entry in product.ps().values())
