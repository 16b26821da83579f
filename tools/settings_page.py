"""Writes the table of settings into docs/operations.md: `python -m tools.settings_page`."""

from __future__ import annotations

import re
from pathlib import Path

from bus.settings.settings import SETTINGS, Kind

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
_BLOCK = re.compile(r"(<!-- generated: settings -->\n).*?(<!-- end -->\n)", re.DOTALL)


def table() -> str:
    """One row a setting."""
    rows = ["| in the file | flag of `up` | environment | default | what |", "|---|---|---|---|---|"]
    for one in SETTINGS:
        flag = f"`-{one.flag}=false`" if one.kind is Kind.SWITCH and one.default == "true" else f"`--{one.flag}`"
        variable = f"`{one.variable}`" if one.variable else ""
        rows.append(f"| `{one.name}` | {flag} | {variable} | {one.default} | {one.help} |")
    return "\n".join(rows) + "\n"


def renew(page: str) -> str:
    """The page with its table as it should be."""
    return _BLOCK.sub(lambda found: found[1] + table() + found[2], page)


if __name__ == "__main__":
    PAGE.write_text(renew(PAGE.read_text()))
    print(f"wrote docs/{PAGE.name}")
