"""libnftables: how it is found, and what is made of its errors. (What it does: tests/integration.)"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shims.network import nft
from shims.network.nft import Nft, NftError


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "nftables", raising=False)
    monkeypatch.setattr(nft, "PLACES", (str(tmp_path),))
    wanted = rf"^libnftables cannot be used \(there is no {tmp_path}\): install libnftables1 and python3-nftables$"
    with pytest.raises(NftError, match=wanted):
        Nft()


def test_a_package_that_is_broken_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("nftables", "nftables.nftables"):  # another test may have loaded the real one
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(nft, "PLACES", (str(tmp_path),))
    (tmp_path / "__init__.py").write_text("from .nftables import Nftables\n")
    with pytest.raises(NftError, match="install libnftables1"):
        Nft()
    assert "nftables" not in sys.modules
    (tmp_path / "nftables.py").write_text(
        "class Nftables:\n    def __init__(self): raise OSError('no libnftables.so.1')"
    )
    with pytest.raises(NftError, match=r"^libnftables cannot be used \(no libnftables.so.1\): install "):
        Nft()


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("Error: No such file\nlist x\n     ^\nError: another\n", "nftables refuses: No such file"),
        (
            "internal:0:0-0: Error: No such file or directory; did you mean x?\ninternal:0:0-0: Error: y",
            "nftables refuses: No such file or directory; did you mean x?",
        ),
        ("", "nftables refuses: it does not say why"),
        ("something else\n", "nftables refuses: something else"),
        ("Error: " + "x" * 1000, "nftables refuses: " + "x" * 300),
    ],
)
def test_an_error_is_one_sentence(reason: str, sentence: str) -> None:
    with pytest.raises(NftError) as raised:
        Nft._check((-1, "", reason))
    assert str(raised.value) == sentence
