"""docs/protocol.md says what the classes say, and its example runs."""

from __future__ import annotations

import re

from bus.actor import turns
from bus.gateway import connections, doors, gateway, relay, watchers
from bus.topics import MAX_TOPIC
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


def test_the_limits_over_tcp_are_those_of_the_gateway() -> None:
    section = PAGE.read_text().partition("### Limits over TCP\n")[2].partition("\n## ")[0]
    limits = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", section, re.MULTILINE))
    expected = {
        "connections": f"{connections.MAX_CONNECTIONS:,}; {connections.MAX_OF_KEY} of one key",
        "new connections from one address": f"{connections.MAX_ACCEPTED} in {connections.WINDOW_S:g} seconds",
        "time for the handshake": f"{doors.HANDSHAKE_MS / 1000:g} seconds",
        "a connection that has said nothing": f"{connections.SILENT_S:g} seconds",
        "an envelope": f"{gateway.MAX_HEAD // 1024} KiB",
        "an id, a cause": f"{relay.MAX_OWN_ID} characters",
        "requests under way of one key, those of closed connections among them": f"{relay.MAX_OF_KEY:,}, and"
        f" {relay.MAX_BYTES_OF_KEY >> 20} MiB together unless it is a single one",
        "what one key asks of one actor": "begun one by one, each key in its turn; answers of"
        f" {turns.RATE_BYTES >> 20} MiB a second, those of `pipe.read` aside",
        "answers that wait for one client": f"{doors.REQUESTS_QUEUE:,}",
        "a subscription": f"{MAX_TOPIC:,} bytes",
        "subscriptions of one connection": f"{watchers.MAX_SUBSCRIPTIONS:,}",
        "topics that one key subscribes to": f"{watchers.MAX_BYTES_OF_KEY >> 10} KiB together",
        "events that wait for one client": f"{doors.EVENTS_QUEUE:,}",
    }
    assert limits == {"what": "limit"} | expected
