"""Who may use the bus over TCP: the keys of clients, and the tables in which a base directory keeps them.

A key is a CURVE key pair (ZeroMQ RFC 26). This side knows the public part only, and what its owner may do. A name is
never given twice, not even after its key was revoked: the name is what others see.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from bus.errors import ConflictError, InvalidError, NotFoundError
from bus.language.vm_names import is_valid
from bus.topics import MAX_TOPIC

MAX_KEYS = 10_000
MAX_LIMITS = 1_000
"""Namespaces, and topic prefixes, of one key."""
MAX_DAYS = 36_500

_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,64}")
_PUBLIC = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
"""32 bytes in Z85 (ZeroMQ RFC 32)."""
_DURATION = re.compile(r"([0-9]{1,7})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Role(StrEnum):
    """What a key is for."""

    CONTROL = "control"
    """Sends requests, and watches."""
    TAP = "tap"
    """Watches only."""


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client's public key and what it may do. Times are UTC seconds since 1970."""

    name: str
    public: str
    role: Role
    namespaces: tuple[str, ...] = ()
    """Only in these; empty for no such limit."""
    topics: tuple[str, ...] = ()
    """Topic prefixes that it may watch; empty for no such limit."""
    made_s: float = 0.0
    expires_s: float = 0.0
    """0 for never."""
    revoked_s: float = 0.0
    """0 if it was not."""

    def trouble(self, now_s: float) -> str:
        """Why it opens nothing now: `revoked`, `expired` or nothing."""
        if self.revoked_s:
            return "revoked"
        return "expired" if self.expires_s and now_s >= self.expires_s else ""


class Verdict(NamedTuple):
    """What a public key means at a moment."""

    key: Key | None
    trouble: str
    """Empty, or why it is refused: `unknown`, `revoked`, `expired`."""


class KeyRing:
    """The keys of one base directory, by name. A value: what changes it gives a new one."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.by_name = {key.name: key for key in sorted(keys, key=lambda key: key.name)}
        self._by_public = {key.public: key for key in self.by_name.values()}

    def judge(self, public: str, now_s: float) -> Verdict:
        """Whose public key this is, and whether it opens anything."""
        key = self._by_public.get(public)
        return Verdict(key, key.trouble(now_s) if key else "unknown")

    def named(self, name: str) -> Key:
        """The key of this name; raises NotFoundError."""
        if name not in self.by_name:
            raise NotFoundError(f"there is no key `{name[:80]}`")
        return self.by_name[name]

    def added(self, key: Key) -> KeyRing:
        """With one more; raises ConflictError, InvalidError."""
        if key.name in self.by_name:
            state = "was revoked; its name stays taken" if self.by_name[key.name].revoked_s else "exists"
            raise ConflictError(f"the key `{key.name}` {state}: choose another name")
        return checked([*self.by_name.values(), key])

    def changed(self, name: str, **limits: Any) -> KeyRing:
        """With other limits of one of them, by names of fields; raises NotFoundError, ConflictError, InvalidError."""
        key = self.named(name)
        if key.revoked_s:
            raise ConflictError(f"the key `{name}` was revoked, for good: make another one")
        new = msgspec.structs.replace(key, **limits)
        check(new)
        return KeyRing({**self.by_name, name: new}.values())

    def revoked(self, name: str, now_s: float) -> KeyRing:
        """With one of them revoked; harmless when repeated. Raises NotFoundError."""
        key = self.named(name)
        keys = {**self.by_name, name: msgspec.structs.replace(key, revoked_s=key.revoked_s or now_s)}
        return KeyRing(keys.values())


def checked(keys: Sequence[Key]) -> KeyRing:
    """The ring of these keys, whose names are different; raises ConflictError, InvalidError."""
    owners: dict[str, str] = {}
    for key in keys:
        check(key)
        if (owner := owners.setdefault(key.public, key.name)) != key.name:
            raise ConflictError(f"`{owner}` and `{key.name}` would have the same public key")
    if len(keys) > MAX_KEYS:
        raise ConflictError(f"there can be {MAX_KEYS} keys, not {len(keys)}")
    return KeyRing(keys)


def check(key: Key) -> None:
    """Raise InvalidError if no key can be like this."""
    check_name(key.name)
    if not _PUBLIC.fullmatch(key.public):
        raise InvalidError("a public key has 40 characters of Z85, as `minibus key make` prints it")
    if max(len(key.namespaces), len(key.topics)) > MAX_LIMITS:
        raise InvalidError(f"a key has at most {MAX_LIMITS} namespaces and as many topics")
    for namespace in key.namespaces:
        if not is_valid(namespace):
            raise InvalidError(f"`{namespace[:80]}` cannot be the name of a namespace")
    for prefix in key.topics:
        if not prefix.endswith("/") or len(prefix.encode()) > MAX_TOPIC or prefix.startswith(("/", "sync/")):
            raise InvalidError(f"`{prefix[:80]}` is no topic prefix: whole words that end in a slash, e.g. vm/exp1/")


def check_name(name: str) -> None:
    """Raise InvalidError if no key may have this name."""
    if not _NAME.fullmatch(name):
        raise InvalidError(f"`{name[:80]}` cannot be the name of a key: 1 to 64 letters, digits, `-`, `_` and `.`")


def expiry(text: str, now_s: float) -> float:
    """When a key ends, from a duration (`90m`, `12h`, `30d`, `2w`) or a UTC date (`2027-01-31`, its end).

    Raises InvalidError, also if that is over already.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    if match := _DURATION.fullmatch(text):
        length = timedelta(**{_UNITS[match[2]]: int(match[1])})
        if not timedelta() < length <= timedelta(days=MAX_DAYS):
            raise InvalidError(f"a key is good for a minute up to {MAX_DAYS} days, not for `{text}`")
        return (now + length).timestamp()
    try:
        end = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidError(f"`{text[:80]}` is neither a duration such as 30d nor a date such as 2027-01-31") from None
    if end - now > timedelta(days=MAX_DAYS):
        raise InvalidError(f"a key is good for {MAX_DAYS} days at most, and {text} is later")
    if end + timedelta(days=1) <= now:
        raise InvalidError(f"{text} is over already")
    return (end + timedelta(days=1)).timestamp()


