"""Requests that cannot be met: one clear sentence each, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shims.container.client import WardenRefusedError
from tests.system.container_host import Host, sh, volume


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def refusal(host: Host, **changes: Any) -> str:
    """The sentence with which the container is refused; nothing of it may be left."""
    with pytest.raises(WardenRefusedError) as caught:
        await host.create(host.spec(**changes))
    message = str(caught.value)
    assert message and "\n" not in message
    # The warden itself, which holds its lock, is all there is.
    assert [what for what in host.left() if f"process {host.pid} " not in what] == []
    assert await host.client.list() == ()
    return message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"filesystem": ""}, "unable to create container without a configured filesystem"),
        ({"filesystem": "/nowhere/at/all"}, "filesystem /nowhere/at/all does not exist"),
        ({"filesystem": "/etc/passwd"}, "filesystem /etc/passwd is not a directory"),
        ({"filesystem": "relative"}, "filesystem relative is not an absolute path"),
        ({"memory_mib": 3}, "a container needs at least 4 MiB of memory, not 3"),
        ({"vcpus": 0}, "vcpus has to be between 1 and 4096, not 0"),
        ({"fifos": -1}, "fifos has to be between 0 and 1024, not -1"),
        ({"hostname": "x" * 65}, f"a host name has 1 to 64 bytes, which `{'x' * 65}` has not"),
        ({"init": ()}, "init is empty: it has to name a program inside the container"),
        ({"init": ("/no/such",)}, "init /no/such does not exist in the container's root"),
        ({"init": ("/bin",)}, "init /bin is a directory"),
        ({"init": ("/dev/null",)}, "init /dev/null is not a regular file"),
        ({"init": ("/etc/passwd",)}, "init /etc/passwd is not executable"),
        ({"init": ("/init\0",)}, "a path or an argument contains a NUL byte"),
        ({"preinit": "/no/such"}, "containerPreinit: /no/such: No such file or directory"),
        ({"volumes": volume(Path("/no/source"), "/mnt")}, "volume source /no/source does not exist"),
        ({"volumes": volume(Path("/tmp"), "/")}, "volume /tmp: the container's root cannot be a volume target"),
        ({"volumes": volume(Path("/tmp"), "/etc/passwd/x")}, "volume: /etc/passwd/x: Not a directory"),
    ],
)
async def test_sentences(host: Host, changes: dict[str, Any], sentence: str) -> None:
    assert await refusal(host, **changes) == sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"#!/no/interpreter -x\n", "its interpreter /no/interpreter does not exist in the container's root"),
        (b"#!\n", "names no interpreter after #!"),
        (b"#!/etc\n", "its interpreter /etc is a directory"),
        (b"#!/script\n", "is one script interpreter too many"),
        (b"just text\n", "is neither a program (ELF) nor a script that begins with #!"),
        (b"", "is neither a program (ELF) nor a script that begins with #!"),
    ],
)
async def test_inits_that_cannot_be_executed(host: Host, content: bytes, sentence: str) -> None:
    script = host.instance(1) / "fs" / "script"
    script.parent.mkdir(parents=True)
    script.write_bytes(content)
    script.chmod(0o755)
    message = await refusal(host, init=("/script",))
    assert message.startswith("init /script")
    assert message.endswith(sentence)


async def test_a_program_without_its_loader(host: Host) -> None:
    program = host.instance(1) / "fs" / "program"
    program.parent.mkdir(parents=True)
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    message = await refusal(host, init=("/program",))
    assert message.startswith("init /program: its dynamic loader /lib") and message.endswith(
        "does not exist in the container's root"
    )


async def test_a_preinit_that_fails_is_quoted(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "preinit"
    script.write_text("#!/bin/sh\necho one\necho two >&2\nexit 3\n")
    script.chmod(0o755)
    assert await refusal(host, preinit=str(script)) == "containerPreinit: exit status 3: one two"
    script.write_text("#!/bin/sh\nkill -TERM $$\n")
    assert await refusal(host, preinit=str(script)) == "containerPreinit: signal: terminated"


async def test_the_overlay_that_cannot_be(host: Host, tmp_path: Path) -> None:
    # An overlay cannot have its upper directory on a file system that is read-only or has no such thing: /proc.
    message = await refusal(host, instance_dir="/proc/nothing")
    assert message == "instance directory: /proc/nothing: No such file or directory"


async def test_a_name_that_is_taken(host: Host) -> None:
    await host.create(host.spec())
    with pytest.raises(WardenRefusedError, match=r"^container 1 exists already$"):
        await host.create(host.spec())


async def test_calls_about_nobody(host: Host) -> None:
    for call in (host.client.start, host.client.freeze, host.client.kill, host.client.open_console):
        with pytest.raises(WardenRefusedError, match=r"^there is no container 7$"):
            await call(7)
    await host.client.forget(7)  # as good as done


async def test_an_init_that_changes_before_the_start(host: Host, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    await host.create(host.spec(init=("/v/program",), volumes=volume(tmp_path, "/v")))
    program.write_text("#!/bin/nothing\n")
    with pytest.raises(WardenRefusedError, match=r"^Exec: /v/program: No such file or directory$"):
        await host.client.start(1)
    exited = await host.exit_of(1)
    assert (exited.exit, exited.clean) == ("exit status 1", False)
    assert exited.message.startswith("Exec: ")


async def test_descriptors_are_given_back(host: Host) -> None:
    """Refused and ended containers leave no descriptor open in the warden."""
    with pytest.raises(WardenRefusedError):
        await host.create(host.spec(init=("/no",)))
    before = descriptors(host.pid)
    for _ in range(3):
        for changes in ({"init": ("/no",)}, {"volumes": volume(Path("/no"), "/x")}, {"preinit": "/no"}):
            with pytest.raises(WardenRefusedError):
                await host.create(host.spec(**changes))
        await host.run_inside("true")
    assert descriptors(host.pid) == before


async def test_the_next_container_is_not_hurt(host: Host) -> None:
    await refusal(host, init=("/no",))
    await host.launch(host.spec(init=sh("echo well")))
    await host.console_says(1, b"well")
