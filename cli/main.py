"""The executable `minibus`. What a one-shot command needs is imported at once, everything else where it is used."""

from __future__ import annotations

import io
import os
import sys

from cli import subcommands
from cli.arguments import Options, UsageError
from cli.call import MINIMEGA, Call

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
"""As a shell reports programs that SIGINT and SIGPIPE ended."""


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
    call = Call(program, options, rest)
    mode = next((name for name in ("cli", "version", "pipe", "e", "attach") if _is_given(options, name)), "")
    if options.is_on("help", "h"):
        return subcommands.show_help(rest or [program] * call.is_minimega)
    if mode:
        return _mode(call, mode)
    if rest and rest[0] == "help":
        return subcommands.show_help(rest[1:])
    if rest and rest[0] in subcommands.SUBCOMMANDS:
        try:
            return subcommands.run(Call(program, options, rest[1:]), rest[0])
        except UsageError as error:
            error.subcommand = rest[0]
            raise
    if call.is_minimega or options.is_on("nostdin"):
        return _daemon(call)
    if rest:
        raise UsageError(f"there is no subcommand {rest[0]}")
    if arguments:
        raise UsageError("a subcommand is missing")
    return subcommands.show_help([])


# --- minimega's ways


def _is_given(options: Options, mode: str) -> bool:
    return options.is_on(mode) or bool(options.values.get(mode))


def _mode(call: Call, mode: str) -> int:
    """One of minimega's flags that say what to do; other flags of minimega beside it have no effect."""
    match mode:
        case "e":
            return subcommands.one_shot(call, call.words) if call.words else 0
        case _ if call.words:
            raise UsageError(f"--{mode} does not take `{call.words[0]}`")
        case "cli":
            from cli.export import grammar_json

            print(grammar_json())
            return 0
        case "version":
            return subcommands.version(call)
        case "pipe":
            return subcommands.pipe(call, call.options.values["pipe"])
        case _:
            return subcommands.attach(call)


def _daemon(call: Call) -> int:
    from pathlib import Path

    from cli.operations.daemon import DEFAULTS, daemon

    if extra := call.options.beyond(("base", "v", *DEFAULTS)):
        raise UsageError(f"--{extra} has no meaning here")
    if missing := next((word for word in call.words if not os.path.isfile(word)), ""):  # noqa: PTH113 - as it was typed
        raise UsageError(f"{missing} is neither a file nor a subcommand")
    return daemon(Path(call.base), call.start_flags(), call.words)


if __name__ == "__main__":
    sys.exit(main())
