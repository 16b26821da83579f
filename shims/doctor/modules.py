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
    PERHAPS = "perhaps"
    """This kernel has modules, and their list is not here, as in a container."""
    NONE = "none"
    """No module: part of the kernel or not there, which using it shows without loading anything."""


class Modules:
    """What the files of the running kernel's modules say (modules.dep(5))."""

    def __init__(self, source: Source, release: str) -> None:
        directory = f"/lib/modules/{release}"
        self._loaded = {line.split(" ", 1)[0] for line in source.text("/proc/modules").splitlines()}
        self._builtin = _names(source.text(f"{directory}/modules.builtin"))
        self._loadable = _names(source.text(f"{directory}/modules.dep"))
        self._is_listed = source.exists(f"{directory}/modules.dep") or not source.exists("/proc/modules")

    def state(self, name: str) -> Module:
        """How the kernel has the module `name`, with underscores."""
        if name in self._loaded or name in self._builtin:
            return Module.HERE
        if name in self._loadable:
            return Module.LOADABLE
        return Module.NONE if self._is_listed else Module.PERHAPS

    def can_load(self, name: str) -> bool:
        """Using it could load a module."""
        return self.state(name) in (Module.LOADABLE, Module.PERHAPS)


def _names(text: str) -> set[str]:
    """`kernel/fs/overlayfs/overlay.ko.xz: …` is overlay; dashes in names of files are underscores in the kernel."""
    return {name.replace("-", "_") for name in re.findall(r"^(?:\S*/)?([^/\s:]+)\.ko(?:\.\w+)?(?::|$)", text, re.M)}
