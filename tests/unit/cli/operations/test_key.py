"""`minibus key`."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bus.access.key_files import KeyStore, new_pair, read_client_file
from bus.access.keys import Role
from cli.arguments import Options, UsageError
from cli.operations.key import ACTIONS, LIMITS, key
from cli.subcommands import SUBCOMMANDS
from cli.usage import usage


def run(base: Path, *words: str) -> int:
    """As the executable does."""
    options = Options()
    rest, positional = list(words), []
    while rest := options.take(rest):
        positional.append(rest.pop(0))
    return key(base, options, positional)


def test_every_flag_of_an_action_is_one_of_the_subcommand_and_told() -> None:
    flags = {flag for flags in ACTIONS.values() for flag in flags}
    assert flags == set(SUBCOMMANDS["key"])
    assert all(f"--{flag}" in usage("key") for flag in flags)
    assert all(f"minibus key {action}" in usage("key") for action in ACTIONS)


def test_a_key_is_made_once_and_told_once(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = base_dir / "alice.toml"
    words = ("make", "alice", "--role", "tap", "--topic", "vm/exp1", "--topic=pipe/exp1/my pipe", "--namespace", "exp1")
    assert run(base_dir, *words, "--expires", "30d", "--out", str(out), "--address", "tcp://kn1:9002") == 0
    assert capsys.readouterr().out == f"written to {out}\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    file = read_client_file(out)
    store = KeyStore(base_dir / "keys")
    made = store.load().named("alice")
    assert (made.public, made.role, made.topics, made.namespaces) == (
        *(file.public, Role.TAP, ("vm/exp1/", "pipe/exp1/my%20pipe/")),
        ("exp1",),
    )
    assert made.expires_s > made.made_s
    assert (file.name, file.address, file.server) == ("alice", "tcp://kn1:9002", store.server_pair().public)
    assert file.secret not in store.clients.read_text()
    assert run(base_dir, *words) == 1
    assert "the key `alice` exists" in capsys.readouterr().err


def test_a_key_without_a_file_is_printed_and_can_be_read(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(base_dir, "make", "bob", "--role", "control") == 0
    (base_dir / "bob.toml").write_text(capsys.readouterr().out)
    assert read_client_file(base_dir / "bob.toml").name == "bob"
    assert run(base_dir, "server") == 0
    assert capsys.readouterr().out.strip() == read_client_file(base_dir / "bob.toml").server


def test_where_the_file_cannot_be_written_there_is_no_key(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = base_dir / "taken"
    taken.write_text("mine")
    for out in (base_dir / "none" / "x", taken):
        assert run(base_dir, "make", "carol", "--role", "tap", "--out", str(out)) == 1
        assert str(out) in capsys.readouterr().err
    assert taken.read_text() == "mine"
    assert run(base_dir, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_keys_are_listed_shown_added_and_revoked(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = new_pair().public
    assert run(base_dir, "add", "dora", public, "--role", "control", "--namespace", "exp1") == 0
    assert run(base_dir, "list") == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "role", "state", "namespaces", "topics", "expires"]
    assert row.split() == ["dora", "control", "good", "exp1", "(all)", "never"]
    assert run(base_dir, "revoke", "dora") == 0
    assert run(base_dir, "show", "dora", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["public"], shown["revoked"] > "2026") == ("revoked", public, True)
    assert run(base_dir, "show", "dora") == 0
    assert f"public: {public}" in capsys.readouterr().out
    for words in (("show", "nobody"), ("revoke", "nobody"), ("add", "x", "short", "--role", "tap")):
        assert run(base_dir, *words) == 1
        assert capsys.readouterr().err.startswith("minibus: ")


def test_limits_of_a_key_are_changed_and_the_rest_stays(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = KeyStore(base_dir / "keys")
    assert (
        run(base_dir, "make", "eve", "--role", "tap", "--topic", "vm/", "--namespace", "exp1", "--expires", "1m") == 0
    )
    made = store.load().named("eve")
    assert (
        run(base_dir, "change", "eve", "--expires", "never", "--topic", "pipe/exp1/my pipe", "--topic", "vm/exp1") == 0
    )
    changed = store.load().named("eve")
    assert (changed.topics, changed.expires_s) == (("pipe/exp1/my%20pipe/", "vm/exp1/"), 0.0)
    assert (changed.public, changed.made_s, changed.namespaces) == (made.public, made.made_s, ("exp1",))
    assert run(base_dir, "change", "eve", "--expires", "30d") == 0
    assert store.load().named("eve").expires_s > made.expires_s


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nobody", "--expires", "1d"), "there is no key `nobody`"),
        (("old", "--expires", "never"), "the key `old` was revoked, for good: make another one"),
        (("boss", "--topic", "vm/"), "--topic is for keys of --role tap"),
        (("boss", "--namespace", ""), "`` cannot be the name of a namespace"),
        (("eye", "--namespace", "exp2"), "`vm/exp1/` tells nothing of the namespaces of this key: only exp2"),
        (("eye", "--topic", "vm/exp2/"), "`vm/exp2/` tells nothing of the namespaces of this key: only exp1"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(
    base_dir: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert run(base_dir, "make", "old", "--role", "control") == 0
    assert run(base_dir, "revoke", "old") == 0
    assert run(base_dir, "make", "boss", "--role", "control", "--namespace", "exp1") == 0
    assert run(base_dir, "make", "eye", "--role", "tap", "--namespace", "exp1", "--topic", "vm/exp1") == 0
    before = (base_dir / "keys" / "clients.toml").read_text()
    capsys.readouterr()
    assert run(base_dir, "change", *words) == 1
    assert sentence in capsys.readouterr().err
    assert (base_dir / "keys" / "clients.toml").read_text() == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--topic", "vms/exp1/"), "no topic begins with `vms/`: they begin with vm/, "),
        (("--topic", "../"), "no topic begins with `../`"),
        (("--topic", "/vm"), "`/vm/` is no topic prefix"),
        (("--topic", "sync/x"), "`sync/x/` is no topic prefix"),
        (("--topic", "vm/exp1/", "--namespace", "exp10"), "`vm/exp1/` tells nothing of the namespaces of this key"),
        (("--topic", "log/", "--namespace", "exp1"), "`log/` tells nothing of the namespaces of this key: only exp1"),
        (("--namespace", ""), "`` cannot be the name of a namespace"),
        (("--expires", ""), "`` is neither a duration such as 30d nor a date"),
        (("--expires", "9999-12-31"), "a key is good for 36500 days at most, and 9999-12-31 is later"),
    ],
)
def test_a_key_that_would_be_good_for_nothing_is_not_made(
    base_dir: Path, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(base_dir, "make", "a", "--role", "tap", *words) == 1
    assert capsys.readouterr().err.startswith(f"minibus: {sentence}")
    assert not (base_dir / "keys" / "clients.toml").exists()


def test_the_key_of_the_gateway_is_no_clients(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = KeyStore(base_dir / "keys").server_pair().public
    assert run(base_dir, "add", "a", server, "--role", "control") == 1
    assert "the public key of this host's gateway" in capsys.readouterr().err
    assert not (base_dir / "keys" / "clients.toml").exists()


@pytest.mark.parametrize(
    "words",
    [
        *(
            (),
            ("forge",),
            ("make",),
            ("make", "a"),
            ("make", "a", "b", "--role", "tap"),
            ("list", "a"),
            ("server", "a"),
        ),
        *(("make", "a", "--role", "root"), ("add", "a", "--role", "tap"), ("revoke",), ("list", "--role", "tap")),
        ("make", "a", "--role", "control", "--topic", "vm/"),
        ("make", "a", "--role", "tap", "--topic", ""),
        *(("change", "a"), ("change", "a", "--role", "tap"), ("change", "a", "--topic", ""), ("change",)),
    ],
)
def test_words_that_make_no_sense(base_dir: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(base_dir, *words)
    assert not (base_dir / "keys" / "clients.toml").exists()


def test_limits_are_those_of_both_ways_to_let_a_key_in() -> None:
    assert set(LIMITS) <= set(ACTIONS["make"]) & set(ACTIONS["add"])
