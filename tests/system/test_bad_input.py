"""What users get wrong in commands: one clear sentence, a failing status, and nothing left behind."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.system.product import Console, Product


def refused(product: Product, line: str) -> str:
    """The sentence with which `minibus exec` fails."""
    return product.minibus("exec", line).sentence().partition("): ")[2]


# --- commands


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("0", "invalid number of vms (must be > 0)"),
        ("-1", "invalid number of vms (must be > 0)"),
        ("10001", "cannot launch 10001 VMs at once: at most 10000 are allowed"),
        ("x[1-10001]", "cannot launch 10001 VMs at once: at most 10000 are allowed"),
        ("x[1-1000000]", "x[1-1000000] gives too many names: at most 100000 are allowed"),
        ("all", "invalid vm name, `all` is a reserved word"),
        ("a,7", "invalid vm name, `7` is an integer"),
        ("99999999999", "invalid vm name, `99999999999` is an integer"),
        ("a/b", "invalid vm name, `a/b` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("../../x", "invalid vm name, `../../x` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("..", "invalid vm name, `..` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ('"a b"', "invalid vm name, `a b` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("a" * 65, f"invalid vm name, `{'a' * 61}...` is not 1 to 64 letters, digits, `-`, `_` and `.`"),
        ("a" * 100_000, f"a name has more than 255 characters: {'a' * 20}..."),
        ("a,b,a", "`a` is specified twice in VMs to launch"),
        ("x[1-2],x2", "`x2` is specified twice in VMs to launch"),
        ("x[1-2", "unterminated '['"),
        ("x1-2]", "unmatched ']' at char 4"),
        ("x[1-[2]]", "nested '[' at char 4"),
        ("x[a-b]", 'strconv.Atoi: parsing "a": invalid syntax'),
        ("x[3-1]", "invalid subrange 3-1: it runs backwards"),
        ('""', "no VMs to launch"),
        (",", "no VMs to launch"),
    ],
    ids=lambda value: value[:20],
)
def test_what_to_launch(shared: Product, console: Console, what: str, sentence: str) -> None:
    assert refused(shared, f"vm launch container {what}") == sentence
    assert console.rows() == []


def test_a_name_that_is_taken(shared: Product, console: Console) -> None:
    console.ok("vm launch container web")
    assert refused(shared, "vm launch container web") == "vm already exists with name `web`"
    assert refused(shared, "vm launch container db,web") == "vm already exists with name `web`"
    assert list(console.states()) == ["web"]
    console.ok("vm kill web")
    assert refused(shared, "vm launch container web") == "vm already exists with name `web`"
    console.ok("vm flush", "vm launch container web", "vm kill web")


def test_a_uuid_that_is_taken(shared: Product, console: Console) -> None:
    uuid = "0e9ad1bd-90a5-4e49-a3fb-e9e2fb2a9b3c"
    console.ok(f"vm config uuid {uuid}")
    assert refused(shared, "vm launch container 2") == "cannot launch multiple VMs with a pre-configured UUID"
    console.ok("vm launch container one")
    assert refused(shared, "vm launch container two") == f"vm already exists with UUID `{uuid}`"
    console.ok("vm kill all")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("vm config vcpus 0", "vcpus must be between 1 and 65536, not 0"),
        ("vm config vcpus -1", 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("vm config fifos 100000", "fifos must be between 0 and 1000, not 100000"),
        ("vm config memory lots", 'strconv.ParseUint: parsing "lots": invalid syntax'),
        (
            "vm config memory 99999999999999999999",
            'strconv.ParseUint: parsing "99999999999999999999": value out of range',
        ),
        ("vm config uuid xyz", "`xyz` is not a UUID"),
        ("vm config restore nosuch", "config nosuch does not exist"),
        ("vm config restore", "no vm configs saved"),
        ("vm config clone nosuch", "vm not found: nosuch"),
        ("vm start nosuch", "vm not found: nosuch"),
        ("vm stop 4711", "vm not found: 4711"),
        ("vm kill x[", "unterminated '['"),
        ('vm kill ""', "the VM target is empty"),
        ("vm tag nosuch key value", "vm not found: nosuch"),
        ("vm launch kvm k", "k: this version cannot run KVM guests"),
        ("vm launch", "namespace must contain at least one queued VM to launch VMs"),
        ("vm top soon", "invalid number of seconds `soon`: expected 0 to 3600"),
        ("vm info everything", "invalid command: `vm info everything`: did you mean `vm info [summary,]`?"),
        ("nonsense", "invalid command: `nonsense`"),
        ("read /no/such/file", "open /no/such/file: no such file or directory"),
    ],
    ids=lambda value: value[:24],
)
def test_other_commands(shared: Product, console: Console, line: str, sentence: str) -> None:
    assert refused(shared, line) == sentence


# --- containers that cannot be


def launch_error(product: Product, console: Console) -> str:
    """Launch one container, which must fail and leave nothing, except perhaps a record with the reason."""
    sentence = refused(product, "vm launch container x")
    for row in console.rows():
        assert (row["name"], row["state"], row["pid"]) == ("x", "ERROR", "0")
        assert f"x: {json.loads(row['tags'])['error']}" == sentence
    assert product.guests_left() == []
    return sentence.removeprefix("x: ")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "unable to create container without a configured filesystem"),
        ("{there}/nowhere", "filesystem {there}/nowhere does not exist"),
        ("{there}/file", "filesystem {there}/file is not a directory"),
        ("{there}/file/x", "filesystem {there}/file/x is not a directory"),
        ("{there}/dangling", "filesystem {there}/dangling does not exist"),
        ("{there}", "init /init does not exist in the container's root"),
        (
            "/proc",
            "overlayMount: /proc: Invalid argument; it, or the base directory, is on a kind of file system that takes "
            "no overlay: set `vm config snapshot false`, or keep both on ext4, xfs, btrfs or tmpfs",
        ),
        ("nosuch", "filesystem {base}/files/nosuch does not exist"),
        ("/" + "long" * 100, "filesystem /" + "long" * 49 + "lon... cannot be read: File name too long"),
    ],
    ids=["unset", "missing", "file", "below-a-file", "dangling", "empty", "proc", "relative", "long"],
)
def test_filesystems(shared: Product, console: Console, tmp_path: Path, path: str, sentence: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = {"there": str(tmp_path), "base": str(shared.base)}
    console.ok(f'vm config filesystem "{path.format(**names)}"')
    assert launch_error(shared, console) == sentence.format(**names)


def make_inits(root: Path) -> None:
    """A root file system with nothing but programs that cannot be executed."""
    (root / "dir").mkdir()
    for name, text in {
        "plain": "#!/bin/sh\n",
        "bad": "#!/no/such\n",
        "empty-line": "#!\n",
        "text": "hello\n",
        "nothing": "",
        "loop": "#!/loop\n",
        "to-plain": "#!/plain\n",
    }.items():
        (root / name).write_text(text)
        (root / name).chmod(0o644 if name == "plain" else 0o755)
    (root / "dangling").symlink_to("/etc/hostname-that-is-not")
    (root / "circle").symlink_to("circle")
    (root / "outside").symlink_to("../../../../../../../../bin/sh")


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        ("/missing", "init /missing does not exist in the container's root"),
        ("/plain", "init /plain is not executable"),
        ("/dir", "init /dir is a directory"),
        ("/bad", "init /bad: its interpreter /no/such does not exist in the container's root"),
        ("/empty-line", "init /empty-line names no interpreter after #!"),
        ("/to-plain", "init /to-plain: its interpreter /plain is not executable"),
        ("/text", "init /text is neither a program (ELF) nor a script that begins with #!"),
        ("/nothing", "init /nothing is neither a program (ELF) nor a script that begins with #!"),
        ("/dangling", "init /dangling does not exist in the container's root"),
        ("/circle", "init /circle cannot be opened: Too many levels of symbolic links"),
        ("/outside", "init /outside does not exist in the container's root"),
        ('""', "init is empty: it has to name a program inside the container"),
    ],
)
def test_inits(shared: Product, console: Console, tmp_path: Path, init: str, sentence: str) -> None:
    make_inits(tmp_path)
    console.ok(f"vm config filesystem {tmp_path}", f"vm config init {init}")
    assert launch_error(shared, console) == sentence


def test_an_init_that_is_its_own_interpreter(shared: Product, console: Console, tmp_path: Path) -> None:
    make_inits(tmp_path)
    console.ok(f"vm config filesystem {tmp_path}", "vm config init /loop")
    assert launch_error(shared, console) == "init /loop: its interpreter /loop is one script interpreter too many"


def test_an_init_that_the_kernel_refuses_at_the_start(shared: Product, console: Console) -> None:
    """It looks like a program, so only the exec can tell."""
    program = shared.rootfs / "broken"
    program.write_bytes(Path("/bin/busybox").read_bytes()[:64])
    program.chmod(0o755)
    try:
        console.ok("vm config init /broken", "vm launch container x")
        assert refused(shared, "vm start x") == "x: Exec: /broken: Exec format error"
    finally:
        program.unlink()
    assert shared.guests_left() == []
    assert console.vm("x")["state"] == "ERROR"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("memory 3", "a container needs at least 4 MiB of memory, not 3"),
        ("memory 0", "a container needs at least 4 MiB of memory, not 0"),
        ("volume /data {there}/nowhere", "volume source {there}/nowhere does not exist"),
        ("volume /data nosuch", "volume source {base}/files/nosuch does not exist"),
        ("volume / {there}", "volume {there}: the container's root cannot be a volume target"),
        ("volume /x/.. {there}", "volume {there}: the container's root cannot be a volume target"),
        ("volume /init {there}", "volume: /init: Not a directory"),
        ("volume /etc/passwd/x {there}", "volume: /etc/passwd/x: Not a directory"),
        ("preinit /no/such", "containerPreinit: /no/such: No such file or directory"),
        ("preinit /etc/passwd", "containerPreinit: /etc/passwd: Permission denied"),
        ("preinit /bin/false", "containerPreinit: exit status 1"),
        ("hostname " + "h" * 65, "the hostname has more than 64 bytes"),
    ],
    ids=lambda value: value[:24],
)
def test_containers(shared: Product, console: Console, tmp_path: Path, setting: str, sentence: str) -> None:
    names = {"there": str(tmp_path), "base": str(shared.base)}
    console.ok(f"vm config {setting.format(**names)}")
    assert launch_error(shared, console) == sentence.format(**names)


def test_each_of_several_says_why(shared: Product, console: Console) -> None:
    console.ok("vm config init /no/such")
    done = shared.minibus("exec", "vm launch container x[1-3]")
    assert done.status == 1
    lines = done.err.splitlines()
    assert [line.removeprefix(f"Error ({socket.gethostname()}): ").partition(":")[0] for line in lines] == [
        "x1",
        "x2",
        "x3",
    ]
    assert set(console.states().values()) == {"ERROR"}


def test_one_sound_vm_is_launched_beside_a_bad_target(shared: Product, console: Console) -> None:
    console.ok("vm launch container good")
    assert refused(shared, "vm start good,bad") == "vm not found: bad"
    assert console.states() == {"good": "RUNNING"}
    assert refused(shared, "vm start good") == "VM state error: good"
    console.ok("vm kill good")
    assert refused(shared, "vm stop good") == "VM state error: good"
