"""`just vectors`: a golden file in tests/contract/vectors/ for every message that has none.

A golden file is JSON: the bytes of one message on the wire in hexadecimal, and what a plain msgpack reader makes of
them. It is never rewritten, so that the tests show what a change of a class means for peers of an earlier version: a
new field needs a default, and what was a field stays one. Before a message has been released, deleting its file and
running this again is right.
"""

from __future__ import annotations

import enum
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from bus import codec
from bus.messages.base import Message
from bus.messages.envelope import PROTOCOL_VERSION, Envelope

DIRECTORY = Path(__file__).parents[1] / "tests" / "contract" / "vectors"
ENVELOPE = "envelope"


def messages() -> dict[str, type[Message]]:
    """Every message of the product by tag."""
    ours = {tag: klass for tag, klass in codec.registry().items() if klass.__module__.startswith("bus.messages.")}
    return dict(sorted(ours.items()))


def example(klass: type[msgspec.Struct]) -> Any:
    """An instance in which no field has its default, always the same."""
    hints = typing.get_type_hints(klass)
    values: dict[str, Any] = {}
    for number, field in enumerate(msgspec.structs.fields(klass), 1):
        value = _value(hints[field.name], field.name, number)
        values[field.name] = (not value) if isinstance(value, bool) and value == field.default else value
    return klass(**(values | {"v": PROTOCOL_VERSION} if klass is Envelope else values))


def _value(annotation: Any, name: str, number: int) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    scalars: dict[object, Any] = {
        str: f"a {name}",
        int: 1000 + number,
        float: number + 0.5,
        bool: True,
        bytes: name.encode(),
        Any: [number, name, None],
    }
    if annotation in scalars:
        return scalars[annotation]
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return example(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return list(annotation)[-1]
    if origin is Literal:
        return args[-1]
    if origin in (Union, types.UnionType):
        return _value(next(arg for arg in args if arg is not type(None)), name, number)
    if origin is dict:
        return {_value(args[0], f"{name} key", number): _value(args[1], f"{name} value", number)}
    if origin in (tuple, list):
        items = args if origin is tuple and args[-1] is not Ellipsis else args[:1] * 2
        return origin(_value(arg, name, number + 100 * index) for index, arg in enumerate(items))
    raise TypeError(f"no example for {annotation}: say here what one looks like")


def golden(message: msgspec.Struct) -> str:
    """The content of a golden file."""
    encoded = codec.encode(message)
    content = {"value": codec.decode_unknown(encoded), "msgpack": encoded.hex()}
    return json.dumps(content, indent=1, ensure_ascii=False, default=_bytes) + "\n"


def _bytes(value: object) -> object:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    raise TypeError(f"{type(value).__name__} has no place in a golden file")


def main() -> int:
    """Write the files that are missing, and name them."""
    DIRECTORY.mkdir(exist_ok=True)
    classes: dict[str, type[msgspec.Struct]] = {ENVELOPE: Envelope, **messages()}
    for tag, klass in classes.items():
        path = DIRECTORY / f"{tag}.json"
        if not path.exists():
            path.write_text(golden(example(klass)))
            print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
