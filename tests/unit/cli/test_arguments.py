"""The flags of the executable."""

from __future__ import annotations

import pytest

from cli.arguments import SWITCHES, VALUES, Options, UsageError
from cli.call import Call
from cli.subcommands import FUNCTIONS, MOST, NEEDS, SUBCOMMANDS


def taken(*arguments: str) -> tuple[dict[str, str], dict[str, bool], list[str]]:
    options = Options()
    rest = options.take(list(arguments))
    return options.values, options.switches, rest


@pytest.mark.parametrize(
    ("arguments", "values", "switches", "rest"),
    [
        ((), {}, {}, []),
        (("-base", "/x", "-e", "vm", "info"), {"base": "/x"}, {"e": True}, ["vm", "info"]),
        (("--base=/x", "--e", "-v"), {"base": "/x"}, {"e": True, "v": True}, []),
        (("-base=", "x"), {"base": ""}, {}, ["x"]),
        (("-base=a=b",), {"base": "a=b"}, {}, []),
        (("-base", "-e", "x"), {"base": "-e"}, {}, ["x"]),
        (("-base", "a", "-base", "b"), {"base": "b"}, {}, []),
        (("vm", "-e"), {}, {}, ["vm", "-e"]),
        (("-e", "--", "-v"), {}, {"e": True}, ["-v"]),
        (("-", "-e"), {}, {}, ["-", "-e"]),
        (("-v=false", "-nostdin"), {}, {"v": False, "nostdin": True}, []),
        (("-v=false", "-v"), {}, {"v": True}, []),
        (("-v", "false"), {}, {"v": True}, ["false"]),
        (("-port", "1", "-degree=0", "-msa", "86400"), {"port": "1", "degree": "0", "msa": "86400"}, {}, []),
        (("-level", "debug", "-logfile", "l"), {"level": "debug", "logfile": "l"}, {}, []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_flags(arguments: tuple[str, ...], values: dict[str, str], switches: dict[str, bool], rest: list[str]) -> None:
    assert taken(*arguments) == (values, switches, rest)


@pytest.mark.parametrize("word", ["1", "t", "T", "true", "TRUE", "True"])
def test_on(word: str) -> None:
    assert taken(f"-v={word}")[1] == {"v": True}


@pytest.mark.parametrize("word", ["0", "f", "F", "false", "FALSE", "False"])
def test_off(word: str) -> None:
    assert taken(f"--v={word}")[1] == {"v": False}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-nonsense"], "unknown option -nonsense"),
        (["-ev"], "unknown option -ev"),
        (["---v"], "unknown option ---v"),
        (["-=x"], "unknown option -=x"),
        (["-base"], "-base needs a value"),
        (["--namespace"], "--namespace needs a value"),
        (["-v=yes"], "-v=yes is neither true nor false"),
        (["-v="], "-v= is neither true nor false"),
        (["-v=tRue"], "-v=tRue is neither true nor false"),
        (["-port", "x"], "--port x is no number from 1 to 65535"),
        (["-port=0"], "--port 0 is no number from 1 to 65535"),
        (["-port=65536"], "--port 65536 is no number from 1 to 65535"),
        (["-port=\u0661"], "--port \u0661 is no number from 1 to 65535"),
        (["-port=" + "9" * 5000], f"--port {'9' * 80} is no number from 1 to 65535"),
        (["-degree", "-1"], "--degree -1 is no number from 0 to 65535"),
        (["-msa", "0"], "--msa 0 is no number from 1 to 86400"),
        (["-level", "loud"], "--level loud is none of debug, info, warn, error, fatal"),
        (["-base", "a\0b"], "--base cannot hold a zero byte"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_wrong_flags(arguments: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        taken(*arguments)
    assert str(caught.value) == sentence


def test_what_a_subcommand_does_not_take() -> None:
    options = Options()
    options.take(["-base", "x", "-json", "-namespace", "y"])
    assert options.beyond(("base", "json", "namespace")) == ""
    assert options.beyond(("base", "json")) == "namespace"
    assert options.beyond(("base", "namespace")) == "json"


def test_every_flag_of_a_subcommand_is_known() -> None:
    used = {flag for flags in SUBCOMMANDS.values() for flag in flags}
    assert used <= {*VALUES, *SWITCHES}
    assert len({*VALUES, *SWITCHES}) == len((*VALUES, *SWITCHES))


@pytest.mark.parametrize(
    ("program", "environment", "values", "base"),
    [
        ("minibus", "", {}, "/var/lib/minibus"),
        ("minibus", "/env", {}, "/env"),
        ("minibus", "/env", {"base": "/given/"}, "/given"),
        ("minimega", "/env", {}, "/tmp/minimega"),
        ("minimega", "", {"base": "/given"}, "/given"),
    ],
)
def test_the_base_directory(
    monkeypatch: pytest.MonkeyPatch, program: str, environment: str, values: dict[str, str], base: str
) -> None:
    monkeypatch.setenv("MINIBUS_BASE", environment)
    options = Options()
    options.values = values
    assert Call(program, options, []).base == base


def test_every_subcommand_is_a_function() -> None:
    assert set(SUBCOMMANDS) == set(FUNCTIONS)
    assert set(MOST) | set(NEEDS) <= set(FUNCTIONS)
