"""The node's part of logging: it owns the settings of all its processes. See `bus.logs.logs`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from bus.errors import InvalidError
from bus.logs import log_settings
from bus.logs.log_format import MAX_TEXT, Line
from bus.logs.logs import Outlet
from bus.node import control

CALLS: Final = ("logging", "set_logging", "reset_logging", "log_lines")
"""What the broker asks for over its lane."""
MAX_PAGE: Final = 32 * 1024
"""Bytes of records in one answer: a packet of the lane holds twice that."""


class LogOwner:
    """The settings in force, those of the start, and which child has been told."""

    def __init__(self, outlet: Outlet) -> None:
        """Take those of the environment; raises InvalidError if they make no sense or the file cannot be opened."""
        self._outlet = outlet
        try:
            self.first = log_settings.from_environment(os.environ)
            outlet.configure(self.first)
        except ValueError as error:
            raise InvalidError(str(error)) from error
        self._version = 0
        self._told: dict[str, int] = {}

    def inherits(self, child: str) -> None:
        """A child is being forked, with the settings in force."""
        self._told[child] = self._version

    def tell(self, lanes: Mapping[str, socket.socket]) -> None:
        """Send the settings to every child that has older ones; one whose lane is full is told next time."""
        packet = {"type": "logging", "settings": self._outlet.settings._asdict()}
        for child, lane in lanes.items():
            if self._told.get(child) != self._version and control.send(lane, packet):
                self._told[child] = self._version

    def keep(self, packet: Mapping[str, Any]) -> None:
        """Keep a record of a child that has no ring of its own."""
        match packet:
            case {"time_s": float(time_s), "level": str(level), "actor": str(actor), "text": str(text)}:
                if level in log_settings.LEVELS:
                    self._outlet.ring.add(Line(time_s, level, actor, text[:MAX_TEXT]))
            case _:
                pass

    def answer(self, packet: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one of `CALLS`; `error` is the sentence if it cannot be done."""
        try:
            match packet.get("what"):
                case "logging":
                    return {"settings": self._outlet.settings._asdict()}
                case "set_logging":
                    self._change(dict(packet.get("changes", {})), str(packet.get("add_filter", "")))
                case "reset_logging":
                    names = packet.get("names") or log_settings.NAMES
                    self._change({name: getattr(self.first, name) for name in names}, "")
                case _:
                    return {"lines": self._page(int(packet.get("after", 0)))}
        except (ValueError, AttributeError) as error:
            return {"error": str(error)}
        return {}

    def _change(self, changes: dict[str, Any], add_filter: str) -> None:
        now = self._outlet.settings
        if add_filter and add_filter not in now.filters:
            changes["filters"] = (*now.filters, add_filter)
        self._outlet.configure(log_settings.checked(now, changes))
        self._version += 1

    def _page(self, after: int) -> list[list[Any]]:
        """The next records of the ring, as many as fit into an answer."""
        page: list[list[Any]] = []
        room = MAX_PAGE
        for number, line in self._outlet.ring.after(after):
            entry = [number, *line]
            room -= len(json.dumps(entry))
            if room < 0 and page:
                break
            page.append(entry)
        return page
