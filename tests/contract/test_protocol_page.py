"""docs/protocol.md says what the classes say, and its example runs."""

from __future__ import annotations

import re

from tools.protocol_page import BLOCKS, PAGE, renew
from tools.vectors import messages


def test_the_generated_parts_are_up_to_date() -> None:
    page = PAGE.read_text()
    assert renew(page) == page, "run `just docs`"
    assert re.findall(r"<!-- generated: (\w+) -->", page) == list(BLOCKS)


def test_every_message_is_in_it() -> None:
    page = PAGE.read_text()
    assert [tag for tag in messages() if f"| `{tag}` |" not in page] == []


def test_links_within_the_page_lead_somewhere() -> None:
    page = PAGE.read_text()
    titles = [line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^a-z0-9 -]", "", title).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
