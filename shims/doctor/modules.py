"""Whether a kernel has a feature that may be a module, without loading it."""

from __future__ import annotations

import re
from enum import StrEnum

from shims.doctor.source import Source


class Module(StrEnum):
    """How the kernel has a module."""

    HERE = "here"
    """Built in or loaded: using it loads nothing."""
    LOADABLE = "loadable"
    UNLISTED = "unlisted"
    """Nothing is known about it, as with a kernel without modules: using it shows whether it is there."""


class Modules:
    """What the files of the running kernel's modules say (modules.dep(5))."""

    def __init__(self, source: Source, release: str) -> None:
        directory = f"/lib/modules/{release}"
        self._loaded = {line.split(" ", 1)[0] for line in source.text("/proc/modules").splitlines()}
        self._builtin = _names(source.text(f"{directory}/modules.builtin"))
        self._loadable = _names(source.text(f"{directory}/modules.dep"))

    def state(self, name: str) -> Module:
        """How the kernel has the module `name`, with underscores."""
        if name in self._loaded or name in self._builtin:
            return Module.HERE
        return Module.LOADABLE if name in self._loadable else Module.UNLISTED


def _names(text: str) -> set[str]:
    """`kernel/fs/overlayfs/overlay.ko.xz: …` is overlay; dashes in names of files are underscores in the kernel."""
    return {name.replace("-", "_") for name in re.findall(r"^(?:\S*/)?([^/\s:]+)\.ko(?:\.\w+)?(?::|$)", text, re.M)}
