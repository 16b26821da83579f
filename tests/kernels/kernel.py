"""Debian's cloud kernel, downloaded and unpacked without being installed: build/kernels/<release>/."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / "build/kernels"
PACKAGE: Final = "linux-image-cloud-amd64"
"""Depends on the newest kernel of its kind."""
_PATIENCE_S: Final = 180


class KitError(Exception):
    """Why no guest can be run, as one sentence."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    image: Path
    modules: Path
    """The directory with modules.dep."""

    def module_files(self, names: Iterable[str]) -> list[Path]:
        """The files of modules and of what they need, in the order of loading; raises `KitError`."""
        needs = dict(line.split(":", 1) for line in (self.modules / "modules.dep").read_text().splitlines())
        by_name = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
        files: list[str] = []
        for name in names:
            if name not in by_name:
                raise KitError(f"the kernel {self.modules.name} has no module {name}")
            path = by_name[name]
            files += [need for need in [*reversed(needs[path].split()), path] if need not in files]
        return [self.modules / file for file in files]


def get() -> Kernel:
    """The kernel, downloaded unless it is there; raises `KitError`."""
    if os.uname().machine != "x86_64":
        raise KitError(f"the guests of these tests are x86-64, and this machine is {os.uname().machine}")
    cached = sorted(CACHE.glob("*-cloud-amd64"))
    if not cached:
        cached = [_download()]
    root, release = cached[-1], cached[-1].name
    modules = root / "lib/modules" / release
    if not (modules / "modules.dep").exists():
        _run("depmod", "-b", str(root), release)
    return Kernel(root / f"boot/vmlinuz-{release}", modules)


def _download() -> Path:
    """Download and unpack the newest; whoever comes at the same time does it twice, and no harm is done."""
    CACHE.mkdir(parents=True, exist_ok=True)
    package = _newest()
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=directory)
        (archive,) = Path(directory).glob("*.deb")
        _run("dpkg-deb", "-x", str(archive), "root", cwd=directory)
        target = CACHE / package.removeprefix("linux-image-")
        if not target.exists():
            (Path(directory) / "root").rename(target)
    return target


def _newest() -> str:
    name = _known()
    if not name:
        _run("apt-get", "-q", "update")
        name = _known()
    if not name:
        raise KitError(f"apt knows no package {PACKAGE}: have a Debian mirror among its sources")
    return name


def _known() -> str:
    """The package of the newest kernel that apt knows; empty if it knows none."""
    found = re.search(r"Depends: (linux-image-\S+)", _run("apt-cache", "depends", PACKAGE, may_fail=True))
    return found[1] if found else ""


def _run(*arguments: str, cwd: str = "/", may_fail: bool = False) -> str:
    """What a program prints; raises `KitError` with its last line if it fails."""
    try:
        done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KitError(f"`{' '.join(arguments)}` failed: {error}") from None
    if done.returncode and not may_fail:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise KitError(f"`{' '.join(arguments)}` failed: {why}")
    return done.stdout
