from __future__ import annotations

import pytest

from bus.language.ranges import fold
from cli.answers.render import render
from cli.answers.response import Group, Output, Response
from cli.answers.table import (
    MAX_COLUMNS,
    Filter,
    TableError,
    choose_columns,
    filter_responses,
    find_column,
    parse_filter,
)

HEADER = ("id", "name", "state", "tags", "vlan", "hostname")
ROWS = [
    ("0", "web", "RUNNING", '{"k":"v"}', "[LAN (101), 100]", "h1"),
    ("1", "db", "QUIT", "{}", "[]", ""),
]


def answer() -> Response:
    return Response("n1", header=HEADER, rows=list(ROWS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state=quit", Filter("state", "=", "quit")),
        ("state!=quit", Filter("state", "!=", "quit")),
        ("name~we", Filter("name", "~", "we")),
        ("name!~we", Filter("name", "!~", "we")),
        ("a=b=c", Filter("a", "=", "b=c")),
        ("alias=a~b", Filter("alias", "=", "a~b")),
        ("hostname=", Filter("hostname", "=", "")),
    ],
)
def test_filters_split_at_the_leftmost_operator(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize("text", ["", "state", "=x", "!=x"])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(TableError, match=r"^invalid filter, see help: "):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("state=running", ["web"]),
        ("STATE!=Running", ["db"]),
        ("name~E", ["web"]),
        ("name!~e", ["db"]),
        ("vlan=100", ["web"]),
        ("vlan!=lan", ["db"]),
        ('tags={"k":"v"}', ["web"]),
        ("hostname=", ["db"]),
        ("sta=quit", ["db"]),
        ("host=n1", ["web", "db"]),
    ],
)
def test_filtering(text: str, names: list[str]) -> None:
    (response,) = filter_responses([answer()], parse_filter(text))
    assert [row[1] for row in response.rows or ()] == names


def test_a_filter_on_host_drops_whole_responses() -> None:
    texts = [Response("n1", "x"), Response("n2", "y"), Response("n3", error="bad")]
    assert [r.host for r in filter_responses(texts, parse_filter("host=N2"))] == ["n2", "n3"]


def test_texts_pass_other_filters_unchanged() -> None:
    assert filter_responses([Response("n1", "x")], parse_filter("state=quit"))[0].text == "x"


def test_columns_in_any_order_repeated_and_abbreviated() -> None:
    (response,) = choose_columns([answer()], "STATE,na,state")
    assert response.header == ("state", "name", "state")
    assert (response.rows or [])[0] == ("RUNNING", "web", "RUNNING")


def test_the_host_is_no_column_and_no_error() -> None:
    (response,) = choose_columns([answer()], "id,Host,name,host")
    assert (response.header, response.host_at) == (("id", "name"), (1, 3))
    (response,) = choose_columns([response], "name")
    assert (response.header, response.host_at) == (("name",), ())


@pytest.mark.parametrize(
    ("columns", "annotate", "expected"),
    [
        ("host,id", True, "host,id\nn1,0\nn1,1"),
        ("host,id", False, "host,id\nn1,0\nn1,1"),
        ("id,host,name,host", False, "id,host,name,host\n0,n1,web,n1\n1,n1,db,n1"),
        ("id,name", False, "id,name\n0,web\n1,db"),
        ("host", False, "host\nn1\nn1"),
        ("host", True, "host\nn1\nn1"),
    ],
)
def test_without_annotation_the_host_is_shown_where_it_was_asked_for(
    columns: str, annotate: bool, expected: str
) -> None:
    group = Group(choose_columns([answer()], columns))
    assert render(group, Output(annotate=annotate, form="csv"), fold) == expected


def test_names_are_checked_even_without_rows() -> None:
    with pytest.raises(TableError, match="no such column `x`"):
        choose_columns([Response("n1", header=HEADER, rows=[])], "x")


def test_only_so_many_columns() -> None:
    (response,) = choose_columns([answer()], ",".join(["id"] * MAX_COLUMNS))
    assert len((response.rows or [])[0]) == MAX_COLUMNS
    with pytest.raises(TableError, match=f"^more than {MAX_COLUMNS} columns$"):
        choose_columns([answer()], ",".join(["id"] * (MAX_COLUMNS + 1)))
    for names in ("," * 1_000_000, "x" * 1_000_000):
        with pytest.raises(TableError, match=r"^(more than|no such column).{,120}$"):
            choose_columns([answer()], names)


def test_unclear_names() -> None:
    with pytest.raises(TableError, match="ambiguous column `n`: it could be name, number"):
        find_column(("name", "number"), "n")
    assert find_column(("name", "names"), "name") == 0
    with pytest.raises(TableError, match="no such column ``"):
        find_column(("name",), "")
