"""How users name pipes: `foo` is one of the namespace they act in, `exp1//foo` one of another."""

from __future__ import annotations

from bus.errors import InvalidError
from bus.vm_names import is_valid

SEPARATOR = "//"
SHOWN_CHARACTERS = 64


def resolve(text: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of the pipe that a user means; raises InvalidError if it can be none.

    Which names a pipe may have is for the plumber to say.
    """
    other, separator, name = text.partition(SEPARATOR)
    if not separator:
        other, name = namespace, text
    if not is_valid(other):
        raise InvalidError(f"`{other[:SHOWN_CHARACTERS]}` is no namespace: pipes of others are named NAMESPACE//PIPE")
    if not name:
        raise InvalidError("the name of a pipe cannot be empty")
    return other, name
