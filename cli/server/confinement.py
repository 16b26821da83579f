"""What a session that is confined to namespaces may run: commands that act in these and touch nothing else of the host.

Whatever is not listed is refused, so that a new command is refused until somebody has thought about it. Not listed are
commands that name other namespaces, run programs on the host, read or write its files, open its ports, or speak of what
belongs to everybody: the file area, logs, processes. Pure.
"""

from __future__ import annotations

from bus.access.rights import REACH, Reach, beyond
from bus.language.vm_config import PARAMS, Param, reaches_host
from bus.messages.base import Message
from cli.commands.declare import Args, Command, CommandError
from cli.session.session import Session

SETTINGS = ("annotate", "compress", "csv", "headers", "json", "sort", "record")
PATTERNS = frozenset(
    {
        *(f".{name} [true,false]" for name in SETTINGS),
        *(f".{name} <true,false> (command)" for name in SETTINGS),
        *(".columns <columns as csv> (command)", ".filter <filter> (command)"),
        *("echo [args]...", "help [command]...", "history", "clear history", "version"),
        *("ns queueing [true,false]", "ns queue", "ns flush", "ns schedule", "ns schedule dry-run"),
        *("ns schedule dump", "ns schedule mv <target> <dst>", "ns schedules", "ns schedule status"),
        *("pipe", "pipe <pipe> <data>", "pipe <pipe> <mode,> [all,round-robin,random]"),
        *("pipe <pipe> <overflow,> [block,drop]", "clear pipe [pipe]", "clear pipe <pipe> <mode,log,via,overflow>"),
        *("plumb", "clear plumb [pipeline]..."),
        *("cc", "cc <clients,>", "cc <commands,>", "cc <prefix,> [prefix]", "cc <filter,> [filter]..."),
        *("cc <process,> <list,> <vm name, uuid or all>", "cc <process,> <kill,> <pid or all>"),
        *("cc <process,> <killall,> <name>", "cc <delete,> <command,> <id or prefix or all>"),
        *("cc <delete,> <response,> <id or prefix or all>", "cc <exec,> <command>...", "cc <exec-once,> <command>..."),
        *("cc <background,> <command>...", "cc <background-once,> <command>...", "cc <recv,> <file>..."),
        *(
            "cc <responses,> <id or prefix or all> [raw,]",
            "cc <responses,> <id or prefix or all> <table,>",
            "cc <exitcode,> <id> <vm name, hostname or uuid>",
        ),
        *(
            "cc <log,> level <debug,info,warn,error,fatal>",
            "cc <test-conn,> <tcp,udp> <host> <port> wait <duration> [packet]",
        ),
        *("cc <outcomes,> <id or prefix or all>", "cc <wait,> <id or prefix or all> [timeout]"),
        "cc <signal,> <id or prefix or all> [signal]",
        *("vm info [summary,]", "vm top [seconds]", "vm start <target>", "vm stop <target>", "vm kill <target>"),
        *("vm flush [target]", "vm launch", "vm tag <target> [key or all]", "vm tag <target> <key> <value>"),
        *("vm launch <container,> <name or count> [config]", "vm launch <kvm,> <name or count> [config]"),
        *("clear vm tag", "clear vm tag <target> [tag]", "clear vm config"),
        *("vm config", "vm config save <name>", "vm config restore [name]", "vm config clone <vm>"),
    }
)
"""Those of `vm config PARAMETER` come in addition, as far as the parameter names nothing of the host."""

_PARAM_WORDS: dict[tuple[str, ...], Param] = {
    words: param
    for param in PARAMS
    for name in param.names
    for words in (("vm", "config", name), ("clear", "vm", "config", name))
}


def is_allowed(command: Command) -> bool:
    """Whether a confined session may run it at all."""
    return all(pattern in PATTERNS or _is_harmless_param(pattern) for pattern in command.patterns)


def check(command: Command, args: Args, session: Session) -> None:
    """Raise CommandError if a confined session may not run this."""
    if session.confined is None:
        return
    if not is_allowed(command):
        raise CommandError(f"this key is limited to namespaces, and `{command.patterns[0]}` reaches beyond them")
    named = command.namespace(args, session.namespace) if command.namespace is not None else session.namespace
    if named not in session.confined:
        raise CommandError(f"this key may not act in namespace {named}: it is limited to {', '.join(session.confined)}")
    if command.request is not None and (why := beyond(command.request(args), named)):
        raise CommandError(f"{why}, and this key is limited to namespaces")


def may_ask(request: Message, session: Session) -> bool:
    """Whether a session may ask this beside its command's own question; what it may not know is left out of answers."""
    return session.confined is None or REACH.get(type(request)) is Reach.NAMESPACE


def _is_harmless_param(pattern: str) -> bool:
    words = tuple(pattern.split())
    size = 4 if words[:1] == ("clear",) else 3
    param = _PARAM_WORDS.get(words[:size])
    return param is not None and (size == 4 or not reaches_host(param))
