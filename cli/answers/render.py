"""Groups of responses as text: tables, CSV, JSON, merged answers, error lines."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cli.answers.response import Group, Output, Response, Row
from cli.grammar.quoting import BLANKS

ANNOTATION = (0,)
"""Where annotation puts the host."""
MIN_COLUMN = 5
"""Characters of a table's column, the blank after it included."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_CSV_QUOTED = re.compile(rf'[,"\r\n]|^[{BLANKS}]|^\\\.$')
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves the cursor, colours or turns around what follows on a terminal."""
_SURROGATES = re.compile("[\ud800-\udfff]")
# As Go's encoder writes them, so that output can be compared byte for byte and embedded in HTML.
_ESCAPES = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
}

FoldHosts = Callable[[Sequence[str]], str]


def encode_json(value: Any) -> bytes:
    """Compact JSON on one line. What is no Unicode, as parts of file names can be, becomes U+FFFD."""
    try:
        text = msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = msgspec.json.encode(_without_surrogates(value))
    for plain, escaped in _ESCAPES.items():  # they occur only inside strings
        text = text.replace(plain, escaped)
    return text


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATES.sub("\ufffd", value)
        case dict():
            return {_without_surrogates(key): _without_surrogates(inner) for key, inner in value.items()}
        case list() | tuple():
            return list(map(_without_surrogates, value))
        case _:
            return value


def render(group: Group, session_output: Output, fold_hosts: FoldHosts) -> str:
    """The text of a group; errors are left to `render_errors`, but a table is shown also if it comes with one.

    `fold_hosts` writes a list of hosts briefly.
    """
    output = group.output or session_output
    if not group.responses:
        return ""
    if output.form == "json":
        return encode_json([response.to_json() for response in group.responses]).decode()
    answers = [response for response in group.responses if not response.error or response.rows]
    problem = _mismatch(answers)
    if problem:
        return problem
    if any(response.rows for response in answers):
        return _table(answers, output).strip(BLANKS)
    return _texts(group.responses, output, fold_hosts).strip(BLANKS)


def render_errors(group: Group) -> str:
    """One `Error (HOST): MESSAGE` for each response that failed."""
    return "\n".join(f"Error ({answer.host}): {answer.error}" for answer in group.responses if answer.error)


def _mismatch(answers: Sequence[Response]) -> str:
    """Why the answers cannot be shown together; empty if they can."""
    headers = {response.header for response in answers}
    if len(headers) > 1:
        return f"header mismatch, hosts: {', '.join(response.host for response in answers)}"
    tables = [response for response in answers if response.rows is not None or response.header is not None]
    if tables and any(response.text for response in answers if response not in tables):
        return "responses mix simple and tabular data"
    for response in tables:
        for number, row in enumerate(response.rows or ()):
            if len(row) != len(response.header or ()):
                return f"tabular width mismatch, host: {response.host}, row: {number}"
    return ""


def _table(answers: Sequence[Response], output: Output) -> str:
    rows: list[Row] = []
    for response in answers:
        places = ANNOTATION if output.annotate else response.host_at
        rows.extend(_inserted(row, response.host, places) for row in response.rows or ())
    if output.sort:
        rows = sort_rows(rows)
    if output.headers:
        places = ANNOTATION if output.annotate else answers[0].host_at
        rows.insert(0, _inserted(answers[0].header or (), "host", places))
    return _csv(rows) if output.form == "csv" else _aligned(rows)


def _inserted(row: Row, cell: str, places: Sequence[int]) -> Row:
    if not places:
        return row
    cells = list(row)
    for place in places:
        cells.insert(place, cell)
    return tuple(cells)


def sort_rows(rows: list[Row]) -> list[Row]:
    """Sorted by the cells from left to right: two decimal integers by value, anything else by its bytes."""
    if not rows:
        return rows
    width = _deciding_width(rows)
    columns = [_column_keys([row[index] for row in rows]) for index in range(width)]
    order = sorted(range(len(rows)), key=lambda number: [column[number] for column in columns])
    return [rows[number] for number in order]


def _deciding_width(rows: list[Row]) -> int:
    """How many cells from the left tell all rows apart; the rest need no key."""
    widest = max(len(row) for row in rows)
    for width in range(1, widest):
        if len({row[:width] for row in rows}) == len(rows):
            return width
    return widest


def _column_keys(cells: Sequence[str]) -> list[Any]:
    integers = [bool(_INTEGER.fullmatch(cell)) for cell in cells]
    if all(integers):
        return [int(cell) for cell in cells]
    if not any(integers):
        return [cell.encode("utf-8", "surrogatepass") for cell in cells]
    return [functools.cmp_to_key(_compare_cells)(cell) for cell in cells]


def _compare_cells(left: str, right: str) -> int:
    a: int | bytes
    b: int | bytes
    if _INTEGER.fullmatch(left) and _INTEGER.fullmatch(right):
        a, b = int(left), int(right)
        return (a > b) - (a < b)
    a, b = left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass")
    return (a > b) - (a < b)


def _aligned(rows: Sequence[Row]) -> str:
    """Columns in characters; the last cell of a row is not padded."""
    cells = [[_cell(cell) if index == 0 else f"| {_cell(cell)}" for index, cell in enumerate(row)] for row in rows]
    widths = [max(MIN_COLUMN, *(len(cell) + 1 for cell in column)) for column in zip(*cells, strict=True)]
    lines = ("".join(map(str.ljust, row[:-1], widths)) + row[-1] for row in cells if row)
    return "\n".join(lines)


def _cell(text: str) -> str:
    """The text on one line and in one place: a newline, tab or the like as it is typed, or as `\\x1b`."""
    return text if text.isprintable() else _CONTROL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def _csv(rows: Sequence[Row]) -> str:
    return "\n".join(",".join(map(_csv_field, row)) for row in rows)


def _csv_field(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if _CSV_QUOTED.search(field) else field


def _texts(responses: Sequence[Response], output: Output, fold_hosts: FoldHosts) -> str:
    """All texts, also of those who failed: what a program wrote before it did must not be lost."""
    spoken = [response for response in responses if response.text]
    if not (output.compress and len(responses) > 1):
        pairs = [(response.host, response.text) for response in spoken]
    else:
        pairs = _merged(spoken, fold_hosts)
    return "\n".join(f"{host}: {text}" if output.annotate else text for host, text in pairs)


def _merged(spoken: Sequence[Response], fold_hosts: FoldHosts) -> list[tuple[str, str]]:
    """Equal texts once, under the list of their hosts, ordered by that list."""
    hosts: dict[str, list[str]] = {}
    for response in spoken:
        hosts.setdefault(response.text, []).append(response.host)
    return sorted((fold_hosts(names) if len(names) > 1 else names[0], text) for text, names in hosts.items())
