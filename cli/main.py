"""The executable `minibus`. What a one-shot command needs is imported at once, everything else where it is used."""

from __future__ import annotations

import io
import os
import sys

from cli.arguments import Options, UsageError

TYPE_CHECKING = False  # `typing` costs 3 ms
if TYPE_CHECKING:
    from cli.place import Place

DEFAULT_BASE = "/var/lib/minibus"
MINIMEGA = "minimega"
MINIMEGA_BASE = "/tmp/minimega"  # noqa: S108 - where minimega's scripts look for it
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
"""As a shell reports programs that SIGINT and SIGPIPE ended."""

START_FLAGS = ("filepath", "level", "logfile", "console-address", "v", "verbose")
SETTINGS = ("durable", "tune-host", "metrics", "group", "log-format", "listen", "vlan-range")
PLACE = ("key", "address")
"""Flags of those that can talk to another host."""
SUBCOMMANDS = {
    "attach": ("namespace",),
    "exec": ("namespace", "json", *PLACE),
    "read": ("namespace", "json", "check"),
    "pipe": ("namespace", "read", "write", "framed", *PLACE),
    "console": ("namespace", "read-only", "new", *PLACE),
    "up": ("detach", "config", *SETTINGS, *START_FLAGS),
    "config": ("config", "json", *SETTINGS, *START_FLAGS),
    "down": ("guests",),
    "restart": (),
    "key": ("role", "namespace", "topic", "expires", "out", "address", "json"),
    "nuke": ("yes",),
    "doctor": ("json", "expect", "memory", "interfaces", "processes", "watchers", "untune"),
    "ps": ("json", *PLACE),
    "tap": ("json", *PLACE),
    "topics": ("json", "watch", *PLACE),
    "rate": ("json", "for", *PLACE),
    "ask": ("json", "list", "namespace", "timeout", "id", *PLACE),
    "inputs": ("json", "follow", *PLACE),
    "trace": ("json", *PLACE),
    "version": (),
}
"""Subcommands and their flags; all take `--base` and `--help` too."""
ARGUMENTS = {
    **{"tap": 1, "pipe": 1, "read": 1, "console": 1},
    **{"config": 2, "restart": 1, "key": 3, "topics": 1, "rate": 1, "ask": 3, "inputs": 1, "trace": 1},
}
"""How many arguments a subcommand takes at most; `exec` takes any number."""


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
        return _misused(program, error)
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


def _misused(program: str, why: UsageError) -> int:
    if program == MINIMEGA:
        from cli.usage import usage

        sys.stderr.write(f"{program}: {why}\n{usage(MINIMEGA)}\n")
    else:
        help_ = f"{why.subcommand} --help".strip()
        sys.stderr.write(f"minibus: {why}; see `minibus {help_}`\n")
    return EXIT_USAGE


def _discard_output() -> None:
    """Let the interpreter's last flush of what could not be written find an open file."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def dispatch(program: str, arguments: list[str]) -> int:
    """Do what the arguments say; raises UsageError."""
    options = Options()
    rest = options.take(arguments)
    mode = next((name for name in ("cli", "version", "pipe", "e", "attach") if _is_given(options, name)), "")
    if options.is_on("help", "h"):
        return _help(rest or [program] * (program == MINIMEGA))
    if mode:
        return _mode(program, mode, options, rest)
    if rest and rest[0] == "help":
        return _help(rest[1:])
    if rest and rest[0] in SUBCOMMANDS:
        try:
            return _subcommand(program, options, rest[0], rest[1:])
        except UsageError as error:
            error.subcommand = rest[0]
            raise
    if program == MINIMEGA or options.is_on("nostdin"):
        return _daemon(program, options, rest)
    if rest:
        raise UsageError(f"there is no subcommand {rest[0]}")
    if arguments:
        raise UsageError("a subcommand is missing")
    return _help([])


def base_directory(program: str, options: Options) -> str:
    """The base directory that a command line means, as absolute path."""
    default = MINIMEGA_BASE if program == MINIMEGA else os.environ.get("MINIBUS_BASE") or DEFAULT_BASE
    return os.path.abspath(options.values.get("base") or default)  # noqa: PTH100 - pathlib costs 3 ms


# --- minimega's ways


def _is_given(options: Options, mode: str) -> bool:
    return options.is_on(mode) or bool(options.values.get(mode))


def _mode(program: str, mode: str, options: Options, rest: list[str]) -> int:
    """One of minimega's flags that say what to do; other flags of minimega beside it have no effect."""
    match mode:
        case "e":
            return _one_shot(program, options, rest) if rest else 0
        case _ if rest:
            raise UsageError(f"--{mode} does not take `{rest[0]}`")
        case "cli":
            from cli.export import grammar_json

            print(grammar_json())
            return 0
        case "version":
            return _version()
        case "pipe":
            return _pipe(program, options, options.values["pipe"])
        case _:
            return _attach(program, options)


