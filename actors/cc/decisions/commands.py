"""Commands as users post, end and delete them. Pure."""

from __future__ import annotations

import math
from typing import Final

from actors.cc.decisions import matching, mount_table
from actors.cc.decisions.guests import ledger_of
from actors.cc.inputs import Archive, Offer, Remove, Removed, Survey, Surveyed, Tell, Wake
from actors.cc.protocol.frames import Signal
from actors.cc.table import CcTable, Command, Ledger, Progress, Waiting
from bus.actor.step import Effect, Fail, Input, Received, Reply
from bus.language.pipe_names import name_error
from bus.messages.base import WILDCARD, Ack
from bus.messages.cc import (
    ClearCc,
    CommandKind,
    CommandPosted,
    CommandSpec,
    CommandState,
    DeleteCommands,
    DeleteResponses,
    GuestFilter,
    PostCommand,
    SignalCommand,
)

MAX_COMMANDS: Final = 5_000
"""On the list of a namespace: each new guest gets all of them."""
MAX_ROWS: Final = 1_000_000
"""Outcomes that are kept for them, a quarter of a kilobyte each."""
MAX_DELETED: Final = 200
"""Deleted ones that nobody runs, remembered because a guest may just be beginning one."""
MAX_ARGV_BYTES: Final = 100_000
"""Of one command; a frame has room for 131,072."""
MAX_WORDS: Final = 4_000
"""Of one command; agents take lists of 4,096 (shims/agent/line/wire.py)."""
MAX_PACKET: Final = 65_536
MAX_TIMEOUT_S: Final = 10 * 365 * 86_400.0
LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
PARTS: Final = ("commands", "filter", "prefix", "responses")


def problem(spec: CommandSpec) -> str:
    """Why this is no command; empty if it is one."""
    words = (*spec.argv, *spec.files, spec.name, spec.host, spec.stdin, spec.stdout, spec.stderr)
    if any("\0" in word for word in words):
        return "a word with a NUL byte in it cannot be given to a program, nor be the name of anything"
    if sum(len(word.encode("utf-8", "surrogateescape")) + 6 for word in words) > MAX_ARGV_BYTES:
        return f"the command is longer than {MAX_ARGV_BYTES} bytes: send a file and run that"
    if len(spec.argv) > MAX_WORDS:
        return f"the command has more than {MAX_WORDS} words: send a file and run that"
    if spec.kind is CommandKind.RECEIVE and len(spec.files) > MAX_WORDS:
        return f"more than {MAX_WORDS} names cannot be given at once: fetch a directory, or use `*`"
    if not (math.isfinite(spec.timeout_s) and 0 <= spec.timeout_s <= MAX_TIMEOUT_S):
        return f"a command may run between 0 (as long as it wants) and {MAX_TIMEOUT_S:.0f} seconds"
    match spec.kind:
        case CommandKind.EXEC:
            return "" if spec.argv and spec.argv[0] else "which program? there is none in the command"
        case CommandKind.SEND | CommandKind.RECEIVE:
            return "" if spec.files and all(spec.files) else "which files? there is none in the command"
        case CommandKind.KILL:
            return "" if -1 <= spec.pid <= 2**31 else f"invalid PID: `{spec.pid}`"
        case CommandKind.KILL_ALL:
            return "" if spec.name else "which processes? an empty name would mean every one"
        case CommandKind.LEVEL:
            return "" if spec.level in LEVELS else f"`{spec.level}` is no level: expected {', '.join(LEVELS)}"
        case CommandKind.PROBE:
            return _probe_problem(spec)


def _probe_problem(spec: CommandSpec) -> str:
    if spec.protocol not in ("tcp", "udp"):
        return f"`{spec.protocol}` is no protocol to test with: expected tcp or udp"
    if not spec.host:
        return "which host is to be reached? there is none in the command"
    if not 1 <= spec.port <= 65535:
        return f"{spec.port} is no port: expected 1 to 65535"
    if not (math.isfinite(spec.wait_s) and 0 <= spec.wait_s <= MAX_TIMEOUT_S):
        return "the time to wait must be a number of seconds, 0 or more"
    return "" if len(spec.packet) <= MAX_PACKET else f"a packet has at most {MAX_PACKET} bytes"


def _pipe_problem(spec: CommandSpec, namespace: str) -> str:
    """A guest would find out only when the program runs, and its output would be lost."""
    for pipe in filter(None, (spec.stdin, spec.stdout, spec.stderr)):
        if "/" in pipe:
            return f"the name of a pipe for a guest cannot contain `/`: `{pipe}` (it is one of the VM's own namespace)"
        if sentence := name_error(pipe, namespace):
            return sentence
    return ""


