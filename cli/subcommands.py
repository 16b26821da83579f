"""The subcommands of the executable: which flags and words each takes, and which function it is.

Each function imports what it needs itself, because one-shot commands are run by hundreds.
"""

from __future__ import annotations

import os

from cli.arguments import UsageError, seconds
from cli.call import PLACE, Call

START_FLAGS = ("filepath", "level", "logfile", "console-address", "v", "verbose")
SETTINGS = ("durable", "tune-host", "metrics", "group", "log-format", "listen", "vlan-range")
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
MOST = {
    **{"tap": 1, "pipe": 1, "read": 1, "console": 1},
    **{"config": 2, "restart": 1, "key": 3, "topics": 1, "rate": 1, "ask": 3, "inputs": 1, "trace": 1},
}
"""How many words a subcommand takes at most; `exec` takes any number."""
NEEDS = {
    "exec": "a command",
    "read": "one file",
    "pipe": "a name",
    "console": "the name or id of a VM",
    "restart": "the name of an actor; `minibus ps` shows them",
    "rate": "a topic, e.g. vm/",
}
"""What those lack that were given no word and cannot do without."""


def run(call: Call, subcommand: str) -> int:
    """Run one of them with the words after it; returns the exit status. Raises UsageError."""
    call.words = _words(call, subcommand)
    if call.options.is_on("help", "h"):
        return show_help([subcommand])
    if extra := call.options.beyond((*SUBCOMMANDS[subcommand], "base")):
        raise UsageError(f"{subcommand} takes no --{extra}")
    if subcommand != "exec" and len(call.words) > MOST.get(subcommand, 0):
        raise UsageError(f"{subcommand} does not take `{call.words[-1]}`")
    if subcommand in NEEDS and not call.words:
        raise UsageError(f"{subcommand} needs {NEEDS[subcommand]}")
    return FUNCTIONS[subcommand](call)


def _words(call: Call, subcommand: str) -> list[str]:
    """Take the flags out; gives what is left. Raises UsageError.

    Flags may follow other words, except those of a command in several words, which may look the same.
    """
    words: list[str] = []
    rest = call.options.take(call.words)
    while rest:
        words.append(rest.pop(0))
        if subcommand == "exec" and " " not in words[0]:
            return words + rest
        rest = call.options.take(rest)
    return words


# --- commands of the language


def one_shot(call: Call, words: list[str]) -> int:
    """Have one command run by the command server of this host."""
    from cli.grammar.quoting import command_line, quote
    from cli.prompt.one_shot import run

    line = command_line(words)
    if not line.strip():
        return 0
    if call.namespace:
        line = f"namespace {quote(call.namespace)} {line}"
    answered, failed = run(call.base, line, as_json=call.as_json)
    if call.is_minimega and call.options.is_on("e"):
        failed = False  # minimega's -e tells nobody that a command failed, and scripts rely on it
    return 0 if answered and not failed else 1


def _exec(call: Call) -> int:
    if not call.is_elsewhere:
        return one_shot(call, call.words)
    from cli.grammar.quoting import command_line
    from cli.prompt.remote_exec import run

    answered, failed = run(call.place(), command_line(call.words), namespace=call.namespace, as_json=call.as_json)
    return 0 if answered and not failed else 1


def _read(call: Call) -> int:
    file = os.path.abspath(call.words[0])  # noqa: PTH100 - pathlib costs 3 ms; the server's directory is another
    return one_shot(call, ["read", file, *(["check"] if call.options.is_on("check") else [])])


def attach(call: Call) -> int:
    """A prompt."""
    from cli.prompt.attach import attach

    return attach(call.base, namespace=call.namespace, as_minimega=call.is_minimega)


# --- bytes


def pipe(call: Call, name: str) -> int:
    """Stdin and stdout are ends of a pipe."""
    from cli.streams.pipe import Ends, pipe

    options = call.options
    one_way = options.is_on("read") != options.is_on("write")
    ends = Ends(
        reads=options.is_on("read") or not one_way,
        writes=options.is_on("write") or not one_way,
        framed=options.is_on("framed"),
    )
    return pipe(call.place(), name, ends, namespace=call.namespace)


def _console(call: Call) -> int:
    from cli.streams.console import Wish, console

    wish = Wish(only_watch=call.options.is_on("read-only"), from_now=call.options.is_on("new"))
    return console(call.place(), call.words[0], wish, namespace=call.namespace)