def _daemon(program: str, options: Options, scripts: list[str]) -> int:
    from pathlib import Path

    from cli.operations.daemon import DEFAULTS, daemon

    if extra := options.beyond(("base", "v", *DEFAULTS)):
        raise UsageError(f"--{extra} has no meaning here")
    if missing := next((script for script in scripts if not os.path.isfile(script)), ""):  # noqa: PTH113 - as it was typed
        raise UsageError(f"{missing} is neither a file nor a subcommand")
    return daemon(Path(base_directory(program, options)), _given_flags(options), scripts)


def _given_flags(options: Options) -> dict[str, str]:
    """The flags of a start, as texts; `v` is another name of `verbose`."""
    switches = {("verbose" if name == "v" else name): str(on).lower() for name, on in options.switches.items()}
    return {**{name: value for name, value in options.values.items() if name != "base"}, **switches}


# --- subcommands


def _subcommand(program: str, options: Options, subcommand: str, given: list[str]) -> int:
    rest = _arguments(options, subcommand, given)
    if options.is_on("help", "h"):
        return _help([subcommand])
    if extra := options.beyond((*SUBCOMMANDS[subcommand], "base")):
        raise UsageError(f"{subcommand} takes no --{extra}")
    if subcommand != "exec" and len(rest) > ARGUMENTS.get(subcommand, 0):
        raise UsageError(f"{subcommand} does not take `{rest[-1]}`")
    match subcommand:
        case "exec":
            if not rest:
                raise UsageError("exec needs a command")
            return _remote(options, rest) if _is_elsewhere(options) else _one_shot(program, options, rest)
        case "read":
            if not rest:
                raise UsageError("read needs one file")
            check = ["check"] if options.is_on("check") else []
            file = os.path.abspath(rest[0])  # noqa: PTH100 - pathlib costs 3 ms; the server's directory is another
            return _one_shot(program, options, ["read", file, *check])
        case "attach":
            return _attach(program, options)
        case "pipe":
            if not rest:
                raise UsageError("pipe needs a name")
            return _pipe(program, options, rest[0])
        case "console":
            if not rest:
                raise UsageError("console needs the name or id of a VM")
            return _console(program, options, rest[0])
        case "version":
            return _version()
        case _:
            return _host(program, base_directory(program, options), subcommand, options, rest)


def _arguments(options: Options, subcommand: str, given: list[str]) -> list[str]:
    """Read the options of a subcommand; gives its other arguments. Raises UsageError.

    Options may follow the arguments, except those of a command in several words, which may look the same.
    """
    words: list[str] = []
    rest = options.take(given)
    while rest:
        words.append(rest.pop(0))
        if subcommand == "exec" and " " not in words[0]:
            return words + rest
        rest = options.take(rest)
    return words


