"""What an init's first bytes say about how it is executed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shims.container.setup.init_program import BadInitError, check_init, elf_interpreter, script_interpreter


@pytest.mark.parametrize(
    ("head", "interpreter"),
    [
        (b"#!/bin/sh\n", b"/bin/sh"),
        (b"#! \t/bin/sh -e -x\nrest", b"/bin/sh"),
        (b"#!/bin/sh", b"/bin/sh"),
        (b"#!\n/bin/sh", b""),
        (b"#!", b""),
        (b"\x7fELF", None),
        (b"", None),
        (b" #!/bin/sh", None),
    ],
)
def test_script_interpreter(head: bytes, interpreter: bytes | None) -> None:
    assert script_interpreter(head) == interpreter


def elf(*, wide: bool, order: str, loader: bytes | None) -> bytes:
    """The first bytes of a program with one program header."""
    header = 64 if wide else 52
    size = 56 if wide else 32
    head = bytearray(header + size)
    head[:6] = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2])
    struct.pack_into(order + ("Q" if wide else "I"), head, 32 if wide else 28, header)
    struct.pack_into(order + "HH", head, 54 if wide else 42, size, 1)
    struct.pack_into(order + "I", head, header, 3 if loader is not None else 1)
    struct.pack_into(order + ("Q" if wide else "I"), head, header + (8 if wide else 4), len(head))
    return bytes(head) + (loader or b"") + b"\0"


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_elf_interpreter(wide: bool, order: str) -> None:
    assert elf_interpreter(elf(wide=wide, order=order, loader=b"/lib/ld.so")) == b"/lib/ld.so"
    assert elf_interpreter(elf(wide=wide, order=order, loader=None)) is None


def test_the_loader_of_a_real_program() -> None:
    loader = elf_interpreter(Path("/bin/true").read_bytes()[:4096])
    assert loader is not None and Path(loader.decode()).exists()


@given(st.binary(max_size=200))
def test_any_bytes(tail: bytes) -> None:
    found = elf_interpreter(b"\x7fELF" + tail)
    assert found is None or isinstance(found, bytes)
    script_interpreter(b"#!" + tail)


def test_check(tmp_path: Path) -> None:
    script = tmp_path / "init"
    script.write_text("#!/bin/sh\n")
    path = str(script).encode()
    with pytest.raises(BadInitError, match="is not executable"):
        check_init(path)
    script.chmod(0o755)
    assert check_init(path) == 0
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    with pytest.raises(BadInitError, match="does not exist"):
        check_init(str(link).encode())
    with pytest.raises(BadInitError, match="is a directory"):
        check_init(str(tmp_path).encode())
