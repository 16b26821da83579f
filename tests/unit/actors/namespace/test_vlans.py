"""VLANs of namespaces: numbers for aliases, ranges, what is forgotten, and what the configuration makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.namespace import vlans
from actors.namespace.state import step
from actors.namespace.table import Located, NamespaceTable, first_table
from actors.namespace.vlan_requests import WriteVlans
from actors.namespace.vlans import VlanBook, VlanError, file_text, resolve
from bus.actor.step import Ask, AskFailed, Publish, Recovered
from bus.messages.base import Ack
from bus.messages.namespace import (
    SetConfig,
)
from bus.messages.network import Bridges
from bus.messages.vlan import (
    AddVlan,
    BlacklistVlan,
    ClearVlans,
    ResolveVlans,
    ReturnVlans,
    SetVlanRange,
    Vlan,
    VlanRange,
)
from tests.unit.actors.namespace.vlan_requests import NS, clear, do, numbers, ok, refused
from tests.unit.actors.steps import answer, only, replies, the, through_snapshot


@pytest.fixture
def table() -> NamespaceTable:
    """A fresh host."""
    return first_table("h1", "/base/files")


# --- looking up


def test_an_alias_gets_a_number_once(table: NamespaceTable) -> None:
    assert numbers(table, "LAN", "DMZ", "LAN") == [101, 102, 101]
    assert numbers(table, "DMZ", namespace="exp") == [103]
    assert numbers(table, "minimega//DMZ", "exp//DMZ", "exp//WAN", namespace="exp") == [102, 103, 104]
    assert table.vlans.aliases == {
        "minimega//LAN": 101,
        "minimega//DMZ": 102,
        "exp//DMZ": 103,
        "exp//WAN": 104,
    }


@pytest.mark.parametrize("request_", [ResolveVlans(texts=("7",)), AddVlan(alias="LAN", number=7)])
def test_a_namespace_in_which_something_is_plugged_in_is_listed(
    table: NamespaceTable, request_: ResolveVlans | AddVlan
) -> None:
    effects = do(table, request_, namespace="exp")
    assert the(Publish, effects).topic == "namespace/exp/opened/"
    assert list(table.namespaces) == [NS, "exp"]
    assert refused(table, AddVlan(alias="LAN", number=5000), namespace="other")[0] == "invalid"
    assert list(table.namespaces) == [NS, "exp"], "not for a mistake"


def test_what_was_typed_and_what_it_means(table: NamespaceTable) -> None:
    ok(table, AddVlan(alias="LAN", number=200))
    _, found = resolve(table.vlans, ("LAN", "200", "7", "disconnected"), NS)
    assert found == (
        Vlan(number=200, alias="minimega//LAN"),
        Vlan(number=200, alias="minimega//LAN"),
        Vlan(number=7),
        Vlan(number=-1),
    )


def test_a_number_that_was_typed_is_never_given(table: NamespaceTable) -> None:
    assert numbers(table, "101") == [101]
    assert numbers(table, "A", "102", "B") == [103, 102, 104], "even if it comes later in the same line"
    assert table.vlans.blacklist == {101, 102}
    assert numbers(table, "103") == [103]
    assert table.vlans.blacklist == {101, 102}, "that of an alias stays its"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "VLAN must be non-empty string"),
        ("4096", "invalid VLAN (0 <= vlan < 4096)"),
        ("-1", "invalid VLAN (0 <= vlan < 4096)"),
        ("9" * 999, "invalid VLAN (0 <= vlan < 4096)"),
        ("a//b//c", "invalid VLAN alias, `a//b//c` is not `alias` or `namespace//alias`"),
        ("//LAN", "invalid VLAN alias, `//LAN` is not `alias` or `namespace//alias`"),
        ("exp//", "invalid VLAN alias, `` is not 1 to 64 characters without blanks, commas and slashes"),
        ("a b", "invalid VLAN alias, `a b` is not 1 to 64 characters without blanks, commas and slashes"),
        ("exp//7", "invalid VLAN alias, `7` is a number or a reserved word"),
        ("all", "invalid VLAN alias, `all` is a number or a reserved word"),
    ],
)
def test_what_can_be_no_vlan_costs_no_number(table: NamespaceTable, text: str, sentence: str) -> None:
    assert refused(table, ResolveVlans(texts=("LAN", "300", text))) == ("invalid", sentence)
    assert table.vlans == VlanBook()


def test_no_number_is_given_twice_until_all_are_gone(table: NamespaceTable) -> None:
    ok(table, SetVlanRange(minimum=4090, maximum=4096))
    ok(table, BlacklistVlan(number=4092))
    assert numbers(table, *"ABCD") == [4090, 4091, 4093, 4094], "4095 is reserved"
    assert refused(table, ResolveVlans(texts=("7", "E"))) == ("unavailable", "out of VLANs")
    assert refused(table, SetConfig(param="net", words=("E",))) == ("unavailable", "out of VLANs")


def test_ranges(table: NamespaceTable) -> None:
    assert numbers(table, "LAN", namespace="exp") == [101]
    ok(table, SetVlanRange(minimum=102, maximum=104), "exp")
    assert numbers(table, "A") == [104], "what others have reserved is not for everybody"
    assert numbers(table, "exp//B") == [102]
    assert numbers(table, "LAN", namespace="exp") == [101], "it keeps its number"
    assert "exp" in table.namespaces
    told = vlans.table(table.vlans, "exp")
    assert (told.namespace, told.ranges) == (
        "exp",
        {
            NS: VlanRange(minimum=101, maximum=4096, next_=104),
            "exp": VlanRange(minimum=102, maximum=104, next_=102),
        },
    )


@pytest.mark.parametrize(
    ("low", "high", "code", "sentence"),
    [
        (200, 200, "invalid", "expected min < max: 200 is not below 200"),
        (200, 100, "invalid", "expected min < max: 200 is not below 100"),
        (-1, 10, "invalid", "a range of VLANs is within 0 and 4096, its end not included, not -1 to 10"),
        (1, 4097, "invalid", "a range of VLANs is within 0 and 4096, its end not included, not 1 to 4097"),
        (149, 151, "conflict", "range overlaps with another namespace: exp"),
        (110, 300, "conflict", "range overlaps with another namespace: exp"),
        (199, 300, "conflict", "range overlaps with another namespace: exp"),
    ],
)
def test_ranges_that_cannot_be(table: NamespaceTable, low: int, high: int, code: str, sentence: str) -> None:
    ok(table, SetVlanRange(minimum=150, maximum=200), "exp")
    assert refused(table, SetVlanRange(minimum=low, maximum=high), "other") == (code, sentence)
    ok(table, SetVlanRange(minimum=200, maximum=250), "other")
    ok(table, SetVlanRange(minimum=100, maximum=300), NS)
    ok(table, SetVlanRange(minimum=140, maximum=200), "exp")


def test_fixed_numbers(table: NamespaceTable) -> None:
    ok(table, AddVlan(alias="LAN", number=105))
    ok(table, AddVlan(alias="exp//LAN", number=101))
    assert refused(table, AddVlan(alias="LAN", number=106)) == (
        "conflict",
        "alias already in use: minimega//LAN is 105",
    )
    sentence = "vlan already in use: 101 is exp//LAN"
    assert refused(table, AddVlan(alias="WAN", number=101)) == ("conflict", sentence)
    ok(table, BlacklistVlan(number=110))
    sentence = "vlan already in use: somebody has typed or listed 110, see `vlans blacklist`"
    assert refused(table, AddVlan(alias="WAN", number=110)) == ("conflict", sentence)
    assert refused(table, AddVlan(alias="WAN", number=4096)) == ("invalid", "invalid VLAN (0 <= vlan < 4096)")
    assert refused(table, AddVlan(alias="5", number=5))[0] == "invalid"
    sentence = "vlan already in use: 101 is exp//LAN, which `clear vlans` can forget"
    assert refused(table, BlacklistVlan(number=101)) == ("conflict", sentence)
    assert refused(table, BlacklistVlan(number=5000))[0] == "invalid"
    assert numbers(table, *"ABCDEF") == [102, 103, 104, 106, 107, 108]


# --- forgetting


@pytest.mark.parametrize(
    ("prefix", "namespace", "left"),
    [
        ("", NS, {"exp//LAN", "exp//allies"}),
        ("", "exp", {"minimega//LAN", "minimega//allies", "minimega//LAN2"}),
        ("LAN", NS, {"minimega//allies", "exp//LAN", "exp//allies"}),
        ("exp//", NS, {"minimega//LAN", "minimega//allies", "minimega//LAN2"}),
        ("exp//LA", NS, {"minimega//LAN", "minimega//allies", "minimega//LAN2", "exp//allies"}),
        ("alli", NS, {"minimega//LAN", "minimega//LAN2", "exp//LAN", "exp//allies"}),
        ("minimega//all", NS, {"minimega//LAN", "minimega//LAN2", "exp//LAN", "exp//allies"}),
        ("nothing", NS, {"minimega//LAN", "minimega//allies", "minimega//LAN2", "exp//LAN", "exp//allies"}),
        ("all", "exp", set()),
    ],
)
def test_what_is_forgotten(table: NamespaceTable, prefix: str, namespace: str, left: set[str]) -> None:
    numbers(table, "LAN", "allies", "LAN2", "exp//LAN", "exp//allies")
    clear(table, prefix, namespace)
    assert set(table.vlans.aliases) == left


def test_forgetting_takes_ranges_along(table: NamespaceTable) -> None:
    ok(table, SetVlanRange(minimum=500, maximum=600))
    ok(table, SetVlanRange(minimum=700, maximum=800), "exp")
    ok(table, BlacklistVlan(number=101))
    clear(table, "LAN", "exp")
    clear(table, "LAN")
    assert (table.vlans.pool.minimum, list(table.vlans.ranges)) == (500, ["exp"]), "not with a prefix"
    clear(table)
    assert (table.vlans.pool, list(table.vlans.ranges)) == (vlans.fresh_range(101, 4096), ["exp"])
    assert table.vlans.blacklist == {101}
    clear(table, "", "exp")
    assert table.vlans.ranges == {}
    ok(table, SetVlanRange(minimum=700, maximum=800), "exp")
    clear(table, "all")
    assert table.vlans == VlanBook()


@pytest.mark.parametrize("prefix", ["a//b//", "//", "//x"])
def test_a_prefix_that_no_alias_has(table: NamespaceTable, prefix: str) -> None:
    assert refused(table, ClearVlans(prefix=prefix))[0] == "invalid"


def test_a_number_that_is_in_use_is_given_last(table: NamespaceTable) -> None:
    ok(table, SetVlanRange(minimum=10, maximum=14))
    assert numbers(table, "A", "B", "13") == [10, 11, 13]
    clear(table, "minimega//", in_use=(10, 13, 99))
    assert numbers(table, "C", "D", "E") == [11, 12, 10]
    assert table.vlans.worn == ()


def test_what_is_no_longer_in_use_is_a_number_like_any_other(table: NamespaceTable) -> None:
    numbers(table, "A", "B")
    clear(table, in_use=(101, 102))
    assert table.vlans.worn == (101, 102)
    clear(table, in_use=(102,))
    assert numbers(table, "C", "D") == [101, 103]


def test_guests_that_have_ended_come_back_to_their_vlans(table: NamespaceTable) -> None:
    numbers(table, "A", "B")
    step(table, answer(the(Ask, do(table, ClearVlans())), Bridges(kept=(101,))))
    assert numbers(table, "C") == [102]


def test_what_nobody_else_has_looked_up_can_be_given_back(table: NamespaceTable) -> None:
    ok(table, AddVlan(alias="FIXED", number=300))
    numbers(table, "A", "B", "exp//C", "FIXED")
    numbers(table, "B")
    effects = ok(table, ReturnVlans(aliases=("minimega//A", "minimega//B", "minimega//FIXED", "minimega//nobody")))
    assert table.vlans.aliases == {"minimega//FIXED": 300, "minimega//B": 102, "exp//C": 103}
    assert "minimega//A" not in the(WriteVlans, effects).text
    assert numbers(table, "D") == [101]
    clear(table, "all")
    assert table.vlans == VlanBook()


def test_a_number_that_was_typed_for_nothing_is_free_again(table: NamespaceTable) -> None:
    numbers(table, "101", "102", "103")
    numbers(table, "102")
    ok(table, BlacklistVlan(number=103))
    ok(table, ReturnVlans(numbers=(101, 102, 103, 104)))
    assert table.vlans.blacklist == {102, 103}
    assert numbers(table, "A") == [101]


def test_an_alias_whose_number_somebody_typed_is_not_given_back(table: NamespaceTable) -> None:
    numbers(table, "A")
    numbers(table, "101")
    ok(table, ReturnVlans(aliases=("minimega//A",), numbers=(101,)))
    assert table.vlans.aliases == {"minimega//A": 101}


def test_what_others_have_reserved_is_not_touched(table: NamespaceTable) -> None:
    ok(table, SetVlanRange(minimum=200, maximum=300), "exp")
    numbers(table, "A", "B", "exp//C", "exp//D")
    clear(table, namespace="other")
    clear(table, "exp//")
    assert (table.vlans.pool.next_, table.vlans.ranges["exp"].next_) == (102, 200)


def test_numbers_that_users_typed_are_given_last_after_all_is_forgotten(table: NamespaceTable) -> None:
    assert numbers(table, "101", "102", "A") == [101, 102, 103]
    clear(table, "all", in_use=(102, 103))
    assert numbers(table, "A", "B") == [101, 104]


def test_without_an_answer_every_number_is_taken_to_be_in_use(table: NamespaceTable) -> None:
    numbers(table, "A", "B")
    ask = the(Ask, do(table, ClearVlans()))
    table = through_snapshot(table)
    assert replies(step(table, AskFailed(tag=ask.tag, code="unreachable", message="nobody"))) == {"m1": Ack()}
    assert numbers(table, "C") == [103]
    assert table.clearings == {}


# --- the file, and how the host was started


def test_the_file_lists_all_aliases(table: NamespaceTable) -> None:
    ok(table, AddVlan(alias="foo", number=200))
    effects = ok(table, AddVlan(alias="X", number=170), "foo")
    text = "Alias         VLAN\nfoo//X        170\nminimega//foo 200\n"
    assert the(WriteVlans, effects).text == text
    assert effects.index(the(WriteVlans, effects)) < len(effects) - 1, "before anybody is told"
    assert the(WriteVlans, step(table, Recovered())).text == text
    assert only(WriteVlans, ok(table, BlacklistVlan(number=9))) == []
    assert file_text(VlanBook()) == ""


def test_the_range_that_the_host_was_started_with(table: NamespaceTable) -> None:
    where = Located(host="h1", files_dir="/f", vlans=(300, 310))
    step(table, where)
    assert numbers(table, "A") == [300]
    step(table, where)
    assert numbers(table, "B") == [301]
    ok(table, SetVlanRange(minimum=400, maximum=500))
    step(table, where)
    assert numbers(table, "C") == [400], "what users have set since counts"
    clear(table)
    assert numbers(table, "D") == [300]


TEXTS = st.sampled_from(["A", "B", "exp//A", "101", "102", "0", "4095", "", "x//y//z", "5000"]) | st.text(max_size=6)


@given(st.lists(st.lists(TEXTS, max_size=4), max_size=6))
def test_any_texts_are_resolved_or_refused(lines: list[list[str]]) -> None:
    book = vlans.reserve(VlanBook(), NS, 100, 104)
    for line in lines:
        try:
            book, found = resolve(book, line, NS)
        except VlanError as error:
            assert str(error)
            continue
        assert len(found) == len(line)
        given_ = list(book.aliases.values())
        assert len(set(given_)) == len(given_)
        assert all(100 <= number < 104 for number in given_)
        assert all(vlan.alias == "" or book.aliases[vlan.alias] == vlan.number for vlan in found)
