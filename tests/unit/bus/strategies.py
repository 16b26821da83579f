"""Hypothesis strategies for any message, made from its annotations."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_INT = st.integers(-(2**63), 2**64 - 1)
_FLOAT = st.floats(allow_nan=False)
_SCALAR = st.none() | st.booleans() | _INT | _FLOAT | _TEXT
_ANYTHING = st.recursive(_SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3))

_PLAIN: dict[object, st.SearchStrategy[Any]] = {
    str: _TEXT,
    int: _INT,
    float: _FLOAT,
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    type(None): st.none(),
    Any: _ANYTHING,
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation as message fields have them; raises TypeError for one that no message uses yet."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return structs_of(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return st.sampled_from(annotation)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values_of, args))
    return _containers(annotation, origin, args)


def _containers(annotation: Any, origin: Any, args: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    made: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
        tuple: lambda: (
            st.lists(values_of(args[0]), max_size=3).map(tuple)
            if args[-1] is Ellipsis
            else st.tuples(*map(values_of, args))
        ),
        list: lambda: st.lists(values_of(args[0]), max_size=3),
        dict: lambda: st.dictionaries(values_of(args[0]), values_of(args[1]), max_size=3),
    }
    if origin not in made:
        raise TypeError(f"no strategy for {annotation}: say here how its values are made")
    return made[origin]()


def structs_of(klass: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Instances of a struct class, with and without its defaults."""
    hints = typing.get_type_hints(klass)
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(klass):
        (required if field.required else optional)[field.name] = values_of(hints[field.name])
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: klass(**fields))
