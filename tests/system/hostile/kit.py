"""The programs of hostile guests, compiled for the test run, and how a guest gets them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shims.container.protocol import Volume

SOURCES = Path(__file__).parent
PREBUILT = SOURCES.parents[2] / "build" / "hostile"
INSIDE = "/kit"


def compile_into(directory: Path) -> None:
    """Compile every program; the directory is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    for source in SOURCES.glob("*.c"):
        target = directory / source.stem
        subprocess.run(
            ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o", str(target), str(source)],
            check=True,
            timeout=120,
        )
        target.chmod(0o755)


def volumes(kit: Path, **more: Path) -> tuple[Volume, ...]:
    """The programs as `/kit`, and more: name in the root and source on the host."""
    return (
        Volume(source=str(kit), target=INSIDE),
        *(Volume(source=str(source), target=f"/{name}") for name, source in more.items()),
    )