def post(table: CcTable, inp: Received, msg: PostCommand) -> list[Effect]:
    """Put a command on the list; files to be sent are looked for first."""
    ledger = ledger_of(table, inp.namespace, inp)
    wanted = ledger.filter if msg.filter is None else msg.filter
    sentence = problem(msg.command) or _pipe_problem(msg.command, inp.namespace) or matching.problem(wanted)
    if sentence:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    rows = sum(len(command.guests) for command in ledger.commands.values())
    if len(ledger.ids) >= MAX_COMMANDS or rows >= MAX_ROWS:
        what = f"{len(ledger.ids)} commands with {rows} outcomes"
        sentence = f"{what} are listed already: delete some with `cc delete command`"
        return [Fail(msg_id=inp.msg_id, code="unavailable", message=sentence)]
    if msg.command.kind is CommandKind.SEND:
        table.waiting[inp.msg_id] = Waiting(namespace=inp.namespace, command=msg.command, filter=wanted)
        return [Survey(msg_id=inp.msg_id, namespace=inp.namespace, patterns=msg.command.files)]
    return _list(ledger, inp.namespace, inp.msg_id, msg.command, wanted, inp)


def surveyed(table: CcTable, inp: Surveyed) -> list[Effect]:
    """The files that are to be sent are known."""
    waiting = table.waiting.pop(inp.msg_id, None)
    if waiting is None or waiting.command is None:
        return []
    if inp.error:
        return [Fail(msg_id=inp.msg_id, code=inp.code, message=inp.error)]
    ledger = ledger_of(table, waiting.namespace, inp)
    fields = {name: getattr(waiting.command, name) for name in waiting.command.__struct_fields__}
    spec = CommandSpec(**{**fields, "files": inp.files})
    return _list(ledger, waiting.namespace, inp.msg_id, spec, waiting.filter, inp)


def _list(
    ledger: Ledger, namespace: str, msg_id: str, spec: CommandSpec, wanted: GuestFilter | None, inp: Input
) -> list[Effect]:
    number, ledger.next_id = ledger.next_id, ledger.next_id + 1
    serial, ledger.next_serial = ledger.next_serial, ledger.next_serial + 1
    effects: list[Effect] = []
    if number == 1:  # ids begin: what has come back under the same ones before is another story
        for old in ledger.commands.values():
            old.quiet = True
        ledger.archiving_s = inp.time_s or 1.0
        effects.append(Archive(namespace=namespace, time_s=ledger.archiving_s))
    command = Command(id=number, serial=serial, spec=spec, posted_s=inp.time_s, filter=wanted, prefix=ledger.prefix)
    ledger.commands[serial] = command
    ledger.ids[number] = serial
    guests = len(matching.meant(ledger, command))
    reply = CommandPosted(id=number, guests=guests, warning="" if guests else _nobody(ledger, wanted))
    return [*effects, Reply(msg_id=msg_id, body=reply), Offer(namespace=namespace, serial=serial)]


def _nobody(ledger: Ledger, wanted: GuestFilter | None) -> str:
    if not any(not guest.flushed for guest in ledger.guests.values()):
        return "no VM with a backchannel is known in this namespace yet; those that come will get the command"
    if wanted is None:
        return ""
    return "no guest matches the filter now; those that come to match it will get the command"


def end(table: CcTable, inp: Received, msg: SignalCommand) -> list[Effect]:
    """A signal where it runs; where it waits it is not begun any more."""
    ledger = table.namespaces.get(inp.namespace)
    command = ledger.by_id(msg.id) if ledger else None
    if ledger is None or command is None:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=f"command {msg.id} not found")]
    if not 1 <= msg.signal <= 64:
        return [Fail(msg_id=inp.msg_id, code="invalid", message=f"{msg.signal} is no signal: expected 1 to 64")]
    uuid = msg.uuid.lower()
    if uuid and uuid not in ledger.guests:
        return [Fail(msg_id=inp.msg_id, code="not_found", message=f"no guest with UUID {msg.uuid[:40]}")]
    waiting = [guest for guest in matching.meant(ledger, command) if uuid in ("", guest.vm.uuid)]
    running = [other for other, progress in command.guests.items() if not progress.final and uuid in ("", other)]
    for guest in waiting:
        progress = Progress(state=CommandState.KILLED, boot=guest.boot, ended_s=inp.time_s)
        progress.error = "taken back before it had begun"
        command.guests[guest.vm.uuid] = progress
    if not uuid:
        command.cancelled = True
    frame = Signal(serial=command.serial, signal=msg.signal)
    told = [*running, *(guest.vm.uuid for guest in waiting if guest.connected)]
    return [
        *(Tell(key=(inp.namespace, other), frame=frame) for other in told),
        Wake(namespace=inp.namespace, id=command.id),
        Reply(msg_id=inp.msg_id, body=Ack()),
    ]


