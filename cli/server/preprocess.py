"""Replaces what stands for something else in the arguments of a command, asking the file area where needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from bus.errors import BusError
from bus.messages.base import Message, Request
from bus.messages.files import LocalFile
from cli.session.session import Session
from cli.session.substitution import PreprocessError, lookup, replace_variables, wanted_file

FETCH_S = 6 * 3600.0
"""Longest download that a command waits for; one that makes no progress fails much sooner."""

R = TypeVar("R", bound=Message)
Values = Mapping[str, str | bool | tuple[str, ...]]


class Asker(Protocol):
    """What is needed of the engine."""

    async def ask(self, to: str, request: Request[R], *, timeout_s: float, namespace: str) -> R:
        """Send a request; raises BusError."""
        ...


async def preprocess(values: Values, session: Session, asker: Asker, *, free_text: bool) -> Values:
    """The values of a match with every string and list word replaced; raises PreprocessError."""
    value_of = lookup(session.environment)
    done: dict[str, str | bool | tuple[str, ...]] = {}
    for key, value in values.items():
        match value:
            case bool():
                done[key] = value
            case str():
                done[key] = await _word(value, value_of, session, asker, free_text=free_text)
            case _:
                words = [await _word(word, value_of, session, asker, free_text=free_text) for word in value]
                done[key] = tuple(words)
    return done


async def _word(word: str, value_of: Callable[[str], str], session: Session, asker: Asker, *, free_text: bool) -> str:
    text = replace_variables(word, value_of)
    request = wanted_file(text, free_text=free_text)
    if request is None:
        return text
    try:
        file: LocalFile = await asker.ask("files", request, timeout_s=FETCH_S, namespace=session.namespace)
    except BusError as error:
        raise PreprocessError(str(error)) from error
    return file.path
