"""docs/client.md and its examples, on a real minibus: on its host, and from another network namespace with a key."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import bus
from bus.messages.console import ReadConsole
from bus.messages.pipe import DeletePipes, GetPipes
from tests.integration.examples import node_example
from tests.ports import free_port
from tests.system.product import MINIBUS, Done, Product, product_on, run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "client.md"
EXAMPLES = ROOT / "docs" / "examples"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
WAIT_S = 60.0


class OtherHost:
    """A network namespace that reaches this host over a pair of veths, and nothing else."""

    def __init__(self, name: str, subnet: str) -> None:
        self.name = name
        self.here, self.there = f"{subnet}.1", f"{subnet}.2"

    def command(self, *words: str) -> list[str]:
        """An argument vector that runs there."""
        return ["ip", "netns", "exec", self.name, *words]


def ip(*words: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def other_host() -> Iterator[OtherHost]:
    """One that is gone afterwards, its veths with it."""
    number = os.getpid() % 16_384  # of networks in 100.64.0.0/10 (RFC 6598), which no other test uses
    name, veth = f"mbt{number}", f"mbt{number}"
    other = OtherHost(name, f"100.{64 + number // 256}.{number % 256}")
    ip("netns", "add", name)
    try:
        ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{other.here}/24", "dev", veth)
        ip("link", "set", veth, "up")
        ip("-n", name, "addr", "add", f"{other.there}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        yield other
    finally:
        subprocess.run(["ip", "link", "del", veth], check=False, capture_output=True)  # not only with its namespace
        ip("netns", "del", name)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[OtherHost]:
    """Another host."""
    with other_host() as found:
        yield found


@pytest.fixture(scope="module")
def product(rootfs: Path, elsewhere: OtherHost) -> Iterator[Product]:
    """minibus, reachable from the other host."""
    base = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
    try:
        with product_on(base, rootfs, up=False) as found:
            listening = f"tcp://{elsewhere.here}:{free_port(elsewhere.here)}"
            done = run("up", "--detach", "--base", base, "--listen", listening)
            assert (done.status, done.err) == (0, ""), (done, found.log_end())
            yield found
    finally:
        shutil.rmtree(base)


def key(product: Product, name: str, *flags: str) -> Path:
    """Make a key; the client's file."""
    file = product.base / f"{name}.toml"
    done = product.minibus("key", "make", name, *flags, "--out", file)
    assert done.status == 0, done
    return file


