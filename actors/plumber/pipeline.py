"""What a pipeline is made of, and what the end of one of its stages means for the others. Pure."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from bus.errors import InvalidError
from bus.exit_status import describe_exit
from bus.language.pipe_names import SEPARATOR, name_error, resolve
from bus.messages.pipeline import Element
from bus.pipe_messages import MAX_MESSAGE, MessageError

PIPE = "pipe:"
EXEC = "exec:"
MIN_ELEMENTS = 2
MAX_ELEMENTS = 64
MAX_BYTES = 131_072
"""Of all elements and variables together: the most that Linux takes as a single argument (execve(2))."""
SHOWN_ERROR = 200
"""Characters of what a failed program said last that are part of the error."""


class ElementError(ValueError):
    """This cannot be part of a pipeline; `str()` is one sentence."""


class PipeStage(NamedTuple):
    """A pipe."""

    namespace: str
    pipe: str


class ProgramStage(NamedTuple):
    """A program."""

    argv: tuple[str, ...]


Stage = PipeStage | ProgramStage


class Segment(NamedTuple):
    """A pipe, or programs in a row."""

    first: int
    """Number of its first stage."""
    last: int
    pipe: PipeStage | None = None


class Ended(NamedTuple):
    """How a program ended."""

    name: str
    exit_status: int
    stderr: str
    excused: bool
    """Nobody took what it had to say any more, or it was told to end."""
    last: bool
    """Nothing comes after it, so nobody could have broken its output."""


# ---------------------------------------------------------------- elements


def own_text(text: str, namespace: str) -> str:
    """An element as it is shown in this namespace."""
    explicit = text.startswith(PIPE)
    name = text.removeprefix(PIPE).removeprefix(f"{namespace}{SEPARATOR}")
    return f"{PIPE}{name}" if explicit else name


def name_of(elements: Sequence[Element], namespace: str) -> str:
    """What a pipeline is called."""
    return " ".join(own_text(element.text, namespace) for element in elements)


def elements_error(elements: Sequence[Element], env: dict[str, str]) -> str:
    """Why there can be no pipeline of these, whatever programs there are; empty if there can."""
    if len(elements) < MIN_ELEMENTS:
        return "a pipeline has at least two elements: plumb SOURCE DESTINATION"
    if len(elements) > MAX_ELEMENTS:
        return f"a pipeline has at most {MAX_ELEMENTS} elements, not {len(elements)}"
    texts = [text for element in elements for text in (element.text, *element.words)]
    if any("\0" in text for text in (*texts, *env, *env.values())):
        return "an element or variable holds a NUL byte, which no program can be given"
    if any(not name or "=" in name for name in env):
        return "the name of an environment variable is empty or holds a `=`"
    if sum(len(text.encode("utf-8", "replace")) for text in (*texts, *env, *env.values())) > MAX_BYTES:
        return f"elements and variables are longer than {MAX_BYTES} bytes together"
    if any(not element.text.strip() for element in elements):
        return "an element of a pipeline cannot be empty"
    return ""


def stage_of(element: Element, namespace: str, is_program: Callable[[str], bool]) -> Stage:
    """What an element means; raises ElementError."""
    text = element.text
    words = element.words or tuple(text.split())
    if text.startswith(PIPE):
        return _pipe(text.removeprefix(PIPE), namespace)
    if text.startswith(EXEC):
        first = words[0].removeprefix(EXEC) if words else ""
        argv = (first, *words[1:]) if first else words[1:]
        if not argv:
            raise ElementError(f"`{EXEC}` needs a program: {EXEC}PROGRAM")
        return ProgramStage(argv)
    if words and is_program(words[0]):
        return ProgramStage(words)
    if "/" in text and SEPARATOR not in text.lstrip("/"):
        raise ElementError(f"no such program: {_shown(words[0] if words else text)}")
    return _pipe(text, namespace)


def _pipe(text: str, namespace: str) -> PipeStage:
    try:
        where, name = resolve(text, namespace)
    except InvalidError as error:
        raise ElementError(str(error)) from None
    sentence = name_error(name, where)
    if sentence:
        raise ElementError(sentence)
    return PipeStage(where, name)


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_ERROR else f"{text[:SHOWN_ERROR]}..."


# ---------------------------------------------------------------- shape


def segments(stages: Sequence[Stage]) -> tuple[Segment, ...]:
    """The stages, with programs that follow each other taken together."""
    found: list[Segment] = []
    for is_pipe, group in groupby(enumerate(stages), lambda pair: isinstance(pair[1], PipeStage)):
        numbered = list(group)
        if is_pipe:
            found += [Segment(at, at, stage) for at, stage in numbered if isinstance(stage, PipeStage)]
        else:
            found.append(Segment(numbered[0][0], numbered[-1][0]))
    return tuple(found)


def needless(parts: Sequence[Segment], stage: int) -> tuple[range, range]:
    """What nobody needs once a stage takes nothing more: numbers of links between segments, and of stages before it."""
    at = next(number for number, part in enumerate(parts) if part.first <= stage <= part.last)
    return range(at), range(stage)


# ---------------------------------------------------------------- the end


def problem(ended: Sequence[Ended]) -> str:
    """What went wrong, by the first program that failed; empty if none did."""
    for one in ended:
        broken = one.exit_status == -signal.SIGPIPE and not one.last
        if one.exit_status and not (one.excused or broken):
            said = one.stderr.strip().rpartition("\n")[2].strip()[:SHOWN_ERROR]
            sentence = f"{_shown(one.name)}: {describe_exit(one.exit_status)}"
            return f"{sentence}: {said}" if said else sentence
    return ""


class Lines:
    """Whole lines of what comes in pieces."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._size = 0

    def take(self, data: bytes) -> bytes:
        """All lines that are complete now, one after the other; raises MessageError if one is too long."""
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        whole = b""
        if end:
            whole = b"".join((*self._begun, data[:end]))
            self._begun, self._size = [], 0
        if rest:
            self._begun.append(rest)
            self._size += len(rest)
        if self._size > MAX_MESSAGE:
            raise MessageError(f"a line is longer than {MAX_MESSAGE} bytes")
        return whole

    def rest(self) -> bytes:
        """The last line, if it lacks its newline."""
        return b"".join(self._begun)
