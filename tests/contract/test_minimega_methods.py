"""Every method of clients that others wrote sends a command that our grammar knows, or is listed as not served yet."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from cli.commands.registry import COMMANDS
from cli.grammar.errors import LanguageError
from cli.grammar.lexer import lex
from cli.grammar.matcher import Grammar, Rank
from tests.contract.minimega_client import UNSERVED, VERSIONS, Sent, load, sent, unserved

GRAMMAR = Grammar((pattern, command) for command in COMMANDS for pattern in command.patterns)
ABBREVIATED = {"clear vm config tag x"}
"""Lines in which an abbreviation is what is meant."""
NESTED = {"command": "version"}
"""Values for placeholders that any word does not do for."""


@pytest.fixture(scope="module", params=VERSIONS)
def client(request: pytest.FixtureRequest) -> ModuleType:
    """A version's module."""
    return load(request.param)


def fault(line: Sent) -> str:
    """Why a line that a client sends would not do what it says; empty if it would."""
    try:
        match = GRAMMAR.parse(lex(line.line).words, line.line)
    except LanguageError as error:
        return str(error)
    ranks = [taken.rank for taken in match.taken]
    literals = len(re.split(r"[<(]", line.variant)[0].split())
    understood = all(rank is Rank.EXACT for rank in ranks[:literals]) and Rank.ABBREVIATED not in ranks
    if len(ranks) < literals or not (understood or line.line in ABBREVIATED):
        return f"`{line.line}` is taken for `{match.pattern.usage}`"
    return ""


def faults(module: ModuleType) -> dict[str, list[str]]:
    """For every method, what is wrong with what it sends."""
    found: dict[str, list[str]] = {}
    for line in sent(module, NESTED):
        found.setdefault(line.method, []).extend(filter(None, [fault(line)]))
    return found


def test_the_client_has_hundreds_of_methods(client: ModuleType) -> None:
    """The ways to find them have not silently stopped working."""
    lines = list(sent(client, NESTED))
    assert len({line.method for line in lines}) > 300
    assert len({line.line for line in lines}) > 400
    assert "vm start x" in {line.line for line in lines}


def test_every_method_is_served_or_listed(client: ModuleType) -> None:
    wrong = {name: why for name, why in faults(client).items() if why and name not in unserved()}
    assert wrong == {}


def test_what_is_served_is_not_listed() -> None:
    """The list only shrinks: whoever serves a method takes it out."""
    wrong = {name for version in VERSIONS for name, why in faults(load(version)).items() if why}
    assert {name: part for name, part in unserved().items() if name not in wrong} == {}


def test_the_list_is_sound() -> None:
    known = {line.method for version in VERSIONS for line in sent(load(version), NESTED)}
    assert set(unserved()) <= known
    entries = [method for group in UNSERVED["parts"].values() for method in group["methods"]]
    assert len(entries) == len(set(entries)), "a method is in two parts"
    assert all(group["reason"].strip() for group in UNSERVED["parts"].values())
    assert len(entries) <= UNSERVED["ceiling"], "the ceiling is only ever lowered"
    assert UNSERVED["ceiling"] - len(entries) < 10, "lower the ceiling to what is left"


@pytest.mark.parametrize(
    ("line", "variant", "sound"),
    [
        ("vm start x", "vm start <vm target>", True),
        ("vm sta x", "vm sta <vm target>", False),
        ("vm config x", "vm config x", False),
        ("clear vm config tag x", "clear vm config tag <key>", True),
        ("echo vm info", "echo vm info", False),
    ],
)
def test_a_fault_is_found(line: str, variant: str, sound: bool) -> None:
    assert (fault(Sent("m", variant, line)) == "") is sound