# --- the host


def _up(call: Call) -> int:
    from cli.operations.up import up

    flags = call.start_flags()
    if call.is_minimega or call.options.values.get("base"):
        flags["base"] = call.base
    return up(flags, detach=call.options.is_on("detach"), config=flags.pop("config", ""))


def _config(call: Call) -> int:
    from cli.operations.config import config

    return config(call.words, {**call.start_flags(), "base": call.options.values.get("base", "")})


def _down(call: Call) -> int:
    from pathlib import Path

    from cli.operations.down import down

    return down(Path(call.base), guests=call.options.is_on("guests"))


def _restart(call: Call) -> int:
    from pathlib import Path

    from cli.operations.restart import restart

    return restart(Path(call.base), call.words[0])


def _nuke(call: Call) -> int:
    from pathlib import Path

    from cli.operations.nuke import nuke

    return nuke(Path(call.base), is_sure=call.options.is_on("yes"))


def _doctor(call: Call) -> int:
    from pathlib import Path

    from cli.operations.doctor import doctor, untune

    if call.options.is_on("untune"):
        if extra := call.options.beyond(("base", "untune")):
            raise UsageError(f"doctor --untune takes no --{extra}")
        untune(Path(call.base))
    doctor(Path(call.base), call.options.values, as_json=call.as_json)


def _key(call: Call) -> int:
    from pathlib import Path

    from cli.operations.key import key

    return key(Path(call.base), call.options, call.words)


# --- the bus


def _first(call: Call) -> str:
    return call.words[0] if call.words else ""


def _ps(call: Call) -> int:
    from cli.looking.ps import ps

    return ps(call.place(), as_json=call.as_json)


def _tap(call: Call) -> int:
    from cli.looking.tap import tap

    return tap(call.place(), _first(call), as_json=call.as_json)


def _topics(call: Call) -> int:
    from cli.looking.topics import topics

    return topics(call.place(), _first(call), as_json=call.as_json, watch=call.options.is_on("watch"))


def _rate(call: Call) -> int:
    from cli.looking.rate import rate

    return rate(call.place(), call.words[0], as_json=call.as_json, for_s=seconds(call.options, "for"))


def _ask(call: Call) -> int:
    from cli.looking.ask import TIMEOUT_S, Asked, ask, list_requests

    words, options = call.words, call.options
    if options.is_on("list") and len(words) > 1:
        raise UsageError(f"ask --list does not take `{words[1]}`")
    if options.is_on("list") or len(words) == 1:
        return list_requests(call.place(), _first(call), as_json=call.as_json)
    if not words:
        raise UsageError("ask needs an actor and a request, or --list")
    asked = Asked(
        actor=words[0],
        type=words[1],
        fields=words[2] if len(words) > 2 else "",
        namespace=call.namespace,
        msg_id=options.values.get("id", ""),
        timeout_s=seconds(options, "timeout") or TIMEOUT_S,
    )
    return ask(call.place(), asked, as_json=call.as_json)


def _inputs(call: Call) -> int:
    from cli.looking.inputs import inputs

    return inputs(call.place(), _first(call), as_json=call.as_json, follow=call.options.is_on("follow"))


def _trace(call: Call) -> int:
    from cli.looking.trace import trace

    return trace(call.place(), _first(call), as_json=call.as_json)


# --- itself


def version(_call: Call) -> int:
    """Which version this is."""
    from cli.version import version_text

    print(version_text())
    return 0


def show_help(words: list[str]) -> int:
    """The overview, or what there is to know of one subcommand; raises UsageError if there is none."""
    from cli.usage import usage

    text = usage(words[0] if words else "")
    if not text:
        raise UsageError(f"there is no subcommand {words[0]}")
    print(text)
    return 0


FUNCTIONS = {
    **{"attach": attach, "exec": _exec, "read": _read, "pipe": lambda call: pipe(call, call.words[0])},
    **{"console": _console, "up": _up, "config": _config, "down": _down, "restart": _restart, "key": _key},
    **{"nuke": _nuke, "doctor": _doctor, "ps": _ps, "tap": _tap, "topics": _topics, "rate": _rate, "ask": _ask},
    **{"inputs": _inputs, "trace": _trace, "version": version},
}
