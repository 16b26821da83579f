"""Builds the guest agent as one static program: CPython, the modules that the agent uses, and nothing of the guest.

python -m shims.images.agent_build FILE

Debian's libpython3.11-dev has a static library with all that is needed. The modules are compiled, and linked in as
frozen ones: an executable that is deleted, replaced or hidden by a mount while it runs finds them all the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import subprocess
import sys
import sysconfig
import tempfile
from importlib.machinery import FrozenImporter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
STATIC: Final = ROOT / "shims" / "agent" / "static"
LIBRARIES: Final = ("-lexpat", "-lz", "-lm", "-ldl", "-lpthread", "-lutil")
ALSO: Final = ("encodings.ascii", "encodings.latin_1", "shims.agent.mounts.mounts")
"""Modules that the interpreter, or the agent, loads by itself when it needs them."""
PACKAGES: Final = "libpython3.11-dev gcc libc6-dev zlib1g-dev libexpat1-dev"
TIMEOUT_S: Final = 120

# Run in an interpreter without anything else in it: what is loaded afterwards is what the agent needs. There, as in the
# agent, no module comes from a shared library.
_LIST_MODULES: Final = """
import sys
import _frozen_importlib_external as finders
sys.path_hooks[:] = [finders.FileFinder.path_hook((finders.SourceFileLoader, [".py"]))]
sys.path_importer_cache.clear()
sys.path[:0] = sys.argv[1:]
import shims.agent.__main__, shims.agent.agent
{also}
found = {{name: getattr(module, "__file__", None) for name, module in sorted(sys.modules.items())}}
print(*(f"{{name}}={{file}}" for name, file in found.items() if file and file.endswith(".py")), sep="\\n")
"""


class BuildError(Exception):
    """Why there is no agent; one sentence."""


def build(target: Path) -> bool:
    """Make `target` unless it is made of the same parts already; returns whether it was made. Raises BuildError."""
    target = target.absolute()
    modules = _modules()
    library = Path(sysconfig.get_config_var("LIBPL")) / f"libpython{sysconfig.get_config_var('LDVERSION')}.a"
    if not library.exists():
        raise BuildError(f"{library} is missing: install the Debian packages {PACKAGES}")
    source = STATIC / "main.c"
    parts = _digest([library, source, Path(__file__)], modules)
    mark = target.with_name(target.name + ".parts")
    if target.exists() and mark.exists() and mark.read_text() == parts:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="agent-", dir=target.parent) as directory:
        scratch = Path(directory)
        write_modules(modules, scratch)
        draft = scratch / target.name
        _link(source, library, scratch, draft)
        draft.rename(target)
    mark.write_text(parts)
    return True


def _modules() -> dict[str, Path]:
    """Names and sources of all modules."""
    code = _LIST_MODULES.format(also="\n".join(f"import {name}" for name in ALSO))
    packages = str(Path(_file_of("msgpack")).parents[1])
    # -S and no variables: what this interpreter has installed must not slip in, and of msgpack only its Python part.
    command = [sys.executable, "-I", "-S", "-c", code, str(STATIC), str(ROOT), packages]
    environment = {"MSGPACK_PUREPYTHON": "1", "PATH": os.environ.get("PATH", os.defpath)}
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S, env=environment, cwd="/"
        )
    except subprocess.SubprocessError as error:
        raise BuildError(f"the agent's modules cannot be loaded: {getattr(error, 'stderr', '') or error}") from None
    found = dict(line.split("=", 1) for line in result.stdout.splitlines())
    # Some modules of the standard library are in the interpreter already.
    return {name: Path(path) for name, path in found.items() if FrozenImporter.find_spec(name) is None}


def _file_of(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise BuildError(f"the Python package {name} is missing")
    return spec.origin


def _digest(files: list[Path], modules: dict[str, Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name, path in [*((file.name, file) for file in files), *modules.items()]:
        digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def write_modules(modules: dict[str, Path], directory: Path) -> None:
    """The table of frozen modules as C, and their code in a file that the assembler includes."""
    table, blob = [], bytearray()
    for name, path in modules.items():
        source = path.read_bytes()
        code = marshal.dumps(compile(source, f"{name.replace('.', '/')}.py", "exec", dont_inherit=True, optimize=2))
        is_package = int(path.name == "__init__.py")
        table.append(f'{{"{name}", code + {len(blob)}, {len(code)}, {is_package}, NULL}},')
        blob += code
    (directory / "code").write_bytes(blob)
    lines = [
        '__asm__(".section .rodata\\n.balign 16\\ncode: .incbin \\"code\\"\\n.previous");',
        "extern const unsigned char code[];",
        "static const struct _frozen modules[] = {",
        *table,
        "{NULL, NULL, 0, 0, NULL}};",
    ]
    (directory / "modules.h").write_text("\n".join(lines) + "\n")


def _link(source: Path, library: Path, scratch: Path, target: Path) -> None:
    include = sysconfig.get_paths()["include"]
    command = ["gcc", "-static", "-Os", "-s", "-Wall", f"-I{include}", f"-I{scratch}", str(source), str(library)]
    # glibc says of getaddrinfo, getpwnam and dlopen that they would load libraries; the agent calls none of them.
    command += [*LIBRARIES, "-Wl,--gc-sections", "-Wl,--no-warnings", "-o", str(target)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S, cwd=scratch)
    except FileNotFoundError:
        raise BuildError(f"gcc is missing: install the Debian packages {PACKAGES}") from None
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        why = next((line for line in said if "error:" in line), said[-1])
        raise BuildError(f"the agent cannot be linked ({why}): install the Debian packages {PACKAGES}") from None


def main(arguments: list[str]) -> int:
    """Command line entry point."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m shims.images.agent_build FILE\n")
        return 2
    try:
        build(Path(arguments[0]))
    except (BuildError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
