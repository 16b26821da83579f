"""VLANs: which alias has which number, and where the next number comes from. Pure: every change makes a new book."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain

import msgspec

from bus.language.netspec import (
    MAX_VLAN,
    SEPARATOR,
    WRONG_NUMBER,
    NetspecError,
    check_vlan,
    is_unplugged,
    qualified,
    vlan_number,
)
from bus.language.vm_names import is_integer
from bus.messages.base import DEFAULT_NAMESPACE, WILDCARD
from bus.messages.vlan import DISCONNECTED, Vlan, VlanRange, VlanTable
from bus.settings.vlan_range import DEFAULT_RANGE, range_error

NEVER_GIVEN = frozenset({0, MAX_VLAN})
"""No tag at all, and a number that the standard (802.1Q) reserves: only who types them gets them."""
SHOWN = 80
"""Characters of wrong input that an error repeats."""
HEADER = ("Alias", "VLAN")
"""Of the file that lists all aliases."""


class VlanError(ValueError):
    """The VLANs cannot be had or changed so; `str()` is one sentence, `code` one of `bus.errors`."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def fresh_range(minimum: int, maximum: int) -> VlanRange:
    """A range of which nothing has been given yet."""
    return VlanRange(minimum=minimum, maximum=maximum, next_=minimum)


class VlanBook(msgspec.Struct, frozen=True):
    """All VLANs of all namespaces. Its maps are never changed in place."""

    aliases: dict[str, int] = {}
    """Fully qualified."""
    ranges: dict[str, VlanRange] = {}
    """Those that namespaces have reserved."""
    pool: VlanRange = fresh_range(*DEFAULT_RANGE)
    """Of the default namespace, and of all that have reserved nothing."""
    first_pool: tuple[int, int] = DEFAULT_RANGE
    """What the host was started with, and what clearing leads back to."""
    blacklist: frozenset[int] = frozenset()
    """Typed by users, or listed by them: never given."""
    worn: tuple[int, ...] = ()
    """Lost their alias while interfaces were still plugged into them, oldest first: given when nothing else is left.

    Looked at again whenever aliases are cleared.
    """
    new: frozenset[str] = frozenset()
    """Aliases that got their number from the last one who looked them up, and were not looked up since."""
    typed: frozenset[int] = frozenset()
    """Of the blacklist, what came on it in the same way."""


# --- looking up, and giving numbers


def resolve(
    book: VlanBook, texts: Sequence[str], namespace: str, closed: Collection[str] = ()
) -> tuple[VlanBook, tuple[Vlan, ...]]:
    """What texts mean that were typed in a namespace, all or none; new aliases get numbers. Raises VlanError.

    No new alias is made in the `closed` namespaces.
    """
    typed = {_number(text) for text in texts if is_integer(text)}
    # Before any alias gets a number, so that no number of this very list is given to one.
    first = typed - set(book.aliases.values()) - book.blacklist
    names = {number: alias for alias, number in book.aliases.items()}
    book = msgspec.structs.replace(
        book,
        blacklist=book.blacklist | first,
        new=book.new - {names.get(number, "") for number in typed},
        typed=book.typed - typed | first,
    )
    found: list[Vlan] = []
    for text in texts:
        if is_integer(text):
            number = _number(text)
            found.append(Vlan(number=number, alias=names.get(number, "")))
        elif is_unplugged(text):
            found.append(Vlan(number=DISCONNECTED))
        else:
            book, vlan = _of_alias(book, text, namespace, closed)
            found.append(vlan)
    return book, tuple(found)


def _of_alias(book: VlanBook, text: str, namespace: str, closed: Collection[str]) -> tuple[VlanBook, Vlan]:
    alias = _qualified(text, namespace)
    if alias not in book.aliases:
        owner = owner_of(alias)
        if owner in closed:
            raise VlanError("conflict", f"namespace {owner} is being destroyed")
        book = _give(book, alias, owner)
    elif alias in book.new:
        book = msgspec.structs.replace(book, new=book.new - {alias})
    return book, Vlan(number=book.aliases[alias], alias=alias)


def _number(text: str) -> int:
    try:
        return vlan_number(text)
    except NetspecError as error:
        raise VlanError("invalid", str(error)) from error


def _qualified(text: str, namespace: str) -> str:
    try:
        check_vlan(text)
        return qualified(text, namespace)
    except NetspecError as error:
        raise VlanError("invalid", str(error)) from error


