from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.commands.registry import COMMANDS
from cli.grammar.errors import AmbiguousCommandError, LanguageError, LexError, UnknownCommandError
from cli.grammar.lexer import lex
from cli.grammar.matcher import MAX_NESTING, SHOWN_INPUT, Grammar, Match
from tests.unit.examples import examples

PATTERNS = (
    "version",
    "echo [args]...",
    "host",
    "host <cpus,>",
    "host <cpucommit,>",
    "host <memtotal,>",
    "log level [debug,info,warn,error,fatal]",
    "vm info [summary,]",
    "vm start <vm target>",
    "vm stop <vm target>",
    "vm screenshot <vm> [max]",
    "vm screenshot <vm> file <path> [max]",
    "vm config qemu [path]",
    "vm config qemu-append [arg]...",
    "clear vm tag",
    "pipe <pipe> <mode,> [all,round-robin,random]",
    "pipe <pipe> <data>",
    ".csv [true,false]",
    ".csv <true,false> (command)",
    ".columns <columns as csv> (command)",
    ".filter <filter> (command)",
    "namespace",
    "namespace <name>",
    "namespace <name> (command)",
    "mesh send <clients> (command)",
)
GRAMMAR = Grammar((text, text) for text in PATTERNS)
EVERYTHING = Grammar((pattern, command) for command in COMMANDS for pattern in command.patterns)


def parse(text: str) -> Match[str]:
    return GRAMMAR.parse(lex(text).words, text)


@pytest.mark.parametrize(
    ("text", "pattern", "values"),
    [
        ("version", "version", {}),
        ("ver", "version", {}),
        ("vm i", "vm info [summary,]", {}),
        ("vm i s", "vm info [summary,]", {"summary": True}),
        ("log l d", "log level [debug,info,warn,error,fatal]", {"debug": True}),
        ("log level", "log level [debug,info,warn,error,fatal]", {}),
        ("host cpus", "host <cpus,>", {"cpus": True}),
        ("host m", "host <memtotal,>", {"memtotal": True}),
        ("echo", "echo [args]...", {}),
        ('echo a "b c" ""', "echo [args]...", {"args": ("a", "b c", "")}),
        ('vm start ""', "vm start <vm target>", {"vm": ""}),
        ("vm config qemu", "vm config qemu [path]", {}),  # spelled out, although qemu-append begins so too
        ("vm config qemu /q", "vm config qemu [path]", {"path": "/q"}),
        ("vm screenshot x 9", "vm screenshot <vm> [max]", {"vm": "x", "max": "9"}),
        ("vm screenshot x fi y", "vm screenshot <vm> file <path> [max]", {"vm": "x", "path": "y"}),
        (
            "pipe p mode ro",
            "pipe <pipe> <mode,> [all,round-robin,random]",
            {"pipe": "p", "mode": True, "round-robin": True},
        ),
        ("pipe p mo", "pipe <pipe> <data>", {"pipe": "p", "data": "mo"}),  # a free string beats an abbreviation
        ("namespace foo", "namespace <name>", {"name": "foo"}),
        (".csv true", ".csv [true,false]", {"true": True}),
    ],
)
def test_matches(text: str, pattern: str, values: dict[str, object]) -> None:
    match = parse(text)
    assert (match.owner, match.values, match.nested) == (pattern, values, None)


def test_nested_commands_keep_their_words() -> None:
    match = parse('.columns name namespace foo .f a=b echo "" "# \\n" x')
    owners = []
    current: Match[str] | None = match
    while current is not None:
        owners.append(current.owner)
        last, current = current, current.nested
    assert owners == [
        ".columns <columns as csv> (command)",
        "namespace <name> (command)",
        ".filter <filter> (command)",
        "echo [args]...",
    ]
    assert last.values == {"args": ("", "# \n", "x")}


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("v", ()),  # only `version` matches: the others need more words
        ("vm s x", ("vm start <vm target>", "vm stop <vm target>", "vm screenshot <vm> [max]")),
        ("host c", ("host cpus", "host cpucommit")),
        ("pipe p mode r", ("round-robin", "random")),
        (".c true version", (".csv <true,false> (command)", ".columns <columns as csv> (command)")),
        (".columns a vm st x", ("vm start <vm target>", "vm stop <vm target>")),
    ],
)
def test_ambiguity_names_its_candidates(text: str, candidates: tuple[str, ...]) -> None:
    if not candidates:
        assert parse(text).owner == "version"
        return
    with pytest.raises(AmbiguousCommandError) as error:
        parse(text)
    assert error.value.candidates == candidates
    assert str(error.value).startswith(f"invalid command: `{text}`: ambiguous, it could mean `{candidates[0]}`")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("vm strat x", ("vm start <vm target>",)),
        ("vm start", ("vm start <vm target>",)),
        ("versoin", ("version",)),
        ("vm info foo", ("vm info [summary,]",)),
        (".columns name vm infos", ("vm info [summary,]",)),
        ("mesh send n2 # x", ("mesh send <clients> (command)",)),
        ("xyzzy", ()),
        ('"" x', ()),
    ],
)
def test_a_miss_names_the_nearest_patterns(text: str, nearest: tuple[str, ...]) -> None:
    with pytest.raises(UnknownCommandError) as error:
        parse(text)
    assert error.value.nearest == nearest
    hint = f": did you mean `{nearest[0]}`?" if nearest else ""
    assert str(error.value) == f"invalid command: `{text}`{hint}"


def test_spellings_of_the_same_are_not_ambiguous() -> None:
    owner = object()
    grammar = Grammar([("vm config disk [d]...", owner), ("vm config disks [d]...", owner)])
    assert grammar.parse(("vm", "config", "dis", "a")).values == {"d": ("a",)}


