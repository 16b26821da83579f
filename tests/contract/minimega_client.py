"""The PyPI package `minimega`, bindings that others wrote and generated: installed once, loaded by path, unmodified.

Its module has one method for each command, and the docstring of each lists the patterns it can send as `Variants:`.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

VERSIONS = ("2.7", "3.3.0")
"""The oldest and the newest on PyPI; this is the place where they are pinned."""
UNSERVED = tomllib.loads((Path(__file__).parent / "unserved_methods.toml").read_text())
CLIENTS = Path(__file__).parents[2] / "build" / "clients"
INSTALL_TIMEOUT_S = 90.0

_VARIANTS = re.compile(r"\s*Variants:\n((?:\t.*\n)+)")
_PLACEHOLDER = re.compile(r"[<(]([^>)]*)[>)](?:\.\.\.)?")


class Sent(NamedTuple):
    """What one variant of a method sends."""

    method: str
    variant: str
    """The pattern, as the docstring has it."""
    line: str


def module_path(version: str) -> Path:
    """The module of a version; installs it if it is missing. Raises RuntimeError if that fails, with the way out."""
    place = CLIENTS / f"minimega-{version}"
    if not (place / "minimega.py").is_file():
        _install(version, place)
    return place / "minimega.py"


def _install(version: str, place: Path) -> None:
    """Into a directory beside the place, then renamed: whoever was interrupted, or is faster, does no harm."""
    CLIENTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CLIENTS) as unfinished:
        options = ["--quiet", "--no-deps", "--no-input", "--disable-pip-version-check", "--target", unfinished]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, f"minimega=={version}"],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
        if done.returncode != 0:
            by_hand = f"{sys.executable} -m pip install --no-deps --target {place} minimega=={version}"
            raise RuntimeError(
                f"cannot install the client minimega {version} from PyPI, which needs a network once; "
                f"by hand: `{by_hand}`; pip says: {done.stderr[-500:]}"
            )
        place.mkdir(exist_ok=True)
        (Path(unfinished) / "minimega.py").replace(place / "minimega.py")


def load(version: str) -> ModuleType:
    """A version's module, whatever others are loaded."""
    spec = importlib.util.spec_from_file_location(f"minimega_{version.replace('.', '_')}", module_path(version))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Recorder:
    """Stands where the client has its socket."""

    def __init__(self) -> None:
        self.line = ""

    def send(self, data: bytes) -> int:
        """Take a request."""
        self.line = json.loads(data)["Command"]
        return len(data)


def offline(module: ModuleType) -> tuple[Any, _Recorder]:
    """A client that is connected to nothing, and what it has sent last; every answer is empty."""
    client = object.__new__(module.minimega)
    recorder = _Recorder()
    client.moreResponses = False
    client._lock = threading.Lock()
    client._raise_errors = True
    client._debug = False
    client._namespace = None
    client._socket = recorder
    client._get_response = lambda: {"Resp": [], "More": False}
    return client, recorder


def variants(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Name and pattern of everything the module can send."""
    for name, function in vars(module.minimega).items():
        found = _VARIANTS.match(function.__doc__ or "") if inspect.isfunction(function) else None
        if found is not None:
            yield from ((name, line.strip()) for line in found.group(1).splitlines())


def arguments(variant: str, value: Callable[[str], str]) -> dict[str, str]:
    """Keyword arguments that make a method choose this variant; `value` gives one for what a placeholder names."""
    return {parameter(text): _value(text, value) for text in _PLACEHOLDER.findall(variant)}


def parameter(placeholder: str) -> str:
    """The name of a method's parameter: the key, or the options of a choice."""
    name = "_or_".join(filter(None, placeholder.split(","))) if _is_choice(placeholder) else placeholder.split()[0]
    return re.sub(r"[-:/]", "_", name).rstrip(",")


def _is_choice(placeholder: str) -> bool:
    return "," in placeholder and " " not in placeholder


def _value(placeholder: str, value: Callable[[str], str]) -> str:
    return placeholder.split(",")[0] if _is_choice(placeholder) else value(placeholder)


def sent(module: ModuleType, values: Mapping[str, str]) -> Iterator[Sent]:
    """What every variant of every method sends; `values` by placeholder, or by its key."""

    def value(placeholder: str) -> str:
        key = placeholder.split()[0]
        return values.get(placeholder, values.get(key, "x"))

    client, recorder = offline(module)
    for name, variant in variants(module):
        getattr(client, name)(**arguments(variant, value))
        yield Sent(name, variant, recorder.line)


def unserved() -> dict[str, str]:
    """Methods that are known not to be served yet, each with the part that will serve it."""
    return {method: part for part, group in UNSERVED["parts"].items() for method in group["methods"]}
