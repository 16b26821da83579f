"""The BPF programs that minibus loads (bpf(2)): which devices the processes of a version 2 cgroup may open, and what
puts VLAN tags on frames, takes them off, and drops the rest."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from shims.linux.libc import LIBC, raise_errno

_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280}.get(os.uname().machine, -1)
_BPF_PROG_LOAD: Final = 5
_BPF_PROG_ATTACH: Final = 8
_BPF_PROG_TYPE_CGROUP_DEVICE: Final = 15
_BPF_CGROUP_DEVICE: Final = 6
_BPF_PROG_TYPE_SCHED_CLS: Final = 3

# The context, struct bpf_cgroup_dev_ctx: u32 access_type = access << 16 | type; u32 major; u32 minor.
_TYPES: Final = {"b": 1, "c": 2}
_ACCESS: Final = {"m": 1, "r": 2, "w": 4}
_REST, _TYPE, _ASKED, _MAJOR, _MINOR = 0, 2, 3, 4, 5  # registers

_LDX_W, _MOV_REG, _MOV_IMM, _AND_IMM, _RSH_IMM = 0x61, 0xBC, 0xB4, 0x54, 0x74
_JNE_IMM, _EXIT = 0x55, 0x95


def _instruction(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, off, imm)


def _rule_instructions(rule: str) -> bytes:
    """Allow and end if `rule` ("c 136:* rwm") covers the access, else fall through."""
    kind, numbers, access = rule.split()
    major, minor = numbers.split(":")
    allowed = sum(_ACCESS[letter] for letter in access)
    tests: list[tuple[int, int]] = [(_TYPE, _TYPES[kind])]
    tests += [(register, int(number)) for register, number in ((_MAJOR, major), (_MINOR, minor)) if number != "*"]
    # What is asked beyond what is allowed must be nothing.
    compute = _instruction(_MOV_REG, _REST, _ASKED) + _instruction(_AND_IMM, _REST, imm=~allowed & 0x7)
    accept = _instruction(_MOV_IMM, _REST, imm=1) + _instruction(_EXIT)
    code = b""
    remaining = len(tests) + 1 + 2 + 2  # tests, compute and its test, accept
    for register, value in tests:
        remaining -= 1
        code += _instruction(_JNE_IMM, register, off=remaining, imm=value)
    return code + compute + _instruction(_JNE_IMM, _REST, off=2) + accept


def device_program(rules: Iterable[str]) -> bytes:
    """The instructions that allow what any of `rules` allows and deny the rest."""
    load = (
        _instruction(_LDX_W, _TYPE, 1, 0)
        + _instruction(_MOV_REG, _ASKED, _TYPE)
        + _instruction(_AND_IMM, _TYPE, imm=0xFFFF)
        + _instruction(_RSH_IMM, _ASKED, imm=16)
        + _instruction(_LDX_W, _MAJOR, 1, 4)
        + _instruction(_LDX_W, _MINOR, 1, 8)
    )
    deny = _instruction(_MOV_IMM, 0, imm=0) + _instruction(_EXIT)
    return load + b"".join(_rule_instructions(rule) for rule in rules) + deny


def _bpf(command: int, attributes: bytes) -> int:
    result = int(LIBC.syscall(_SYS_BPF, command, attributes, len(attributes)))
    if result < 0:
        raise_errno()
    return result


def load_device_program(rules: Iterable[str]) -> int:
    """A descriptor of the loaded program."""
    return _load(_BPF_PROG_TYPE_CGROUP_DEVICE, device_program(rules))


def _load(kind: int, code: bytes) -> int:
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "IIQQIIQII",
        kind,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
    )
    return _bpf(_BPF_PROG_LOAD, attributes)


def attach_device_rules(directory: str, rules: Iterable[str]) -> None:
    """Let the processes below the cgroup `directory` open only what `rules` allow; replaces an earlier program."""
    program = load_device_program(rules)
    try:
        cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _bpf(_BPF_PROG_ATTACH, struct.pack("IIII", cgroup, program, _BPF_CGROUP_DEVICE, 0))
        finally:
            os.close(cgroup)
    finally:
        os.close(program)


# --- VLAN tags

# The context, struct __sk_buff, by offset; a frame's outermost tag is never among its bytes.
_VLAN_PRESENT, _VLAN_TCI, _VLAN_PROTOCOL = 20, 24, 28
_MOV64_IMM, _JEQ_IMM, _CALL = 0xB7, 0x15, 0x85
_SKB_VLAN_PUSH, _SKB_VLAN_POP = 18, 19
_PASS, _DROP = 0, 2
_TAGGED: Final = socket.htons(0x8100)
_VLAN_MASK: Final = 0xFFF
_ANSWER, _FIRST, _SECOND, _THIRD = 0, 1, 2, 3  # registers


def tagging_program(vlan: int) -> bytes:
    """The instructions that put a tag around any frame, whatever tags it has."""
    return (
        _instruction(_MOV64_IMM, _SECOND, imm=_TAGGED)
        + _instruction(_MOV64_IMM, _THIRD, imm=vlan)
        + _instruction(_CALL, imm=_SKB_VLAN_PUSH)
        + _pass_if_done()
    )


def untagging_program(vlan: int) -> bytes:
    """The instructions that drop all frames but those of this VLAN, and take the outermost tag off these."""
    tests = (
        _instruction(_JEQ_IMM, _SECOND, off=9),  # the drop at the end
        _instruction(_LDX_W, _SECOND, _FIRST, _VLAN_PROTOCOL),
        _instruction(_JNE_IMM, _SECOND, off=7, imm=_TAGGED),
        _instruction(_LDX_W, _SECOND, _FIRST, _VLAN_TCI),
        _instruction(_AND_IMM, _SECOND, imm=_VLAN_MASK),
        _instruction(_JNE_IMM, _SECOND, off=4, imm=vlan),
        _instruction(_CALL, imm=_SKB_VLAN_POP),
    )
    return _instruction(_LDX_W, _SECOND, _FIRST, _VLAN_PRESENT) + b"".join(tests) + _pass_if_done()


def _pass_if_done() -> bytes:
    """Five instructions, of which the last two drop."""
    return (
        _instruction(_JNE_IMM, _ANSWER, off=2)
        + _instruction(_MOV64_IMM, _ANSWER, imm=_PASS)
        + _instruction(_EXIT)
        + _instruction(_MOV64_IMM, _ANSWER, imm=_DROP)
        + _instruction(_EXIT)
    )


def load_classifier(code: bytes) -> int:
    """A descriptor of a program for tc-bpf(8); raises OSError."""
    return _load(_BPF_PROG_TYPE_SCHED_CLS, code)