def test_long_input_is_shown_in_part() -> None:
    with pytest.raises(UnknownCommandError) as error:
        parse("y" * 10_000)
    assert len(str(error.value)) < SHOWN_INPUT + 50


def test_nesting_is_bounded() -> None:
    assert parse(".csv true " * 50 + "version").owner == ".csv <true,false> (command)"
    with pytest.raises(LanguageError, match="nested more than"):
        parse(".csv true " * (MAX_NESTING + 2) + "version")


@pytest.mark.parametrize("words", [(".c", "t") * 50, (".f", "a") * 5000, ("namespace",) * 10_000, ("vm",) * 20_000])
def test_hostile_input_takes_bounded_time(words: tuple[str, ...]) -> None:
    started_s = time.process_time()
    with pytest.raises(LanguageError):
        EVERYTHING.parse((*words, "nonsense", "nonsense"))
    assert time.process_time() - started_s < 2


VOCABULARY = sorted({word for entry in EVERYTHING.entries for item in entry.pattern.items for word in item.words})


@settings(max_examples=examples(300))
@given(st.lists(st.one_of(st.sampled_from(VOCABULARY), st.text(max_size=3)), max_size=12))
def test_any_words_give_a_match_or_one_sentence(words: list[str]) -> None:
    try:
        match = EVERYTHING.parse(words)
    except LanguageError as error:
        assert str(error)
    else:
        assert match.words == tuple(words)


@given(st.text())
def test_any_text_gives_a_match_or_one_sentence(text: str) -> None:
    try:
        line = lex(text)
        if line.words:
            EVERYTHING.parse(line.words, text)
    except LexError as error:
        assert str(error)
    except LanguageError as error:
        assert str(error).startswith("invalid command: `")


@given(st.data())
def test_every_pattern_spelled_out_means_itself(data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(EVERYTHING.entries))
    words: list[str] = []
    for item in entry.pattern.items:
        if item.is_nested:
            words.append("version")
        elif item.words:
            words.append(data.draw(st.sampled_from(item.words)))
        else:
            words.append("zz9")
    assert EVERYTHING.parse(words).owner is entry.owner


ALIASES = {
    "vi": ("vm", "info"),
    "quiet": (".csv", "false", "vi"),
    "a": ("b",),
    "b": ("a",),
    "loop": (".csv", "true", "loop"),
    "e": ("echo", "hey"),
    "nothing": (),
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vi", "vm info"),
        ("vi summary", "vm info summary"),
        (".csv true vi", ".csv true vm info"),
        ("quiet", ".csv false vm info"),
        ("namespace foo quiet summary", "namespace foo .csv false vm info summary"),
        ("e there", "echo hey there"),
        ("echo vi", "echo vi"),
        ("namespace vi", "namespace vi"),
        ("namespace vi vi", "namespace vi vm info"),
    ],
)
def test_an_alias_is_the_first_word_of_a_command(text: str, words: str) -> None:
    assert GRAMMAR.parse(lex(text).words, text, ALIASES).words == tuple(words.split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "b"), ("b x", "a x"), ("loop", ".csv true loop"), ("there", "there"), ("vie", "vie"), ("nothing", "")],
)
def test_an_alias_is_replaced_once_and_as_a_whole(text: str, shown: str) -> None:
    with pytest.raises(UnknownCommandError) as error:
        GRAMMAR.parse(lex(text).words, text, ALIASES)
    assert str(error.value).startswith(f"invalid command: `{shown}`")


def test_aliases_cannot_grow_without_bound() -> None:
    bomb = {f"x{n}": (".csv", "true", f"x{n + 1}", *(f"x{n + 1}" for _ in range(5000))) for n in range(50)}
    begun_s = time.process_time()
    with pytest.raises(LanguageError) as error:
        GRAMMAR.parse(("x0",), "x0", bomb)
    assert "longer than" in str(error.value)
    assert time.process_time() - begun_s < 2


@given(
    words=st.lists(st.sampled_from(["a", "b", "c", ".csv", "true", "echo", "namespace", "x"]), max_size=8),
    aliases=st.dictionaries(
        st.sampled_from(["a", "b", "c", "echo"]),
        st.lists(st.sampled_from(["a", "b", "c", ".csv", "true", "echo", "namespace"]), max_size=4).map(tuple),
    ),
)
def test_any_aliases_give_a_parse_or_a_sentence(words: list[str], aliases: dict[str, tuple[str, ...]]) -> None:
    try:
        match = GRAMMAR.parse(words, None, aliases)
    except LanguageError as error:
        assert str(error)
    else:
        assert len(match.words) <= len(words) + sum(map(len, aliases.values())) * 8


VOCABULARY = sorted(
    {word for text in PATTERNS for word in text.replace("<", " ").replace(",", " ").split()} | {"", "x"}
)


@given(words=st.lists(st.sampled_from([*VOCABULARY, "v", "ve", "vm", "i", "c", "h", "n", "t"]), max_size=6))
def test_choosing_patterns_by_initials_changes_nothing(words: list[str]) -> None:
    every = Grammar((text, text) for text in PATTERNS)
    every.fitting = lambda initials: every.starting_with(initials[0] if initials else "")  # type: ignore[assignment]

    def outcome(grammar: Grammar[str]) -> tuple[object, ...]:
        try:
            match = grammar.parse(words)
        except LanguageError as error:
            return (type(error), str(error))
        return (match.pattern, match.values, match.nested)

    assert outcome(GRAMMAR) == outcome(every)
