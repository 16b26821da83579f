"""`minibus key`: the keys of clients that come in over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bus.access.key_files import ClientFile, KeyStore, Pair, client_toml, create_file, new_pair, now_s
from bus.access.keys import Key, KeyRing, Role, check, expiry, utc_text
from bus.access.rights import check_topics
from bus.client import connect
from bus.errors import BusError, DeniedError, InvalidError
from bus.messages.gateway import ReloadKeys
from bus.node.base_directory import make
from bus.paths import Paths, context
from bus.settings.listen_address import Endpoint, parse_endpoint, wanted
from cli.answers.columns import columns
from cli.arguments import Options, UsageError
from cli.looking.tap import as_prefix

LIMITS = ("role", "namespace", "topic", "expires")
ACTIONS = {
    "make": (*LIMITS, "out", "address"),
    "add": LIMITS,
    "list": ("json",),
    "show": ("json",),
    "change": ("namespace", "topic", "expires"),
    "revoke": (),
    "server": ("json",),
}
"""What can be done, and with which flags."""
NAMED = {"make": 1, "add": 2, "show": 1, "change": 1, "revoke": 1}
"""How many words each takes: a name, and for `add` the public key."""
TELL_S = 3.0
NEVER = "never"
TOPIC_OF_CONTROL = "--topic is for keys of --role tap; those of control are limited by --namespace"
ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def key(base: Path, options: Options, words: Sequence[str]) -> int:
    """Do what the words say; returns the exit status. Raises UsageError."""
    action = words[0] if words else ""
    if action not in ACTIONS:
        raise UsageError(f"key needs one of {', '.join(ACTIONS)}")
    if extra := options.beyond((*ACTIONS[action], "base")):
        raise UsageError(f"key {action} takes no --{extra}")
    if len(words) - 1 != NAMED.get(action, 0):
        raise UsageError(f"key {action} takes {('no word', 'a NAME', 'a NAME and a PUBLICKEY')[NAMED.get(action, 0)]}")
    try:
        if os.geteuid() != 0:
            raise DeniedError("minibus key needs root: the keys decide who else may do what")
        return _do(base, action, options, words[1:])
    except BusError as error:
        sys.stderr.write(f"minibus: {error}\n")
    except OSError as error:
        sys.stderr.write(f"minibus: {error.filename or 'the keys'}: {error.strerror or error}\n")
    return 1


def _do(base: Path, action: str, options: Options, words: Sequence[str]) -> int:
    as_json = options.is_on("json")
    match action:
        case "make":
            _make(base, options, words[0])
        case "add":
            new, store = _key(options, words[0], words[1]), _store(base)
            if new.public == store.server_pair().public:
                raise InvalidError("that is the public key of this host's gateway: a client has a pair of its own")
            store.change(lambda ring: ring.added(new))
            _tell(base)
        case "change":
            _change(base, options, words[0])
        case "revoke":
            _store(base).change(lambda ring: ring.revoked(words[0], now_s()))
            _tell(base)
        case "show":
            shown = key_object(_ring(base).named(words[0]), now_s())
            print(json.dumps(shown) if as_json else "\n".join(f"{name}: {_text(shown, name)}" for name in shown))
        case "list":
            keys = [key_object(one, now_s()) for one in _ring(base).by_name.values()]
            print(json.dumps(keys) if as_json else key_table(keys))
        case _:
            public, address = _store(base).server_pair().public, _address(base)
            print(json.dumps({"public": public, "address": address}) if as_json else public)
    return 0


def _store(base: Path) -> KeyStore:
    return KeyStore(make(base).keys)


def _ring(base: Path) -> KeyRing:
    return KeyStore(context(base).paths.keys).load()


def _key(options: Options, name: str, public: str) -> Key:
    role = options.values.get("role", "")
    if role not in set(Role):
        raise UsageError(f"--role must be {' or '.join(Role)}")
    topics = _topics(options)
    if topics and role != Role.TAP:
        raise UsageError(TOPIC_OF_CONTROL)
    new = Key(
        name=name,
        public=public,
        role=Role(role),
        namespaces=tuple(dict.fromkeys(options.lists.get("namespace", ()))),
        topics=topics,
        made_s=now_s(),
        expires_s=_expiry(options),
    )
    check(new)
    check_topics(new)
    return new


def _change(base: Path, options: Options, name: str) -> None:
    """Set other limits of the kinds that are named. Those of namespaces and topics cannot be lifted."""
    limits: dict[str, Any] = {}
    if "namespace" in options.lists:
        limits["namespaces"] = tuple(dict.fromkeys(options.lists["namespace"]))
    if "topic" in options.lists:
        limits["topics"] = _topics(options)
    if "expires" in options.values:
        limits["expires_s"] = _expiry(options)
    if not limits:
        raise UsageError("key change needs --namespace, --topic or --expires")

    def change(ring: KeyRing) -> KeyRing:
        if "topics" in limits and ring.named(name).role is not Role.TAP:
            raise InvalidError(TOPIC_OF_CONTROL)
        changed = ring.changed(name, **limits)
        check_topics(changed.named(name))
        return changed

    _store(base).change(change)
    _tell(base)


def _topics(options: Options) -> tuple[str, ...]:
    topics = tuple(dict.fromkeys(map(as_prefix, options.lists.get("topic", ()))))
    if "" in topics:  # of a script whose variable was empty: that must not make a key for everything
        raise UsageError("--topic is empty: leave it out if the key is to watch everything")
    return topics


def _expiry(options: Options) -> float:
    text = options.values.get("expires", NEVER)
    return 0.0 if text == NEVER else expiry(text, now_s())


def _make(base: Path, options: Options, name: str) -> None:
    pair = new_pair()
    new = _key(options, name, pair.public)
    store = _store(base)
    text = client_toml(_client_file(base, options.values.get("address", ""), new, pair, store.server_pair().public))
    out = Path(options.values["out"]) if options.values.get("out") else None

    def change(ring: KeyRing) -> KeyRing:
        changed = ring.added(new)
        if out is not None:
            create_file(out, text)  # before the key is known: a key whose file was lost is good for nothing
        return changed

    try:
        store.change(change)
    except OSError:
        if out is not None:
            _remove_own(out, text)
        raise
    print(f"written to {out}" if out is not None else text, end="\n" if out is not None else "")
    _tell(base)


def _remove_own(out: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        if text.startswith(out.read_text()):
            out.unlink()


def _client_file(base: Path, address: str, new: Key, pair: Pair, server: str) -> ClientFile:
    if address:
        parse_endpoint(address)
    return ClientFile(
        name=new.name,
        address=address or _address(base),
        public=pair.public,
        secret=pair.secret,
        server=server,
        expires=utc_text(new.expires_s),
    )


def _address(base: Path) -> str:
    """Where clients find the gateway, as far as this host can know; empty if there is none."""
    try:
        text = Paths(base).gateway.read_text().strip() or wanted()
    except OSError:
        text = wanted()
    try:
        endpoint = parse_endpoint(text)
    except InvalidError:
        return ""
    return str(Endpoint(os.uname().nodename, endpoint.port) if endpoint.host in ANY else endpoint)


def _tell(base: Path) -> None:
    """A gateway that runs looks once a second; it need not be that long."""
    if context(base).paths.gateway.exists():
        with contextlib.suppress(BusError, OSError):
            asyncio.run(_reload(base))


async def _reload(base: Path) -> None:
    async with connect(base, timeout_s=TELL_S) as port:
        await port.ask("gateway", ReloadKeys(), timeout_s=TELL_S)


# --- showing


def key_object(one: Key, now_s: float) -> dict[str, Any]:
    """What programs read of a key."""
    return {
        "name": one.name,
        "role": one.role.value,
        "state": one.trouble(now_s) or "good",
        "namespaces": list(one.namespaces),
        "topics": list(one.topics),
        "made": utc_text(one.made_s),
        "expires": utc_text(one.expires_s),
        "revoked": utc_text(one.revoked_s),
        "public": one.public,
    }


def key_table(keys: Sequence[dict[str, Any]]) -> str:
    """Aligned columns."""
    header = ("name", "role", "state", "namespaces", "topics", "expires")
    return columns(header, [[_text(one, name) for name in header] for one in keys], left=header)


NO_LIMIT = {"namespaces": "(all)", "topics": "(all)", "expires": NEVER, "revoked": "-"}


def _text(one: dict[str, Any], name: str) -> str:
    """One cell for people: where nothing is a limit, nothing would look like no rights."""
    value = one[name] or NO_LIMIT.get(name, "")
    return " ".join(value) if isinstance(value, list) else str(value)