# --- the table as text


def to_toml(ring: KeyRing) -> str:
    """The table as `clients.toml` has it."""
    lines = ["# Who may use the bus over TCP. Written by `minibus key`; a running gateway follows within a second."]
    for key in ring.by_name.values():
        fields: dict[str, Any] = {
            "public": key.public,
            "role": key.role.value,
            "namespaces": list(key.namespaces),
            "topics": list(key.topics),
            "made": utc_text(key.made_s),
            "expires": utc_text(key.expires_s),
            "revoked": utc_text(key.revoked_s),
        }
        lines += ["", f'["{key.name}"]']
        # JSON's strings and lists of them are TOML's too, the few characters aside that no field can have.
        lines += [f"{name} = {json.dumps(value)}" for name, value in fields.items() if value]
    return "\n".join(lines) + "\n"


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    public: str
    role: Role
    namespaces: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    made: str = ""
    expires: str = ""
    revoked: str = ""


def from_toml(text: str) -> KeyRing:
    """Read what `to_toml` or a person wrote; raises InvalidError that says what is wrong with it."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidError(f"it is not TOML: {error}") from None
    keys: list[Key] = []
    for name, fields in table.items():
        try:
            row = msgspec.convert(fields, _Row)
            times = [utc_seconds(one) for one in (row.made, row.expires, row.revoked)]
        except (msgspec.ValidationError, ValueError) as error:
            raise InvalidError(f"the key `{name[:80]}`: {error}") from None
        made_s, expires_s, revoked_s = times
        keys.append(
            Key(
                name=name,
                public=row.public,
                role=row.role,
                namespaces=row.namespaces,
                topics=row.topics,
                made_s=made_s,
                expires_s=expires_s,
                revoked_s=revoked_s,
            )
        )
    return checked(keys)


def utc_text(time_s: float) -> str:
    """A time as in `2027-01-31T00:00:00Z`; nothing for 0."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time_s else ""


def utc_seconds(text: str) -> float:
    """What `utc_text` made; raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp() if text else 0.0
