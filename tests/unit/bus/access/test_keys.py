"""Keys, their table as text, and the files that hold them."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.access.key_files import ClientFile, KeyStore, client_toml, create_file, new_pair, read_client_file
from bus.access.keys import Key, KeyRing, Role, expiry, from_toml, to_toml, utc_text
from bus.errors import BusError, ConflictError, DeniedError, InvalidError, NotFoundError

NOW_S = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


def a_key(name: str = "alice", public: str = "a" * 40, **fields: object) -> Key:
    """One."""
    return Key(name=name, public=public, role=Role.TAP, **fields)  # type: ignore[arg-type]


def test_a_public_key_means_a_key_and_whether_it_opens_anything() -> None:
    ring = KeyRing().added(a_key()).added(a_key("bob", "b" * 40, expires_s=NOW_S + 10))
    assert ring.judge("a" * 40, NOW_S) == (a_key(), "")
    assert ring.judge("c" * 40, NOW_S) == (None, "unknown")
    assert ring.judge("b" * 40, NOW_S + 9).trouble == ""
    assert ring.judge("b" * 40, NOW_S + 10).trouble == "expired"
    revoked = ring.revoked("bob", NOW_S).revoked("bob", NOW_S + 5)
    assert revoked.judge("b" * 40, NOW_S).trouble == "revoked"
    assert revoked.named("bob").revoked_s == NOW_S
    assert ring.judge("b" * 40, NOW_S).trouble == ""  # a value
    with pytest.raises(NotFoundError):
        ring.revoked("carol", NOW_S)


def test_neither_name_nor_key_is_given_twice() -> None:
    ring = KeyRing().added(a_key()).revoked("alice", NOW_S)
    with pytest.raises(ConflictError, match="was revoked; its name stays taken"):
        ring.added(a_key(public="b" * 40))
    with pytest.raises(ConflictError, match="the same public key"):
        ring.added(a_key("bob"))


@pytest.mark.parametrize(
    "key",
    [
        *(a_key(name) for name in ("", "a b", "a/b", "x" * 65, "..", "key:a", "a@b", "\u00fc", "a\n")),
        *(a_key(public=public) for public in ("", "a" * 39, "a" * 41, "a" * 39 + " ", "a" * 39 + '"')),
        *(a_key(namespaces=(name,)) for name in ("", "a/b", "..", "x" * 65)),
        *(a_key(topics=(prefix,)) for prefix in ("", "vm", "/", "/vm/", "sync/x/", "vm/" * 400)),
        a_key(topics=("vm/",) * 1001),
    ],
)
def test_what_no_key_can_be(key: Key) -> None:
    with pytest.raises(InvalidError):
        KeyRing().added(key)


def test_the_table_survives_being_written() -> None:
    ring = KeyRing(
        (
            a_key("a.b-c_d", namespaces=("exp1", "x.y"), topics=("vm/exp1/", "log/%C3%BC/"), made_s=NOW_S),
            Key(
                name="zoe", public='!*"'.replace('"', "+") + "z" * 37, role=Role.CONTROL, expires_s=NOW_S, revoked_s=1.0
            ),
        )
    )
    assert from_toml(to_toml(ring)).by_name == ring.by_name
    assert from_toml(to_toml(KeyRing())).by_name == {}


@pytest.mark.parametrize(
    "text",
    [
        "[alice",
        "alice = 1",
        '[alice]\npublic = "short"\nrole = "tap"',
        f'[alice]\npublic = "{"a" * 40}"\nrole = "root"',
        f'[alice]\npublic = "{"a" * 40}"\nrole = "tap"\nnamespace = ["x"]',
        f'[alice]\npublic = "{"a" * 40}"\nrole = "tap"\nexpires = "tomorrow"',
        f'[a]\npublic = "{"a" * 40}"\nrole = "tap"\n[b]\npublic = "{"a" * 40}"\nrole = "tap"',
    ],
)
def test_a_table_that_makes_no_sense_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(BusError) as caught:
        from_toml(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("30d", "2026-12-21T12:00:00Z"),
        ("90m", "2026-11-21T13:30:00Z"),
        ("12h", "2026-11-22T00:00:00Z"),
        ("2w", "2026-12-05T12:00:00Z"),
        ("2026-11-21", "2026-11-22T00:00:00Z"),
        ("2027-01-31", "2027-02-01T00:00:00Z"),
    ],
)
def test_when_a_key_ends(text: str, ends: str) -> None:
    assert utc_text(expiry(text, NOW_S)) == ends


@pytest.mark.parametrize(
    "text", ["", "30", "0d", "d", "-1d", "1.5d", "9999999w", "2026-11-20", "2026-13-01", "9999-12-31"]
)
def test_what_is_no_end_of_a_key(text: str) -> None:
    with pytest.raises(InvalidError):
        expiry(text, NOW_S)


# --- files


def mode(path: Path) -> int:
    """Its permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_store_makes_the_servers_pair_once_and_keeps_all_to_itself(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    assert store.load().by_name == {}
    pair = store.server_pair()
    assert KeyStore(tmp_path / "keys").server_pair() == pair
    assert pair.secret not in repr(pair)
    before = store.stamp()
    store.change(lambda ring: ring.added(a_key()))
    assert store.stamp() != before
    assert store.load().by_name == {"alice": a_key()}
    assert {mode(path) for path in (store.clients, store.server)} == {0o600}
    assert mode(store.directory) == 0o700
    with pytest.raises(ConflictError):
        store.change(lambda ring: ring.added(a_key()))
    assert sorted(path.name for path in store.directory.iterdir()) == ["clients.toml", "lock", "server.toml"]


def test_a_store_that_others_can_read_or_write_opens_nothing(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.server_pair()
    store.change(lambda ring: ring.added(a_key()))
    store.directory.chmod(0o755)
    assert store.server_pair()
    assert mode(store.directory) == 0o700
    for wrong in (0o644, 0o640, 0o602):
        store.server.chmod(wrong)
        with pytest.raises(InvalidError, match=rf"others can read .*server\.toml, whose mode is {wrong:04o}"):
            store.server_pair()
    before = store.stamp()
    for wrong in (0o620, 0o666):
        store.clients.chmod(wrong)
        assert store.stamp() != before
        with pytest.raises(InvalidError, match=rf"others can write to .*clients\.toml, whose mode is {wrong:04o}"):
            store.load()
    store.clients.chmod(0o644)  # names and public keys: no secret
    assert store.load().by_name == {"alice": a_key()}


def test_a_store_that_was_tampered_with_says_which_file(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.server_pair()
    store.clients.write_text("[")
    with pytest.raises(InvalidError, match=r"clients\.toml"):
        store.load()
    store.clients.write_bytes(b"\xff")
    with pytest.raises(InvalidError, match=r"clients\.toml"):
        store.load()
    store.server.write_text(f'public = "{new_pair().public}"\nsecret = "{new_pair().secret}"\n')
    with pytest.raises(InvalidError, match=r"server\.toml"):
        store.server_pair()


def a_client(**fields: str) -> ClientFile:
    """What `minibus key make` writes."""
    pair = new_pair()
    return ClientFile(**{"name": "alice", "public": pair.public, "secret": pair.secret, "server": "s" * 40, **fields})


def test_a_clients_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = a_client(address="tcp://kn1:9002", expires="2027-01-01T00:00:00Z")
    create_file(tmp_path / "alice.toml", client_toml(file))
    assert read_client_file(tmp_path / "alice.toml") == file
    assert mode(tmp_path / "alice.toml") == 0o600
    assert file.secret not in repr(file)
    (tmp_path / "edited.toml").write_text("\ufeff" + client_toml(file), encoding="utf-8", newline="\r\n")
    assert read_client_file(tmp_path / "edited.toml") == file
    with pytest.raises(InvalidError, match="exists"):
        create_file(tmp_path / "alice.toml", "x")


def test_what_is_no_clients_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    with pytest.raises(NotFoundError):
        read_client_file(path)
    with pytest.raises(DeniedError):
        read_client_file(tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidError, match="is not UTF-8 text"):
        read_client_file(path)
    for text in ("", "[", 'name = "a"', client_toml(a_client(public="x" * 40)), client_toml(a_client(secret="x"))):
        path.write_text(text)
        with pytest.raises(InvalidError):
            read_client_file(path)
