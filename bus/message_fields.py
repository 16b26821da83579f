"""What message classes look like, in words: for pages, lists, and people who ask by hand."""

from __future__ import annotations

import enum
import inspect
import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

_SCALARS = {str: "string", int: "int", float: "float", bool: "bool", bytes: "binary", Any: "any", type(None): "nil"}


def type_name(annotation: Any) -> str:
    """A type in the words of msgpack, e.g. `list of string`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f'"{member.value}"' for member in annotation)
    if isinstance(annotation, type):
        return annotation.__name__
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(map(type_name, args))
    if origin is dict:
        return f"map of {type_name(args[0])} to {type_name(args[1])}"
    if args[-1] is Ellipsis or origin is list:
        return f"list of {type_name(args[0])}"
    return f"list of exactly {', '.join(map(type_name, args))}"


def meaning(klass: type) -> str:
    """What a class says it is, on one line."""
    return (inspect.getdoc(klass) or "").replace("\n", " ")


def default_text(field: msgspec.structs.FieldInfo) -> str:
    """` = ` and the default; empty if the field must be given."""
    if field.required:
        return ""
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return f" = {json.dumps(msgspec.to_builtins(value))}"


def fields_of(klass: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """The name of each field, and its type with its default."""
    hints = typing.get_type_hints(klass)
    for field in msgspec.structs.fields(klass):
        yield field.name, f"{type_name(hints[field.name])}{default_text(field)}"
