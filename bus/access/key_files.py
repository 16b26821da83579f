"""The files with keys: `<base>/keys/server.toml` (secret), `<base>/keys/clients.toml`, and what a client gets."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.access.keys import KeyRing, from_toml, to_toml
from bus.errors import DeniedError, InvalidError, NotFoundError
from bus.lock import FileLock

MODE = 0o600
SECRET = 0o077
"""Rights that nobody else may have on a secret."""
OWN = 0o022
"""The same on what decides who may come in."""
MAX_BYTES = 16 * 1024 * 1024
LOCK_S = 5.0


class Pair(NamedTuple):
    """A CURVE key pair in Z85."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"Pair(public={self.public!r})"  # a secret belongs into no log and no traceback


def new_pair() -> Pair:
    """A key pair that nobody else has."""
    import zmq

    public, secret = zmq.curve_keypair()
    return Pair(public.decode(), secret.decode())


def public_of(secret: str) -> str:
    """The public part that belongs to a secret one; raises InvalidError."""
    import zmq

    try:
        return zmq.curve_public(secret.encode()).decode()
    except (zmq.ZMQError, ValueError, TypeError):
        raise InvalidError("the secret key is not 40 characters of Z85") from None


class KeyStore:
    """The directory `<base>/keys`; mode 0700."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clients = directory / "clients.toml"
        self.server = directory / "server.toml"

    def server_pair(self) -> Pair:
        """The server's keys; made if there are none. Raises InvalidError, OSError."""
        if not self.server.exists():
            with self._locked():
                if not self.server.exists():
                    pair = new_pair()
                    head = "# The keys of this host's gateway. The secret one is known nowhere else.\n"
                    replace_file(self.server, head + _toml(pair._asdict()))
        self.directory.chmod(0o700)  # what a backup brought back may be open to all
        fields = _table(_read(self.server, SECRET), self.server)
        pair = Pair(fields.get("public", ""), fields.get("secret", ""))
        if public_of(pair.secret) != pair.public:
            raise InvalidError(f"{self.server}: the public key is not that of the secret one")
        return pair

    def load(self) -> KeyRing:
        """All keys of clients; none if there is no file. Raises InvalidError, OSError."""
        try:
            text = _read(self.clients, OWN)
        except FileNotFoundError:
            return KeyRing()
        try:
            return from_toml(text)
        except InvalidError as error:
            raise InvalidError(f"{self.clients}: {error}") from None

    def change(self, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
        """Replace the keys by what `change` makes of them; gives the new ones. Raises BusError, OSError."""
        with self._locked():
            ring = change(self.load())
            replace_file(self.clients, to_toml(ring))
            return ring

    def stamp(self) -> tuple[int, ...]:
        """Something that is another when the keys of clients may have changed."""
        try:
            found = self.clients.stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.directory.chmod(0o700)
        lock = FileLock(self.directory / "lock", "minibus key", wait_s=LOCK_S)
        try:
            yield
        finally:
            lock.release()


class ClientFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client needs to come in: one TOML file, which its owner keeps to himself."""

    name: str
    address: str = ""
    """`tcp://HOST:PORT` of the gateway; empty if it was not known."""
    public: str
    secret: str
    server: str
    """Public key of the gateway."""
    expires: str = ""

    def __repr__(self) -> str:
        return f"ClientFile(name={self.name!r}, address={self.address!r}, public={self.public!r})"


def client_toml(file: ClientFile) -> str:
    """The text of a client's file."""
    return (
        f"# Whoever has this file is `{file.name}` to minibus: keep it secret.\n{_toml(msgspec.structs.asdict(file))}"
    )


def read_client_file(path: Path) -> ClientFile:
    """Read a client's file; raises NotFoundError, DeniedError or InvalidError with one sentence."""
    try:
        fields = _table(_read(path), path)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path} with a key: `minibus key make` makes one") from None
    except OSError as error:
        raise DeniedError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        file = msgspec.convert(fields, ClientFile)
    except msgspec.ValidationError as error:
        raise InvalidError(f"{path} is no file of `minibus key make`: {error}") from None
    if public_of(file.secret) != file.public or len(file.server) != len(file.public):
        raise InvalidError(f"{path}: its keys do not belong together")
    return file


def replace_file(path: Path, text: str) -> None:
    """Write a secret file, whole or not at all. Raises OSError."""
    new = path.with_name(f".minibus-{secrets.token_hex(8)}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def create_file(path: Path, text: str) -> None:
    """Write a secret file that was not there; raises InvalidError if there is something, OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    except FileExistsError:
        raise InvalidError(f"{path} exists, and is not overwritten") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)


def now_s() -> float:
    """UTC seconds since 1970, whole ones: what the files can hold."""
    return float(int(time.time()))


def _read(path: Path, closed: int = 0) -> str:
    """The text of a file; raises InvalidError if others have one of the `closed` rights, or it is none. OSError."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        data = file.read(MAX_BYTES + 1)
    if mode & closed:
        what = "read" if closed == SECRET else "write to"
        raise InvalidError(f"others can {what} {path}, whose mode is {mode:04o}: if nobody has done so, chmod 600 it")
    if len(data) > MAX_BYTES:
        raise InvalidError(f"{path} is longer than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")  # as some editors write it
    except UnicodeDecodeError:
        raise InvalidError(f"{path} is not UTF-8 text") from None


def _table(text: str, path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidError(f"{path} is not TOML: {error}") from None
    return {name: value for name, value in table.items() if isinstance(value, str)}


def _toml(fields: dict[str, str]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items() if value)