def owner_of(alias: str) -> str:
    """The namespace of a qualified alias."""
    return alias.partition(SEPARATOR)[0]


def _give(book: VlanBook, alias: str, owner: str) -> VlanBook:
    """The next free number, of the owner's range if it has one."""
    source = book.ranges.get(owner, book.pool)
    taken = book.blacklist | set(book.aliases.values()) | NEVER_GIVEN
    if owner not in book.ranges:
        taken |= _reserved(book)
    worn = frozenset(book.worn)
    fresh = (number for number in _in_turn(source) if number not in taken and number not in worn)
    last = (n for n in book.worn if source.minimum <= n < source.maximum and n not in taken)
    number = next(chain(fresh, last), None)
    if number is None:
        raise VlanError("unavailable", "out of VLANs")
    book = msgspec.structs.replace(_noted(book, alias, number), new=book.new | {alias})
    moved = msgspec.structs.replace(source, next_=number)
    if owner in book.ranges:
        return msgspec.structs.replace(book, ranges={**book.ranges, owner: moved})
    return msgspec.structs.replace(book, pool=moved)


def _reserved(book: VlanBook) -> set[int]:
    return {number for each in book.ranges.values() for number in range(each.minimum, each.maximum)}


def _in_turn(source: VlanRange) -> Iterator[int]:
    yield from range(source.next_, source.maximum)
    yield from range(source.minimum, source.next_)


def _noted(book: VlanBook, alias: str, number: int) -> VlanBook:
    worn = tuple(each for each in book.worn if each != number)
    return msgspec.structs.replace(book, aliases={**book.aliases, alias: number}, worn=worn)


# --- what users decide


def add(book: VlanBook, namespace: str, alias: str, number: int, closed: Collection[str] = ()) -> VlanBook:
    """Give a certain number to an alias; raises VlanError."""
    if is_integer(alias) or is_unplugged(alias):
        raise VlanError("invalid", f"invalid VLAN alias, `{alias[:SHOWN]}` is a number or a reserved word")
    name = _qualified(alias, namespace)
    _check_number(number)
    if owner_of(name) in closed:
        raise VlanError("conflict", f"namespace {owner_of(name)} is being destroyed")
    if name in book.aliases:
        raise VlanError("conflict", f"alias already in use: {name} is {book.aliases[name]}")
    if number in book.blacklist:
        raise VlanError(
            "conflict", f"vlan already in use: somebody has typed or listed {number}, see `vlans blacklist`"
        )
    if owner := _alias_of(book, number):
        raise VlanError("conflict", f"vlan already in use: {number} is {owner}")
    return _noted(book, name, number)


def blacklist(book: VlanBook, number: int) -> VlanBook:
    """Never give a number; raises VlanError if an alias has it."""
    _check_number(number)
    if owner := _alias_of(book, number):
        sentence = f"vlan already in use: {number} is {owner}, which `clear vlans` can forget"
        raise VlanError("conflict", sentence)
    return msgspec.structs.replace(book, blacklist=book.blacklist | {number}, typed=book.typed - {number})


def _alias_of(book: VlanBook, number: int) -> str:
    return next((alias for alias, each in book.aliases.items() if each == number), "")


def _check_number(number: int) -> None:
    if not 0 <= number <= MAX_VLAN:
        raise VlanError("invalid", WRONG_NUMBER)


def reserve(book: VlanBook, namespace: str, minimum: int, maximum: int) -> VlanBook:
    """Set the range of a namespace; raises VlanError. That of the default namespace may enclose those of others."""
    sentence = range_error(minimum, maximum)
    if sentence:
        raise VlanError("invalid", sentence)
    wanted = fresh_range(minimum, maximum)
    if namespace == DEFAULT_NAMESPACE:
        return msgspec.structs.replace(book, pool=wanted)
    for other, taken in book.ranges.items():
        if other != namespace and minimum < taken.maximum and taken.minimum < maximum:
            raise VlanError("conflict", f"range overlaps with another namespace: {other}")
    return msgspec.structs.replace(book, ranges={**book.ranges, namespace: wanted})


def started_with(book: VlanBook, minimum: int, maximum: int) -> VlanBook:
    """The host was started with this range for everybody; it replaces the present one if it is another than before."""
    if (minimum, maximum) == book.first_pool:
        return book
    return msgspec.structs.replace(book, first_pool=(minimum, maximum), pool=fresh_range(minimum, maximum))


