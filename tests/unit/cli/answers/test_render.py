from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.language.ranges import fold
from cli.answers.render import encode_json, render, render_errors, sort_rows
from cli.answers.response import Group, Output, Response, Row

NAMESPACES = [("minimega", "101-4096", "false"), ("foo", "", "true")]


def table(rows: Sequence[Row], host: str = "vm", header: Row = ("namespace", "vlans", "active")) -> Response:
    return Response(host, header=header, rows=rows)


def show(*responses: Response, output: Output | None = None) -> str:
    return render(Group(list(responses)), output or Output(), fold)


def test_a_table() -> None:
    assert show(table(NAMESPACES)) == (
        "host | namespace | vlans    | active\nvm   | foo       |          | true\nvm   | minimega  | 101-4096 | false"
    )


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            Output(annotate=False),
            "namespace | vlans    | active\nfoo       |          | true\nminimega  | 101-4096 | false",
        ),
        (Output(headers=False), "vm   | foo      |          | true\nvm   | minimega | 101-4096 | false"),
        (Output(sort=False, annotate=False, headers=False), "minimega | 101-4096 | false\nfoo      |          | true"),
        (Output(form="csv"), "host,namespace,vlans,active\nvm,foo,,true\nvm,minimega,101-4096,false"),
        (Output(form="csv", headers=False, annotate=False), "foo,,true\nminimega,101-4096,false"),
    ],
)
def test_table_settings(output: Output, expected: str) -> None:
    assert show(table(NAMESPACES), output=output) == expected


def test_columns_are_at_least_five_wide_and_counted_in_characters() -> None:
    assert show(table([("é", "x")], header=("a", "b")), output=Output(annotate=False)) == "a    | b\né    | x"


def test_an_empty_last_cell_leaves_a_trailing_blank() -> None:
    shown = show(table([("1", ""), ("2", "x")], header=("a", "b")), output=Output(annotate=False))
    assert shown == "a    | b\n1    | \n2    | x"


def test_a_table_without_rows_prints_nothing() -> None:
    assert show(table([])) == ""
    assert table([]).to_json()["Tabular"] == []


def test_texts() -> None:
    assert show(Response("a", "x\ny"), Response("b", "z")) == "a: x\ny\nb: z"
    assert show(Response("a", " x "), output=Output(annotate=False)) == "x"
    assert show(Response("a"), Response("b", error="bad")) == ""
    assert show(Response("a", "\x1cx\x1f\u3000\n")) == "a: \x1cx\x1f"
    assert show(Response("a", "x"), output=Output(form="csv")) == "a: x"


def test_equal_texts_of_several_hosts_are_merged() -> None:
    responses = [Response(f"n{number}", "v1") for number in (1, 2, 3)] + [Response("a9", "v2")]
    assert show(*responses) == "a9: v2\nn[1-3]: v1"
    assert show(*responses, output=Output(compress=False)) == "n1: v1\nn2: v1\nn3: v1\na9: v2"
    assert show(*responses, output=Output(annotate=False)) == "v2\nv1"


def test_mismatches() -> None:
    assert show(table([("a",)], "n1", ("x",)), table([("a",)], "n2", ("y",))) == "header mismatch, hosts: n1, n2"
    assert show(table([("a",), ("b", "c")], "n1", ("x",))) == "tabular width mismatch, host: n1, row: 1"
    mixed = (Response("n1", rows=[()]), Response("n2", "text"))
    assert show(*mixed) == "responses mix simple and tabular data"


def test_failed_responses_do_not_count_in_text() -> None:
    shown = show(table([("a",)], "n1", ("x",)), Response("n2", error="unreachable"))
    assert shown == "host | x\nn1   | a"


def test_text_of_a_response_that_failed_is_shown_with_the_error() -> None:
    group = Group([Response("n1", "out\n", error="exit status 1"), Response("n2", "out\n")])
    assert render(group, Output(), fold) == "n[1-2]: out"
    assert render(group, Output(compress=False), fold) == "n1: out\n\nn2: out"
    assert render_errors(group) == "Error (n1): exit status 1"


def test_cells_stay_in_their_place() -> None:
    rows = [("a\nb\t\x1b[2J\x9b", "x"), ("\u202ec\\é", "\r")]
    shown = show(table(rows, header=("a", "b")), output=Output(annotate=False))
    assert shown.split("\n") == [
        "a                 | b",
        r"a\nb\t\x1b[2J\x9b | x",
        "\\u202ec\\é         | \\r",
    ]
    assert show(table(rows[:1], header=("a", "b")), output=Output(form="csv", headers=False, annotate=False)) == (
        '"a\nb\t\x1b[2J\x9b",x'
    )


def test_what_is_no_unicode_is_replaced() -> None:
    assert (
        encode_json({"a\udc80": ["\udfff", ("x\ud800",), 1, None]})
        == '{"a\ufffd":["\ufffd",["x\ufffd"],1,null]}'.encode()
    )


def test_json_is_an_array_of_all_responses() -> None:
    shown = show(Response("n1", "<a & b>\u2028"), Response("n2", error="bad"), output=Output(form="json"))
    assert shown == (
        '[{"Host":"n1","Response":"\\u003ca \\u0026 b\\u003e\\u2028",'
        '"Header":null,"Tabular":null,"Error":"","Data":null},'
        '{"Host":"n2","Response":"","Header":null,"Tabular":null,"Error":"bad","Data":null}]'
    )


def test_the_group_s_own_output_wins() -> None:
    group = Group([Response("a", "x")], Output(annotate=False))
    assert render(group, Output(), fold) == "x"


def test_a_table_that_comes_with_an_error_is_shown() -> None:
    late = Response("n1", header=("vm",), rows=[("a",)], error="1 guest is not done")
    assert show(late) == show(table([("a",)], "n1", ("vm",)))
    assert show(late, Response("n2", error="unreachable")) == show(late)
    assert show(Response("n1", header=("vm",), rows=[], error="bad")) == ""


def test_errors() -> None:
    group = Group([Response("n1", "fine"), Response("n2", error="one\ntwo"), Response("n3", error="x")])
    assert render_errors(group) == "Error (n2): one\ntwo\nError (n3): x"
    assert render(Group(), Output(), fold) == ""


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["10", "9", "2"], ["2", "9", "10"]),
        (["b", "a", "B"], ["B", "a", "b"]),
        (["10", "9", "x"], ["9", "10", "x"]),
        (["-1", "+1", "0"], ["-1", "0", "+1"]),
    ],
)
def test_sorting(cells: list[str], expected: list[str]) -> None:
    assert [row[0] for row in sort_rows([(cell,) for cell in cells])] == expected


def test_the_first_differing_cell_decides() -> None:
    rows: list[Row] = [("h", "2", "a"), ("h", "10", "b"), ("h", "2", "B")]
    assert sort_rows(rows) == [("h", "2", "B"), ("h", "2", "a"), ("h", "10", "b")]


CELLS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6))
def test_csv_is_read_back(rows: list[tuple[str, str, str]]) -> None:
    group = Group([Response("h", header=("x", "y", "z"), rows=[*rows])])
    text = render(group, Output(form="csv", annotate=False, sort=False), fold)
    assert list(csv.reader(io.StringIO(text + "\n", newline=""))) == [["x", "y", "z"], *map(list, rows)] or (
        text != text.strip() or rows[-1][-1] != rows[-1][-1].strip()  # the end of a text is trimmed
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_one_line_and_is_read_back(value: object) -> None:
    text = encode_json(value)
    assert b"\n" not in text and b"<" not in text and b"&" not in text
    assert json.loads(text) == value