def example(name: str, *arguments: object, prefix: tuple[str, ...] = ()) -> Done:
    """Run an example to its end."""
    argv = [*prefix, sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    ended = subprocess.run(
        argv, cwd="/", env=environment(), capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    return Done(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_without_words_says_which_it_takes(name: str) -> None:
    done = example(name)
    assert (done.status, done.out) == (1, "")
    assert f"{name} " in done.err
    assert "Traceback" not in done.err


def test_where_nothing_runs_an_example_says_so(base_dir: Path) -> None:
    for name, *words in (("follow.py", "exp1"), ("launch.py", "/", 1), ("pipe_library.py", "tap", "orders")):
        done = example(name, base_dir, *words)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(f"{name.removesuffix('.py')}: minibus is not running on {base_dir}")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_every_block_of_the_page_does_what_it_says(
    product: Product, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (product.base / "client.toml").unlink(missing_ok=True)
    monkeypatch.chdir(product.base)
    key(product, "client", "--role", "control")
    address = (product.base / "run" / "gateway").read_text().strip()
    said = []
    for number, block in enumerate(BLOCKS):
        text = block.replace("/var/lib/minibus", str(product.base)).replace("/images/base", str(product.rootfs))
        exec(compile(text.replace("tcp://kn1:9200", address), f"block {number} of {PAGE.name}", "exec"), {})
        said.append(capsys.readouterr().out)
    assert len(BLOCKS) == 8
    assert re.fullmatch(r"\S+ web1 RUNNING\n\S+ web2 RUNNING\n", said[0])
    assert said[3] == "vm not found: nobody\n"
    assert said[4] == "vm/minimega/web1/stopped/ web1\n"
    assert said[5] == "b'first'\nb'second'\n"
    assert said[6] == "vm/minimega/web1/started/\n"
    with product.console() as console:
        console.ok("vm kill all", "vm flush", "clear namespace exp1", "clear pipe", "clear vm config")


def test_containers_are_launched_and_followed(product: Product) -> None:
    following = subprocess.Popen(
        [sys.executable, EXAMPLES / "follow.py", product.base, "launched"],
        env=environment(),
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with following:
        assert following.stdout is not None
        assert following.stdout.readline() == "following\n"
        launched = example("launch.py", product.base, product.rootfs, 3)
        assert (launched.status, launched.err) == (0, "")
        assert sorted(launched.out.splitlines()) == ["3 containers run", *(f"web{number} runs" for number in (1, 2, 3))]
        with product.console() as console:
            console.ok("clear namespace launched")
        out, err = following.communicate(timeout=WAIT_S)
    assert (following.returncode, err) == (0, "")
    topics = {line.split()[1] for line in out.splitlines()}
    wanted = {f"vm/launched/web{number}/{what}/" for number in (1, 2, 3) for what in ("launched", "started", "flushed")}
    assert topics >= wanted | {"namespace/launched/destroyed/"}
    assert "missed" not in out
    assert "/nonexistent" in example("launch.py", product.base, "/nonexistent", 1).sentence()
    with product.console() as console:
        console.ok("clear namespace launched")


def test_a_launch_is_carried_out_once_though_the_command_server_is_killed_in_the_middle(product: Product) -> None:
    with bus.connect_sync(product.base, namespace="once") as client, client.subscribe("vm/once/") as events:
        client.rows(f"vm config filesystem {product.rootfs}")
        client.rows("vm config memory 32")
        with ThreadPoolExecutor(1) as pool:
            launching = pool.submit(client.run, "vm launch container 30")
            assert isinstance(events.next(WAIT_S), bus.Received)  # it is under way
            product.kill("cli")
            assert launching.result(WAIT_S).errors == ()
        assert sorted(row["name"] for row in client.rows("vm info")) == sorted(f"vm-{number}" for number in range(30))
        client.rows("clear namespace once")


def test_a_pipe_is_tapped_from_another_host(product: Product, elsewhere: OtherHost) -> None:
    file = key(product, "tapper", "--role", "tap", "--topic", "pipe/exp1/")
    argv = elsewhere.command(sys.executable, str(EXAMPLES / "remote_tap.py"), str(file), "exp1", "my foo")
    tapping = subprocess.Popen(
        argv, env=environment(), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with tapping:
        assert tapping.stderr is not None
        assert tapping.stderr.readline() == "tapping\n"
        with bus.connect_sync(product.base, namespace="exp1") as client:
            with client.write_pipe("my foo") as writer:
                writer.write(b"one\ntwo\n")
            client.run("pipe 'my foo' three")
            (pipe,) = client.ask("plumber", GetPipes(pipe="my foo")).pipes
            assert (pipe.count, pipe.readers) == (3, 0)
            client.ask("plumber", DeletePipes(pipe="my foo"))
        out, err = tapping.communicate(timeout=WAIT_S)
    assert (tapping.returncode, out, err) == (0, "one\ntwo\nthree\n", "")
    assert product.minibus("key", "revoke", "tapper").status == 0
    refused = example("remote_tap.py", file, "exp1", "foo", prefix=tuple(elsewhere.command()))
    assert "refuses the key tapper" in refused.sentence()


def test_a_key_of_a_namespace_has_networks_and_consoles_there_and_nowhere_else(product: Product) -> None:
    with product.console() as console:
        console.ok(f"namespace mine vm config filesystem {product.rootfs}", "namespace mine vm config memory 32")
        console.ok(
            "namespace mine vm config save base", f"vm config filesystem {product.rootfs}", "vm config memory 32"
        )
        console.ok("vm launch container other")
        with bus.connect_sync(key=key(product, "tenant", "--role", "control", "--namespace", "mine")) as client:
            for line in ("vm config restore base", "vm config net LAN", "vm launch container web", "vm start web"):
                client.rows(line)
            (row,) = client.rows("vm info")
            assert re.fullmatch(r"\[LAN \(\d+\)\]", row["vlan"])
            for line in ("vm config net 100", "vm config net minimega//LAN", "vm config net br0,LAN"):
                with pytest.raises(bus.CommandFailed, match="this key is limited to namespaces"):
                    client.rows(line)
            with pytest.raises(bus.NotFoundError):
                client.ask("container", ReadConsole(vm_id=int(console.vm("other")["id"])))
        argv = [str(MINIBUS), "console", "--key", str(product.base / "tenant.toml"), "--new", "web"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as typing:
            assert typing.stdin is not None and typing.stdout is not None
            typing.stdin.write("\necho $((6*7))\n")
            typing.stdin.flush()
            assert any(line.strip() == "42" for line in typing.stdout)
        console.ok("clear namespace mine", "vm kill all", "vm flush", "clear vm config")


def test_node_asks_for_the_vms_of_another_host(product: Product, elsewhere: OtherHost, tmp_path: Path) -> None:
    file = key(product, "asker", "--role", "control", "--namespace", "asked")
    with product.console() as console:
        console.ok("namespace asked vm config filesystem " + str(product.rootfs))
        console.ok("namespace asked vm launch container web[1-2]", "namespace asked vm start web1")
        argv = elsewhere.command(*node_example(tmp_path), str(file), "vms", "asked")
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "web1 RUNNING\nweb2 BUILDING\n", "")
        console.ok("clear namespace asked")


def test_the_page_and_its_neighbours_name_each_example_and_their_links_lead_somewhere() -> None:
    page = PAGE.read_text()
    files = re.findall(r"\]\(([^)#]+\.(?:md|py|c))(?:#[^)]*)?\)", page)
    assert [name for name in files if not (PAGE.parent / name).exists()] == []
    titles = [line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^a-z0-9 -]", "", title).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
