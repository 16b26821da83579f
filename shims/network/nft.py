"""nftables by libnftables, with the Python module of Debian's package python3-nftables.

That module is on no package index and a virtual environment does not see the system's, so it is loaded from its path.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

PLACES: Final = ("/usr/lib/python3/dist-packages/nftables", "/usr/lib/python3/site-packages/nftables")
"""Where distributions have it."""
PACKAGES: Final = "libnftables1 and python3-nftables"
_NAME: Final = "nftables"
_MAX_REASON: Final = 300


class NftError(Exception):
    """libnftables is not there, or refused; `str()` is one sentence, and nothing was changed."""


class Nft:
    """Acts in the network namespace in which the thread was that made it, and is used by that thread alone."""

    def __init__(self) -> None:
        """Load the library; raises NftError."""
        try:
            self._library: Any = _module().Nftables()
        except (OSError, ImportError, AttributeError) as error:
            raise NftError(f"libnftables cannot be used ({error}): install {PACKAGES}") from None
        self._library.set_json_output(True)

    def run(self, text: str) -> None:
        """Carry out what is written in the language of nft(8), all or nothing; raises NftError.

        For text of our own only: names that come from elsewhere go to `apply`.
        """
        self._check(self._library.cmd(text))

    def apply(self, commands: Sequence[Mapping[str, object]]) -> None:
        """Carry out commands of libnftables-json(5), all or nothing; raises NftError."""
        self._check(self._library.cmd(json.dumps({"nftables": list(commands)})))

    def listed(self, what: str) -> list[dict[str, Any]]:
        """What `list <what>` shows, e.g. `map bridge minibus mb_v4`; raises NftError."""
        output = self._check(self._library.cmd(f"list {what}"))
        found: list[dict[str, Any]] = json.loads(output)["nftables"] if output else []
        return [item for item in found if "metainfo" not in item]

    @staticmethod
    def _check(answer: tuple[int, str, str]) -> str:
        code, output, reason = answer
        if code:
            raise NftError(f"nftables refuses: {_one_line(reason)}")
        return output


def _one_line(reason: str) -> str:
    """The first of the errors, without the place that is pointed at below it."""
    lines = [line.removeprefix("Error: ").strip() for line in reason.splitlines() if "Error:" in line]
    text = lines[0].rpartition("Error: ")[2] if lines else reason.strip()
    return text[:_MAX_REASON] or "it does not say why"


def _module() -> ModuleType:
    """The system's module, loaded once; raises ImportError."""
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    for place in PLACES:
        file = Path(place, "__init__.py")
        spec = importlib.util.spec_from_file_location(_NAME, file, submodule_search_locations=[place])
        if not file.exists() or spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module  # it imports its own parts by this name
        try:
            spec.loader.exec_module(module)
        except BaseException:
            with contextlib.suppress(KeyError):
                del sys.modules[_NAME]
            raise
        return module
    raise ImportError(f"there is no {PLACES[0]}")
