"""Names of VMs: which are allowed, and what the words of `vm launch` and of a VM target stand for."""

from __future__ import annotations

import re
from collections import Counter

import msgspec

from bus.language import ranges
from bus.messages.base import WILDCARD

MAX_VMS = 10_000
"""VMs that one command may launch."""
MAX_TARGETS = 2 * MAX_VMS
"""VMs that one command may name; each that is not there is a sentence of its answer."""
MAX_NAME = 64
"""Characters of a name."""

_NAME = re.compile(rf"(?!\.{{1,2}}\Z)[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")
_INTEGER = re.compile(r"[+-]?[0-9]+")


class VmNameError(ValueError):
    """A name, count or target makes no sense; `str()` is one sentence."""


def is_valid(name: str) -> bool:
    """Whether a namespace, a VM or a saved configuration may have this name, reserved words aside."""
    return _NAME.fullmatch(name) is not None


def is_integer(text: str) -> bool:
    """Whether the text would be read as an id or a count."""
    return _INTEGER.fullmatch(text) is not None


def check_vm_name(name: str) -> None:
    """Raise VmNameError if no VM may have this name."""
    if name == WILDCARD:
        raise VmNameError(f"invalid vm name, `{WILDCARD}` is a reserved word")
    if is_integer(name):
        raise VmNameError(f"invalid vm name, `{_short(name)}` is an integer")
    if not is_valid(name):
        allowed = f"1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"
        raise VmNameError(f"invalid vm name, `{_short(name)}` is not {allowed}")


def parse_launch(text: str) -> tuple[int, tuple[str, ...]]:
    """How many VMs to launch, and their names if they were given; raises VmNameError."""
    if is_integer(text) and len(text) <= 11 and -(2**31) <= int(text) < 2**31:
        count = int(text)
        if count <= 0:
            raise VmNameError("invalid number of vms (must be > 0)")
        _check_count(count)
        return count, ()
    try:
        names = ranges.expand(text)
    except ranges.RangeError as error:
        raise VmNameError(str(error)) from error
    if not names:
        raise VmNameError("no VMs to launch")
    _check_count(len(names))
    for name in names:
        check_vm_name(name)
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise VmNameError(f"`{twice}` is specified twice in VMs to launch")
    return len(names), tuple(names)


def _check_count(count: int) -> None:
    if count > MAX_VMS:
        raise VmNameError(f"cannot launch {count} VMs at once: at most {MAX_VMS} are allowed")


class Target(msgspec.Struct, frozen=True):
    """The VMs that a command is for: all, or those with these names and ids."""

    items: tuple[str, ...] = ()
    """Each once, in order; empty if the target is the wildcard."""

    @property
    def wild(self) -> bool:
        """Whether it means every VM."""
        return not self.items

    @property
    def single(self) -> bool:
        """Whether exactly one VM was named in so many words."""
        return len(self.items) == 1


def parse_target(text: str) -> Target:
    """Read a VM target: names, ids, ranges, or the wildcard, which swallows the rest; raises VmNameError."""
    try:
        items = tuple(dict.fromkeys(ranges.expand(text, max_names=MAX_TARGETS)))
    except ranges.RangeError as error:
        raise VmNameError(str(error)) from error
    if not items:
        raise VmNameError("the VM target is empty")
    return Target() if WILDCARD in items else Target(items)


def _short(text: str) -> str:
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 3]}..."
