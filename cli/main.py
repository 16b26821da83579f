"""The executable `minibus`. What a one-shot command needs is imported at once, everything else where it is used."""

from __future__ import annotations

import io
import os
import sys

DEFAULT_BASE = "/var/lib/minibus"
MINIMEGA_BASE = "/tmp/minimega"  # noqa: S108 - where minimega's scripts look for it
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
"""As a shell reports programs that SIGINT and SIGPIPE ended."""

VALUE_OPTIONS = ("base", "namespace")
FLAGS = {
    "exec": ("json",),
    "read": ("json", "check"),
    "up": ("detach", "durable"),
    "down": ("guests",),
    "ps": ("json",),
    "tap": ("json",),
    "version": (),
}
"""Subcommands and their flags; all take `--base` too, `exec` and `read` also `--namespace`."""


class UsageError(Exception):
    """The arguments make no sense; `str()` is one sentence."""


class Options:
    """What was given before the first word that is no option."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.flags: set[str] = set()

    def take(self, arguments: list[str], allowed: tuple[str, ...]) -> list[str]:
        """Read leading options, with one dash or two; gives the rest. Raises UsageError."""
        rest = list(arguments)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            argument = rest.pop(0)
            if argument == "--":
                break
            name, equals, value = argument.lstrip("-").partition("=")
            if name in VALUE_OPTIONS:
                if not equals:
                    if not rest:
                        raise UsageError(f"{argument} needs a value")
                    value = rest.pop(0)
                self.values[name] = value
            elif name in allowed and value in ("", "true"):
                self.flags.add(name)
            elif name not in allowed or value != "false":
                raise UsageError(f"unknown option {argument}")
        return rest

    def base(self, program: str) -> str:
        """The base directory, as absolute path."""
        default = MINIMEGA_BASE if program == "minimega" else os.environ.get("MINIBUS_BASE") or DEFAULT_BASE
        return os.path.abspath(self.values.get("base") or default)  # noqa: PTH100 - pathlib costs 3 ms


def main() -> int:
    """Run a command line; returns the exit status."""
    program = os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib costs 3 ms
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it is None if the caller closed it
            stream.reconfigure(errors="backslashreplace")  # a name that the locale cannot write is no reason to fail
    try:
        status = dispatch(program, sys.argv[1:])
        print(end="", flush=True)
        return status
    except UsageError as error:
        sys.stderr.write(f"minibus: {error}; see `minibus --help`\n")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_PIPE_CLOSED
    except OSError as error:
        _discard_output()
        what = error.filename or "cannot write the answer"
        sys.stderr.write(f"minibus: {what}: {error.strerror or error}\n")
        return 1


def _discard_output() -> None:
    """Let the interpreter's last flush of what could not be written find an open file."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def dispatch(program: str, arguments: list[str]) -> int:
    """Do what the arguments say; raises UsageError."""
    options = Options()
    rest = options.take(arguments, ("e", "version", "help", "h"))
    if options.flags & {"help", "h"}:
        return _help(rest)
    if "version" in options.flags:
        return _version()
    if "e" in options.flags:
        return _one_shot(program, options, rest) if rest else 0
    if not rest:
        return _help([])
    subcommand = rest.pop(0)
    if subcommand == "help":
        return _help(rest)
    if subcommand not in FLAGS:
        raise UsageError(f"there is no subcommand {subcommand}")
    rest = _arguments(options, subcommand, rest)
    if options.flags & {"help", "h"}:
        return _help([subcommand])
    if "namespace" in options.values and subcommand not in ("exec", "read"):
        raise UsageError(f"{subcommand} takes no --namespace")
    return _subcommand(program, subcommand, options, rest)


def _arguments(options: Options, subcommand: str, given: list[str]) -> list[str]:
    """Read the options of a subcommand; gives its other arguments. Raises UsageError.

    Options may follow the arguments, except those of a command in several words, which may look the same.
    """
    allowed = (*FLAGS[subcommand], "help", "h")
    words: list[str] = []
    rest = options.take(given, allowed)
    while rest:
        words.append(rest.pop(0))
        if subcommand == "exec" and " " not in words[0]:
            return words + rest
        rest = options.take(rest, allowed)
    return words


def _subcommand(program: str, subcommand: str, options: Options, rest: list[str]) -> int:
    match subcommand:
        case "exec":
            if not rest:
                raise UsageError("exec needs a command")
            return _one_shot(program, options, rest)
        case "read":
            if len(rest) != 1:
                raise UsageError("read needs one file")
            check = ["check"] if "check" in options.flags else []
            file = os.path.abspath(rest[0])  # noqa: PTH100 - pathlib costs 3 ms; the server's directory is another
            return _one_shot(program, options, ["read", file, *check])
        case "version":
            return _version()
        case _:
            return _over_the_bus(program, subcommand, options, rest)


def _one_shot(program: str, options: Options, words: list[str]) -> int:
    from cli.grammar.quoting import command_line, quote
    from cli.one_shot import run

    line = command_line(words)
    if options.values.get("namespace"):
        line = f"namespace {quote(options.values['namespace'])} {line}"
    answered, failed = run(options.base(program), line, as_json="json" in options.flags)
    if program == "minimega" and "e" in options.flags:
        failed = False  # minimega's -e tells nobody that a command failed, and scripts rely on it
    return 0 if answered and not failed else 1


def _over_the_bus(program: str, subcommand: str, options: Options, rest: list[str]) -> int:
    from pathlib import Path

    base = Path(options.base(program))
    if rest and (subcommand != "tap" or len(rest) > 1):
        raise UsageError(f"{subcommand} does not take `{rest[-1]}`")
    match subcommand:
        case "up":
            from cli.up import up

            return up(base, detach="detach" in options.flags, durable="durable" in options.flags)
        case "down":
            from cli.down import down

            return down(base, guests="guests" in options.flags)
        case "ps":
            from cli.ps import ps

            return ps(base, as_json="json" in options.flags)
        case _:
            from cli.tap import tap

            return tap(base, rest[0] if rest else "", as_json="json" in options.flags)


def _version() -> int:
    from cli.version import version_text

    print(version_text())
    return 0


def _help(words: list[str]) -> int:
    from cli.usage import usage

    text = usage(words[0] if words else "")
    if not text:
        raise UsageError(f"there is no subcommand {words[0]}")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
