"""The command line: flags as minimega's agent has them, with one dash or two."""

from __future__ import annotations

from shims.agent.log import LEVELS

DEFAULT_PORT = 9002
DEFAULT_PATH = "/tmp/miniccc"  # noqa: S108  made with care, see `places`
USAGE = f"""\
usage: minibus-agent [flags]                 serve this guest until it is told to end
       minibus-agent [flags] -tag KEY VALUE  set a tag of this VM
       minibus-agent [flags] -pipe NAME      stdin goes into a pipe of the namespace, the pipe to stdout

Without flags the agent looks for its server at /cc, /dev/minibus/cc and /dev/virtio-ports/cc.

  -serial PATH     device that leads to the server
  -family FAMILY   unix: the server is at the socket -parent; tcp: at the host -parent
  -parent WHERE    address, host name or path of the server
  -port N          its TCP port (default {DEFAULT_PORT})
  -uuid UUID       of this guest; else $MINIBUS_UUID, /etc/minibus/uuid, minibus.uuid= on the kernel command
                   line, or what the machine says (DMI)
  -path DIR        where files, records and the local socket go (default {DEFAULT_PATH})
  -level LEVEL     of the log: {", ".join(LEVELS)} (default error)
  -v=false         no log on stderr
  -logfile FILE    log to this file
  -version         print the version
  -h               print this
"""


class FlagError(Exception):
    """What is wrong with the command line; one sentence."""


class Flags:
    """What the command line says."""

    def __init__(self) -> None:
        self.port, self.parent, self.family = DEFAULT_PORT, "", ""
        self.serial, self.path, self.uuid = "", DEFAULT_PATH, ""
        self.level, self.v, self.logfile = "error", True, ""
        self.version = self.h = self.tag = False
        self.pipe: str | None = None
        self.words: list[str] = []


_SWITCHES = {"v": "v", "verbose": "v", "version": "version", "h": "h", "help": "h", "tag": "tag"}
_TEXTS = ("parent", "family", "serial", "path", "uuid", "level", "logfile", "pipe", "port")
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def parse(words: list[str]) -> Flags:
    """Raises FlagError."""
    flags = Flags()
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        name, equals, value = rest.pop(0).removeprefix("-").removeprefix("-").partition("=")
        if name in _SWITCHES:
            if equals and value.lower() not in _BOOLEANS:
                raise FlagError(f"-{name} is true or false, not `{value}`")
            setattr(flags, _SWITCHES[name], _BOOLEANS[value.lower()] if equals else True)
        elif name in _TEXTS:
            if not equals:
                if not rest:
                    raise FlagError(f"-{name} needs a value")
                value = rest.pop(0)
            setattr(flags, name, _port(value) if name == "port" else value)
        else:
            raise FlagError(f"there is no flag -{name}; -h lists them")
    flags.words = rest[1:] if rest[:1] == ["--"] else rest
    _check(flags)
    return flags


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise FlagError(f"a port is a number from 1 to 65535, not `{text}`")
    return int(text)


def _check(flags: Flags) -> None:
    if flags.h or flags.version:
        return
    if flags.level not in LEVELS:
        raise FlagError(f"-level is one of {', '.join(LEVELS)}, not `{flags.level}`")
    if flags.family not in ("", "tcp", "unix"):
        raise FlagError(f"-family is tcp or unix, not `{flags.family}`")
    if flags.family and not flags.parent:
        raise FlagError(f"-family {flags.family} needs -parent: where the server is")
    if flags.tag and len(flags.words) != 2:
        raise FlagError("-tag needs two words: a key and a value")
    if not flags.tag and flags.words:
        raise FlagError(f"`{flags.words[0]}` is too much")
    if flags.pipe == "":
        raise FlagError("-pipe needs the name of a pipe")
