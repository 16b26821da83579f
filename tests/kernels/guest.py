"""Runs a shell script as root in a guest of its own, with a kernel, a root file system and boot parameters.

QEMU emulates the processor (TCG) unless KVM is known to work: /dev/kvm can be there and every guest hang.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tests.kernels.kernel import Kernel, KitError

QEMU: Final = "qemu-system-x86_64"
MEMORY_MIB: Final = 1024
NICE: Final = 5
_SECTOR: Final = 512
_TAIL_LINES: Final = 25
_NOT_FOUND: Final = 127


@dataclass(frozen=True)
class Outcome:
    """What became of a script in a guest."""

    status: int | None
    """Its exit status; None if the guest did not come to its end in time."""
    output: str
    console: str
    """What the kernel said."""

    def tail(self) -> str:
        """The end of what was said, for whoever has to find out why a guest failed."""
        lines = self.output.splitlines()[-_TAIL_LINES:]
        if self.status is None:
            lines += ["--- the kernel's console:", *self.console.splitlines()[-_TAIL_LINES:]]
        return "\n".join(lines)


@dataclass(frozen=True)
class Machine:
    """What guests have in common. None of them changes the image."""

    kernel: Kernel
    image: Path
    accelerator: str = "tcg"
    processors: int = 1

    def run(
        self,
        script: str,
        *,
        parameters: str = "",
        timeout_s: float,
        show: Callable[[str], None] = lambda line: None,
    ) -> Outcome:
        """Boot, run `script`, wait for the end; each line of its output goes to `show` as it comes.

        Raises `KitError` if QEMU is missing.
        """
        with tempfile.TemporaryDirectory(prefix="mbk-") as name:
            directory = Path(name)
            (directory / "script").write_bytes(_padded(script.encode()))
            for file in ("console", "status"):
                (directory / file).touch()
            output = _run(self._arguments(directory, parameters), timeout_s, show)
            status = _status((directory / "status").read_text())
            return Outcome(status, output, (directory / "console").read_text(errors="replace"))

    def _arguments(self, directory: Path, parameters: str) -> list[str]:
        script = directory / "script"
        append = f"console=ttyS0 root=/dev/nvme0n1 rw init=/init panic=-1 quiet mitigations=off {parameters}"
        return [
            *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", f"pc,accel={self.accelerator}", "-cpu", "max" if self.accelerator == "tcg" else "host"),
            *("-smp", str(self.processors), "-m", str(MEMORY_MIB)),
            *("-kernel", str(self.kernel.image), "-append", append),
            *("-drive", f"if=none,id=root,format=raw,snapshot=on,file={self.image}"),
            *("-drive", f"if=none,id=script,format=raw,readonly=on,file={script}"),
            *("-device", "nvme,drive=root,serial=root", "-device", "nvme,drive=script,serial=script"),
            *("-serial", f"file:{directory / 'console'}"),
            *("-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"),
            *("-serial", f"file:{directory / 'status'}"),
        ]


def _run(arguments: list[str], timeout_s: float, show: Callable[[str], None]) -> str:
    """What the guest's script and QEMU itself say."""
    command = ["nice", "-n", str(NICE), "timeout", "--kill-after=5", f"{timeout_s:.0f}", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert process.stdout is not None
            output = "".join(_shown(process.stdout, show))
        except BaseException:
            process.terminate()  # timeout(1) passes it on
            raise
    if process.returncode == _NOT_FOUND:
        raise KitError(f"{QEMU} is not installed: apt-get install --no-install-recommends qemu-system-x86")
    return output


def _shown(stream: IO[bytes], show: Callable[[str], None]) -> list[str]:
    lines = []
    for data in stream:
        line = data.decode("utf-8", "replace")
        show(line.rstrip("\r\n"))
        lines.append(line)
    return lines


def _padded(script: bytes) -> bytes:
    """Whole sectors; the shell reads the disk as a file."""
    return script + b"\n" * (-len(script) % _SECTOR)


def _status(text: str) -> int | None:
    word, _, number = text.strip().partition(" ")
    return int(number) if word == "exit" and number.isdigit() else None