def delete(table: CcTable, inp: Received, msg: DeleteCommands) -> list[Effect]:
    """Take commands off the list."""
    ledger = ledger_of(table, inp.namespace, inp)
    chosen = _chosen(ledger, msg.target)
    if isinstance(chosen, str):
        return [Fail(msg_id=inp.msg_id, code="not_found", message=chosen)]
    effects = _delete(ledger, inp.namespace, chosen)
    if msg.target == WILDCARD:
        ledger.next_id = 1
    return [*effects, Reply(msg_id=inp.msg_id, body=Ack())]


def _chosen(ledger: Ledger, target: str) -> list[Command] | str:
    """The listed commands of an id, a prefix or the wildcard, or a sentence if there is none."""
    if target == WILDCARD:
        return list(ledger.listed())
    if target.isascii() and target.isdecimal():
        command = ledger.by_id(int(target)) if len(target) < 16 else None
        return [command] if command else f"command {target[:40]} not found"
    found = [command for command in ledger.listed() if target and command.prefix == target]
    return found or f"no such prefix: `{target[:200]}`"


def _delete(ledger: Ledger, namespace: str, commands: list[Command]) -> list[Effect]:
    """They go on where they run; where they wait they are taken back."""
    effects: list[Effect] = []
    for command in commands:
        frame = Signal(serial=command.serial, signal=0)
        waiting = [guest for guest in matching.meant(ledger, command) if guest.connected]
        effects += [Tell(key=guest.vm.key, frame=frame) for guest in waiting]
        command.listed = False
        command.guests = {uuid: progress for uuid, progress in command.guests.items() if not progress.final}
        del ledger.ids[command.id]
        effects.append(Wake(namespace=namespace, id=command.id))
    idle = [serial for serial, command in ledger.commands.items() if not command.listed and not command.guests]
    for serial in idle[: max(0, len(idle) - MAX_DELETED)]:
        del ledger.commands[serial]
    ledger.forget_strangers()
    return effects


def clear(table: CcTable, inp: Received, msg: ClearCc) -> list[Effect]:
    """Some or all of what a namespace has collected."""
    parts = msg.parts or PARTS
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        sentence = f"`{unknown[0][:40]}` cannot be cleared: expected {', '.join(PARTS)}"
        return [Fail(msg_id=inp.msg_id, code="invalid", message=sentence)]
    ledger = ledger_of(table, inp.namespace, inp)
    effects: list[Effect] = []
    if not msg.parts:
        effects += mount_table.close(ledger, set(ledger.mounts))
    if "filter" in parts:
        ledger.filter = None
    if "prefix" in parts:
        ledger.prefix = ""
    if "commands" in parts:
        effects += _delete(ledger, inp.namespace, list(ledger.listed()))
        ledger.next_id = 1
    if "responses" not in parts:
        return [*effects, Reply(msg_id=inp.msg_id, body=Ack())]
    return [*effects, *remove(table, inp, None)]


def delete_responses(table: CcTable, inp: Received, msg: DeleteResponses) -> list[Effect]:
    """Of an id whatever there is, of a prefix what its commands have said."""
    if msg.target == WILDCARD:
        return remove(table, inp, None)
    if msg.target.isascii() and msg.target.isdecimal():
        return remove(table, inp, (int(msg.target),) if len(msg.target) < 16 else ())
    chosen = _chosen(ledger_of(table, inp.namespace, inp), msg.target)
    if isinstance(chosen, str):
        return [Fail(msg_id=inp.msg_id, code="not_found", message=chosen)]
    return remove(table, inp, tuple(command.id for command in chosen))


def remove(table: CcTable, inp: Received, ids: tuple[int, ...] | None) -> list[Effect]:
    """Have responses removed, and answer then."""
    table.waiting[inp.msg_id] = Waiting(namespace=inp.namespace, removal=ids or (), everything=ids is None)
    return [Remove(namespace=inp.namespace, ids=ids, msg_id=inp.msg_id)]


def removed(table: CcTable, inp: Removed) -> list[Effect]:
    """What still arrives goes to new files, which begin where the streams were."""
    for namespace, uuid, serial, stream, position in inp.positions:
        ledger = table.namespaces.get(namespace)
        command = ledger.commands.get(serial) if ledger else None
        progress = command.guests.get(uuid) if command else None
        if progress is not None and not progress.final:
            progress.dropped = {**progress.dropped, stream: position}
    if table.waiting.pop(inp.msg_id, None) is None:
        return []
    if inp.error:
        return [Fail(msg_id=inp.msg_id, code="unavailable", message=inp.error)]
    return [Reply(msg_id=inp.msg_id, body=Ack())]
