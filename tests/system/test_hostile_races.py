"""A running container exchanges the directories of a root file system in which another one is being built.

It has the directory as a volume, the other one has it as its root: two experiments with one image, not in snapshot
mode. Whoever builds step by step by names meets now one thing, now another.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shims.container.client import WardenError
from tests.system.container_host import Host, sh, until
from tests.system.hostile.kit import volumes

ROUNDS = 25


@pytest.fixture
def image(rootfs: Path, tmp_path: Path) -> Path:
    """A root file system of its own."""
    path = tmp_path / "image"
    shutil.copytree(rootfs, path, symlinks=True)
    return path


async def gains(host: Host, kit: Path, image: Path, results: Path) -> list[str]:
    """What the init of a container finds that is built in `image` meanwhile, again and again."""
    found: list[str] = []
    reports = 0
    for number in range(ROUNDS):
        given = volumes(kit, results=results)
        init = ("/kit/lists", "gains", f"/results/{number}")
        try:
            await host.launch(host.spec(2, filesystem=str(image), snapshot=False, volumes=given, init=init))
        except WardenError as error:
            assert "\n" not in str(error)
        else:
            await host.exit_of(2)
            await host.client.forget(2)
        if (results / str(number)).exists():
            *lines, end = (results / str(number)).read_text().splitlines()
            assert end == "looked"
            reports += 1
            found += lines
    assert reports > ROUNDS // 4, "hardly any container could be built"
    return found


async def attack(host: Host, kit: Path, image: Path, prepare: str, pairs: str) -> None:
    """Start the container that exchanges `pairs` below /image for ever, once `prepare` has been done there."""
    words = " ".join(f"/image/{name}" for name in pairs.split())
    script = sh(f"cd /image; {prepare}; echo ready; exec /kit/lists exchange {words}")
    await host.launch(host.spec(1, volumes=volumes(kit, image=image), init=script))
    await host.console_says(1, b"ready")


@pytest.mark.parametrize(
    ("prepare", "pairs"),
    [
        ("mkdir -p decoy", "proc decoy"),
        ("mkdir a; ln -s /a decoy", "proc decoy"),
        ("mkdir -p decoy/sys/kernel; ln -s /proc elsewhere", "proc decoy elsewhere decoy"),
    ],
    ids=["directory", "link", "three"],
)
async def test_proc_is_always_protected(host: Host, kit: Path, image: Path, prepare: str, pairs: str) -> None:
    results = image.parent / "results"
    results.mkdir()
    await attack(host, kit, image, prepare, pairs)
    assert await gains(host, kit, image, results) == []


@pytest.mark.parametrize(
    "prepare",
    [
        "mkdir decoy; mknod decoy/console c 1 7; mknod decoy/.uuid c 1 7",
        "mkdir real; ln -s /real decoy; mknod real/console c 1 7",
    ],
    ids=["directory", "link"],
)
async def test_the_console_is_always_the_terminal(host: Host, kit: Path, image: Path, prepare: str) -> None:
    """And never a device node of the attacker's, which is opened before device rules and capabilities count."""
    results = image.parent / "results"
    results.mkdir()
    await attack(host, kit, image, prepare, "dev decoy")
    assert await gains(host, kit, image, results) == []


async def test_a_directory_that_leaves_the_root_takes_nobody_with_it(host: Host, kit: Path, image: Path) -> None:
    """Who stands in it is outside then, and `..` would go on to the top of the host's file system."""
    (image / "here").mkdir()
    script = (
        "cd /here; echo there; while [ ! -e /moved ]; do sleep 0.05; done; "
        "cd ../../../../../../../..; ls -a .. ../.. /proc/self/cwd/.. /proc/self/cwd/../..; echo end"
    )
    await host.launch(host.spec(1, filesystem=str(image), snapshot=False, init=sh(f"exec >/out 2>&1; {script}")))
    await until(lambda: (image / "out").exists() and "there" in (image / "out").read_text(), "it to stand there")
    mover = sh("mv /above/image/here /above/here; touch /above/image/moved")
    await host.launch(host.spec(2, volumes=volumes(kit, above=image.parent), init=mover))
    assert (await host.exit_of(2)).clean
    await host.exit_of(1)
    text = (image / "out").read_text()
    assert (image.parent / "here").is_dir()
    assert text.endswith("end\n")
    assert "vmlinuz" not in text and "home" not in text and image.parent.name not in text, text


async def test_nothing_lands_outside(host: Host, kit: Path, image: Path) -> None:
    """What is made for volumes and for the UUID is made below the root, whatever link leads out of it."""
    outside = image.parent / "outside"
    results = image.parent / "results"
    for path in (outside, results):
        path.mkdir()
    up = "../" * 20 + str(outside)[1:]
    await attack(
        host, kit, image, f"mkdir -p results etc; ln -s {up} decoy; ln -s {outside} trap", "etc decoy results trap"
    )
    for number in range(ROUNDS):
        given = volumes(kit, **{"etc/minibus/deep": results, "results/x": results})
        try:
            await host.launch(host.spec(2, filesystem=str(image), snapshot=False, volumes=given, init=("/bin/true",)))
        except WardenError:
            continue
        await host.exit_of(2)
        await host.client.forget(2)
        assert list(outside.iterdir()) == [], number
    assert list(outside.iterdir()) == []
