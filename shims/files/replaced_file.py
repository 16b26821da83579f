"""A small file that other programs read: they see the old text or the new one, never a part."""

from __future__ import annotations

from pathlib import Path

MODE = 0o644
SUFFIX = ".new"


def replace(path: Path, text: str) -> None:
    """Put a text in place of a file, which need not exist; raises OSError, and then the old one is still there."""
    draft = path.with_name(path.name + SUFFIX)
    try:
        draft.write_text(text)
        draft.chmod(MODE)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
