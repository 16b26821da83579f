"""The root file system of a guest: this machine's Python, libraries and busybox, the project and its environment.

The files keep their places, so that programs find what they find here. The image is ext4, which Debian's cloud kernel
has built in, as it has NVMe: it needs neither an initramfs nor a module to boot.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.kernels.kernel import ROOT, Kernel, KitError
from tests.system.hostile.kit import PREBUILT, compile_into

INIT: Final = Path(__file__).with_name("init.sh")
MODULES: Final = "modules"
"""The directory in the guest; files are named as the modules are."""
ORDER: Final = "order"
"""A file in it, with their names in the order of loading."""
SPACE_MIB: Final = 400
"""What a guest can write."""

_PROGRAMS: Final = (
    *("/bin/busybox", "/bin/bash", "/bin/true", "/sbin/ldconfig"),  # ctypes asks ldconfig where a library is
    *("/usr/bin/prlimit", "/usr/bin/setpriv", "/usr/bin/unshare", "/usr/bin/stdbuf"),
)
_DIRECTORIES: Final = ("dev", "proc", "sys", "tmp", "run", "var/lib", "root", "etc", MODULES)
_NFTABLES: Final = "/usr/lib/python3/dist-packages/nftables"
_BY_NAME: Final = r"libseccomp\.so\.2|libnftables\.so\.1"
"""Libraries that no program names."""
_PROJECT: Final = ("actors", "bus", "cli", "shims", "tools", "tests", "docs", "pyproject.toml", "README.md", "Justfile")
_LEFT_OUT: Final = ("test", "idlelib", "ensurepip", "config-*", "lib2to3", "pydoc_data", "tkinter")
"""Of Python's library."""
_DEVELOPERS: Final = ("*mypy*", "ruff*", "pip", "pip-*", "setuptools*", "pkg_resources", "just", "grimp*", "rich*")
"""Of the environment."""
_FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/hostname": "guest\n",
}


def build(image: Path, kernel: Kernel, modules: Iterable[str] = (), project: Path = ROOT) -> None:
    """Write the image, with these kernel modules in it; raises `KitError`."""
    tree = image.with_suffix(".tree")
    try:
        _fill(tree, project)
        files = kernel.module_files(modules)
        for file in files:
            _copy(file, tree / MODULES / file.name)
        (tree / MODULES / ORDER).write_text("".join(f"{file.name}\n" for file in files))
        _make(image, tree)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _fill(tree: Path, project: Path) -> None:
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name, text in _FILES.items():
        (tree / name).write_text(text)
    _copy(INIT, tree / "init", mode=0o755)
    for applet in _run("/bin/busybox", "--list").split():
        (tree / "usr/bin" / applet).symlink_to("busybox")
    python = Path(sys.executable).resolve()
    for directory, left_out in ((Path(os.__file__).parent, _LEFT_OUT), (Path(sys.prefix), _DEVELOPERS)):
        _copy_tree(directory, tree / str(directory)[1:], left_out)
    _copy_tree(Path(_NFTABLES), tree / _NFTABLES[1:])
    for name in _PROJECT:
        _copy_tree(project / name, tree / str(ROOT)[1:] / name)
    compile_into(tree / str(PREBUILT)[1:])
    programs = [python, *map(Path, _PROGRAMS)]
    for program in programs:
        _copy(program.resolve(), tree / str(program.resolve())[1:])
        _link(tree, program)
    _link(tree, Path("/usr/bin/python3"))
    for library in _libraries([*programs, *_extensions(tree)]):
        _copy(library, tree / str(library)[1:])
    _copy(Path("/etc/ld.so.cache"), tree / "etc/ld.so.cache")


def _link(tree: Path, path: Path) -> None:
    """A symbolic link as here, in place of an applet of busybox."""
    if path.is_symlink():
        place = tree / str(path)[1:]
        place.unlink(missing_ok=True)
        place.symlink_to(path.readlink())


def _copy(source: Path, target: Path, mode: int = 0) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copy2(source, target)
    if mode:
        target.chmod(mode)


def _copy_tree(source: Path, target: Path, left_out: Iterable[str] = ()) -> None:
    if source.is_file():
        _copy(source, target)
        return
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)


def _extensions(tree: Path) -> Iterator[Path]:
    """Everything in the tree that may need libraries."""
    yield from tree.rglob("*.so")
    yield from tree.rglob("*.so.*")


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """The shared libraries of programs, and those that are loaded by name only, as paths of this machine."""
    text = _run("ldd", *map(str, programs), may_fail=True)
    found = {Path(path) for path in re.findall(r"(/\S+) \(0x", text)}
    by_name = re.findall(rf"^\t(?:{_BY_NAME}) .* => (\S+)$", _run("/sbin/ldconfig", "-p"), re.MULTILINE)
    found |= {Path(path) for path in (*by_name, *re.findall(r"(/\S+) \(0x", _run("ldd", *by_name)))}
    return {path for path in found if path.exists() and ROOT not in path.parents}


def _make(image: Path, tree: Path) -> None:
    used_mib = sum(file.lstat().st_blocks for file in tree.rglob("*")) * 512 >> 20
    with image.open("wb") as file:
        file.truncate((used_mib + SPACE_MIB) << 20)
    _run("/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", "-d", str(tree), str(image))


def _run(*arguments: str, may_fail: bool = False) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    except OSError as error:
        raise KitError(f"{arguments[0]} cannot be run: {error.strerror}") from None
    if done.returncode and not may_fail:
        raise KitError(f"{arguments[0]} failed: {done.stderr.strip()[-200:]}")
    return done.stdout