# --- forgetting


def give_back(book: VlanBook, aliases: Collection[str], numbers: Collection[int] = ()) -> VlanBook:
    """Forget what nobody but the first one has looked up: nothing can be plugged into it."""
    gone, loose = book.new.intersection(aliases), book.typed.intersection(numbers)
    if not gone and not loose:
        return book
    kept = {alias: number for alias, number in book.aliases.items() if alias not in gone}
    freed = loose.union(book.aliases[alias] for alias in gone)
    return msgspec.structs.replace(
        book,
        aliases=kept if gone else book.aliases,
        blacklist=book.blacklist - loose,
        new=book.new - gone,
        typed=book.typed - loose,
        pool=_rewound(book.pool, freed - _reserved(book)),
        ranges={name: _rewound(each, freed) for name, each in book.ranges.items()},
    )


def check_prefix(prefix: str) -> None:
    """Raise VlanError if no alias can begin so."""
    if prefix.count(SEPARATOR) > 1 or prefix.startswith(SEPARATOR):
        form = f"`prefix` or `namespace{SEPARATOR}prefix`"
        raise VlanError("invalid", f"invalid prefix of VLAN aliases, `{prefix[:SHOWN]}` is not {form}")


def doomed(book: VlanBook, namespace: str, prefix: str) -> frozenset[str]:
    """The aliases that clearing would forget."""
    if prefix == WILDCARD:
        return frozenset(book.aliases)
    beginning = prefix if SEPARATOR in prefix else f"{namespace}{SEPARATOR}{prefix}"
    return frozenset(alias for alias in book.aliases if alias.startswith(beginning))


def clear(book: VlanBook, namespace: str, prefix: str, in_use: Collection[int] | None) -> VlanBook:
    """Forget aliases that begin so, without a prefix the range too; the wildcard forgets all there is.

    `in_use` has the numbers into which something is plugged, None stands for all.
    """
    gone = doomed(book, namespace, prefix)
    kept = {alias: number for alias, number in book.aliases.items() if alias not in gone}
    freed = {book.aliases[alias] for alias in gone} | (book.blacklist if prefix == WILDCARD else frozenset())
    worn = [number for number in (*book.worn, *sorted(freed)) if in_use is None or number in in_use]
    pool, ranges, listed = book.pool, book.ranges, book.blacklist
    if prefix == WILDCARD:
        ranges, listed = {}, frozenset()
    elif not prefix:
        ranges = {name: each for name, each in ranges.items() if name != namespace}
    if prefix == WILDCARD or (not prefix and namespace == DEFAULT_NAMESPACE):
        pool = fresh_range(*book.first_pool)
    return VlanBook(
        aliases=kept if gone else book.aliases,
        ranges={name: _rewound(each, freed) for name, each in ranges.items()},
        pool=_rewound(pool, freed - _reserved(book)),
        first_pool=book.first_pool,
        blacklist=listed,
        worn=tuple(dict.fromkeys(worn)),
        new=book.new - gone,
        typed=book.typed & listed,
    )


def _rewound(source: VlanRange, freed: Collection[int]) -> VlanRange:
    """A range in which numbers have become free is searched from its beginning again."""
    touched = any(source.minimum <= number < source.maximum for number in freed)
    return fresh_range(source.minimum, source.maximum) if touched else source


def knows(book: VlanBook, namespace: str) -> bool:
    """Whether there is anything of a namespace."""
    return namespace in book.ranges or any(owner_of(alias) == namespace for alias in book.aliases)


# --- views


def table(book: VlanBook, namespace: str) -> VlanTable:
    """All of it for whoever asks, in a namespace."""
    return VlanTable(
        namespace=namespace,
        aliases=book.aliases,
        ranges={DEFAULT_NAMESPACE: book.pool, **book.ranges},
        blacklist=tuple(sorted(book.blacklist)),
    )


def file_text(book: VlanBook) -> str:
    """What `<base>/vlans` says; nothing if there are no aliases."""
    if not book.aliases:
        return ""
    rows = [HEADER, *((alias, str(number)) for alias, number in sorted(book.aliases.items()))]
    width = max(len(alias) for alias, _ in rows) + 1
    return "".join(f"{alias:<{width}}{number}\n" for alias, number in rows)
