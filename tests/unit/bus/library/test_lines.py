"""Tables of command lines as users' own types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import msgspec
import pytest

from bus.errors import InvalidError
from bus.library.lines import output_of, typed
from bus.messages.cli import LineGroup, LineOutput, LineResponse

ROWS = output_of(
    LineOutput(
        groups=(
            LineGroup(
                responses=(
                    LineResponse(host="n1", header=("name", "memory", "snapshot"), rows=(("web", "32", "true"),)),
                    LineResponse(host="n2", header=("name", "memory", "snapshot"), rows=(("db", "64", "false"),)),
                )
            ),
        )
    )
).rows()


@dataclass
class AsDataclass:
    name: str
    memory: int
    snapshot: bool
    host: str = ""


@dataclass
class AsPorts:
    serial_ports: int


class AsStruct(msgspec.Struct):
    name: str
    memory: float


class AsDict(TypedDict):
    name: str
    memory: int


def test_cells_are_what_the_type_says() -> None:
    assert typed(ROWS, AsDataclass) == [AsDataclass("web", 32, True, "n1"), AsDataclass("db", 64, False, "n2")]
    assert typed(ROWS, AsStruct) == [AsStruct("web", 32.0), AsStruct("db", 64.0)]
    assert typed(ROWS, AsDict) == [{"name": "web", "memory": 32}, {"name": "db", "memory": 64}]
    assert typed([], AsDataclass) == []
    assert typed([{"serial-ports": "2", "host": "n1"}], AsPorts) == [AsPorts(2)]


@dataclass
class Odd:
    name: int


@dataclass
class Missing:
    uuid: str


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        (
            Odd,
            r"a row is no Odd: Expected `int`, got `str` - at `\$\.name`; the columns are host, name, memory, snapshot",
        ),
        (Missing, "a row is no Missing: Object missing required field `uuid`"),
    ],
)
def test_what_does_not_fit_is_named(of: type, sentence: str) -> None:
    with pytest.raises(InvalidError, match=sentence):
        typed(ROWS, of)