def _host(program: str, base_text: str, subcommand: str, options: Options, rest: list[str]) -> int:
    """What concerns the whole host: these load more than a command does."""
    from pathlib import Path

    base = Path(base_text)
    match subcommand:
        case "up":
            from cli.operations.up import up

            flags = _given_flags(options)
            if program == MINIMEGA or options.values.get("base"):
                flags["base"] = base_text
            return up(flags, detach=options.is_on("detach"), config=flags.pop("config", ""))
        case "down":
            from cli.operations.down import down

            return down(base, guests=options.is_on("guests"))
        case "config":
            from cli.operations.config import config

            return config(rest, {**_given_flags(options), "base": options.values.get("base", "")})
        case "restart":
            from cli.operations.restart import restart

            if not rest:
                raise UsageError("restart needs the name of an actor; `minibus ps` shows them")
            return restart(base, rest[0])
        case "nuke":
            from cli.operations.nuke import nuke

            return nuke(base, is_sure=options.is_on("yes"))
        case "doctor":
            from cli.operations.doctor import doctor, untune

            if options.is_on("untune"):
                if extra := options.beyond(("base", "untune")):
                    raise UsageError(f"doctor --untune takes no --{extra}")
                untune(base)
            doctor(base, options.values, as_json=options.is_on("json"))
        case "ask" | "inputs" | "rate" | "topics" | "trace":
            from cli.looking.subcommands import run

            return run(_place(base_text, options), subcommand, options, rest)
        case "key":
            from cli.operations.key import key

            return key(base, options, rest)
        case "ps":
            from cli.looking.ps import ps

            return ps(_place(base_text, options), as_json=options.is_on("json"))
        case _:
            from cli.looking.tap import tap

            return tap(_place(base_text, options), rest[0] if rest else "", as_json=options.is_on("json"))


# --- what both have


def _one_shot(program: str, options: Options, words: list[str]) -> int:
    from cli.grammar.quoting import command_line, quote
    from cli.prompt.one_shot import run

    line = command_line(words)
    if not line.strip():
        return 0
    if options.values.get("namespace"):
        line = f"namespace {quote(options.values['namespace'])} {line}"
    answered, failed = run(base_directory(program, options), line, as_json=options.is_on("json"))
    if program == MINIMEGA and options.is_on("e"):
        failed = False  # minimega's -e tells nobody that a command failed, and scripts rely on it
    return 0 if answered and not failed else 1


def _is_elsewhere(options: Options) -> bool:
    return any(flag in options.values for flag in PLACE)


def _place(base_text: str, options: Options) -> Place:
    from pathlib import Path

    from cli.place import place_of

    return place_of(Path(base_text), options)


def _remote(options: Options, words: list[str]) -> int:
    from cli.grammar.quoting import command_line
    from cli.prompt.remote_exec import run

    place, namespace = _place("", options), options.values.get("namespace", "")
    line = command_line(words)
    answered, failed = run(place, line, namespace=namespace, as_json=options.is_on("json"))
    return 0 if answered and not failed else 1


def _attach(program: str, options: Options) -> int:
    from cli.prompt.attach import attach

    namespace = options.values.get("namespace", "")
    return attach(base_directory(program, options), namespace=namespace, as_minimega=program == MINIMEGA)


def _pipe(program: str, options: Options, name: str) -> int:
    from cli.streams.pipe import Ends, pipe

    one_way = options.is_on("read") != options.is_on("write")
    ends = Ends(
        reads=options.is_on("read") or not one_way,
        writes=options.is_on("write") or not one_way,
        framed=options.is_on("framed"),
    )
    return pipe(
        _place(base_directory(program, options), options), name, ends, namespace=options.values.get("namespace", "")
    )


def _console(program: str, options: Options, target: str) -> int:
    from cli.streams.console import Wish, console

    wish = Wish(only_watch=options.is_on("read-only"), from_now=options.is_on("new"))
    place = _place(base_directory(program, options), options)
    return console(place, target, wish, namespace=options.values.get("namespace", ""))


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
