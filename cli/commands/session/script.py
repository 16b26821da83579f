"""`read`: commands from a file, one a line; `write`: the history into one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from cli.answers.response import Group, Response, failure
from cli.commands.declare import Call, Command, CommandError
from cli.commands.session.environment import change_aliases
from cli.commands.written_file import WriteError, write_file, written_text
from cli.grammar.errors import LanguageError
from cli.grammar.matcher import Match
from cli.session.session import Session

MAX_SCRIPT = 67_108_864
"""Bytes of a script."""
MAX_LINES = 1_000_000
"""Lines of a script, which take more memory than its bytes."""


def load_script(path: str) -> list[str]:
    """The lines of a file; raises CommandError with the reason why it cannot be read."""
    if not path:
        raise CommandError("the name of the file is empty")
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CommandError(f"read {path}: is not a regular file")
            content = file.read(MAX_SCRIPT + 1)
    except CommandError:
        raise
    except IsADirectoryError as error:
        raise CommandError(f"read {path}: is a directory") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise CommandError(f"open {path}: {reason[:1].lower()}{reason[1:]}") from error
    if len(content) > MAX_SCRIPT:
        raise CommandError(f"read {path}: is larger than {MAX_SCRIPT} bytes")
    if content.count(b"\n") > MAX_LINES:
        raise CommandError(f"read {path}: has more than {MAX_LINES} lines")
    return content.decode("utf-8-sig", errors="replace").split("\n")


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for who might write into a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def is_read(match: Match[Command]) -> bool:
    """Whether a command reads a script, at any depth of nesting."""
    return any(part.owner is READ for part in match.chain())


def _compile(call: Call, session: Session, line: str, where: str) -> Match[Command] | None:
    """Parse one line of a script; raises CommandError naming file and line."""
    try:
        match = call.engine.compile(line, session)
        if match is not None and session is not call.session:  # nothing is run, but later lines may use an alias
            change_aliases(match, session)
    except (LanguageError, CommandError) as error:
        raise CommandError(f"{where}: {error}") from error
    if match is not None and is_read(match):
        raise CommandError(f"{where}: cannot run nested `read` commands")
    return match


def _locate(group: Group, where: str) -> Group:
    for response in group.responses:
        if response.error:
            response.error = f"{where}: {response.error}"
    return group


async def _read(call: Call) -> AsyncIterator[Group]:
    path = call.args.text("file")
    check_only = call.args.has("check")
    if call.session.reading:
        raise CommandError("cannot run nested `read` commands")
    lines = await asyncio.to_thread(load_script, path)
    session = replace(call.session, aliases=dict(call.session.aliases)) if check_only else call.session
    with _reading(call):
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            try:
                _compile(call, session, line, where)
            except CommandError as error:
                yield failure(call.engine.host, str(error))
                return
            if not check_only:
                async for group in call.engine.run_line(line, call.session):
                    yield _locate(group, where)
            await asyncio.sleep(0)  # other clients have their turn after every line


@contextlib.contextmanager
def _reading(call: Call) -> Iterator[None]:
    """A script's own `namespace` lines end with it."""
    call.session.reading = True
    try:
        with call.session.within(call.session.namespace):
            yield
    finally:
        call.session.reading = False


READ = Command(
    patterns=("read <file> [check,]",),
    help_short="run the commands of a file",
    help_long="""\
Runs the lines of a file one after the other. A line that is not a command ends
the script; a command that fails does not. Errors name the file and the line.
With `check` nothing is run: it only says whether every line is a command.

A `namespace NAME` line counts to the end of the script.

A relative name starts in the directory that minibus was started in, which is /
after `minibus up --detach`; `minibus read FILE` takes it from yours.""",
    run=_read,
    recorded=False,
    once=True,
)


async def _write(call: Call) -> AsyncIterator[Group]:
    path = call.args.text("file")
    content = "\n".join(call.session.history.lines).encode("utf-8", "replace")
    try:
        written = await asyncio.to_thread(write_file, path, content)
    except WriteError as error:
        raise CommandError(str(error)) from error
    yield Group([Response(call.engine.host, written_text(path, written))])


WRITE = Command(
    patterns=("write <file>",),
    help_short="write the commands of this connection to a file",
    help_long="""\
Writes what `history` shows, so that `read` can run it again.

A relative name starts in the directory that minibus was started in, which is /
after `minibus up --detach`; the answer says where the file is.""",
    run=_write,
)

COMMANDS = (READ, WRITE)
