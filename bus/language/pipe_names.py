"""How users name pipes: `foo` is one of the namespace they act in, `exp1//foo` one of another."""

from __future__ import annotations

from bus.errors import InvalidError
from bus.language.vm_names import is_valid
from bus.topics import MAX_TOPIC, pipe_topic

SEPARATOR = "//"
MAX_NAME = 200
"""Characters of a pipe's name."""
MAX_CLIENT = 64
"""Characters of the name that a reader or a writer gives itself."""
SHOWN_CHARACTERS = 64


def resolve(text: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of the pipe that a user means; raises InvalidError if it can be none.

    Which names a pipe may have says `name_error`, when it is used.
    """
    other, separator, name = text.partition(SEPARATOR)
    if not separator:
        other, name = namespace, text
    if not is_valid(other):
        raise InvalidError(f"`{other[:SHOWN_CHARACTERS]}` is no namespace: pipes of others are named NAMESPACE//PIPE")
    if not name:
        raise InvalidError("the name of a pipe cannot be empty")
    return other, name


def name_error(name: str, namespace: str = "") -> str:
    """Why a pipe cannot be called so, in one sentence; empty if it can."""
    if namespace and not is_valid(namespace):
        return f"a namespace cannot be called {namespace[:MAX_CLIENT]!r}"
    if not name:
        return "the name of a pipe cannot be empty"
    if len(name) > MAX_NAME:
        return f"the name of a pipe has at most {MAX_NAME} characters, not {len(name)}"
    if "/" in name:
        return f"the name of a pipe cannot contain `/`: `{name}` (another namespace's is NAMESPACE//PIPE)"
    if not name.isprintable():
        return f"the name of a pipe cannot contain control characters: {name!r}"
    if len(pipe_topic(namespace, name, "x" * MAX_CLIENT)) > MAX_TOPIC:
        return (
            f"the name of a pipe is too long for a topic, where a letter beyond ASCII takes six bytes or more: `{name}`"
        )
    return ""
