"""The help of `minibus up`, made from the settings."""

from __future__ import annotations

import textwrap

from bus.settings.settings import SETTINGS, Kind, Setting

HEAD = """\
usage: minibus up [--detach] [--config FILE] [SETTING...]

Starts all actors of this host and stays in the foreground; Ctrl-C ends it.
Guests that were running before are taken over.

  --detach       go to the background and return when every actor is ready; what
                 they have to say goes to log/minibus.log in the base directory
  --config FILE  read settings from this file, else from $MINIBUS_CONFIG if that
                 is set; `minibus config template` prints one

Settings, which go before the environment, that before the file:
"""
VALUES = {Kind.PATH: "PATH", Kind.ADDRESS: "[ADDRESS:]PORT", Kind.TEXT: "TEXT"}
FORMS = {
    "host.group": "GROUP",
    "log.level": "LEVEL",
    "log.format": "json|text",
    "console.address": "ADDRESS",
    "gateway.listen": "tcp://ADDRESS:PORT",
    "vlans.range": "MIN-MAX",
}
"""What texts look like."""
INDENT = "      "
WIDTH = 80


def up_usage() -> str:
    """The whole text."""
    return HEAD + "\n".join(f"\n{_of(setting)}" for setting in SETTINGS)


def _of(setting: Setting) -> str:
    if setting.kind is Kind.SWITCH:
        flag = f"-{setting.flag}=false" if setting.default == "true" else f"--{setting.flag}"
    else:
        flag = f"--{setting.flag} {FORMS.get(setting.name, VALUES[setting.kind])}"
    where = f"${setting.variable}, " if setting.variable else ""
    notes = f"({where}in the file {setting.name}"
    notes += f"; {setting.default})" if setting.default and setting.kind is not Kind.SWITCH else ")"
    body = textwrap.fill(f"{setting.help} {notes}", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return f"  {flag}\n{body}"
