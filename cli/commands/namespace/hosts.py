"""The hosts of a namespace: which there are, and commands that all of them run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from bus.language.ranges import RangeError, expand, fold
from bus.messages.base import WILDCARD
from cli.answers.response import Group, Response
from cli.commands.declare import Call, Command, CommandError, Scope
from cli.grammar.quoting import quote

LOCALHOST = "localhost"
SHOWN_NAME = 80
"""Characters of a name that an error repeats."""


async def _hosts(call: Call) -> AsyncIterator[Group]:
    yield Group([Response(call.engine.host, fold(call.engine.hosts(call.session.namespace)))])


def hosts_of(text: str) -> Sequence[str]:
    """The names in a list; raises CommandError."""
    try:
        names = expand(text)
    except RangeError as error:
        raise CommandError(f"invalid hosts -- {error}") from error
    if not names:
        raise CommandError("invalid hosts -- the list is empty")
    return names


def check_hosts(text: str, own_host: str, known: Sequence[str]) -> None:
    """Refuse a list that names a host which is not known; raises CommandError."""
    for name in hosts_of(text):
        if name not in (own_host, LOCALHOST, WILDCARD, *known):
            raise CommandError(f"unknown host: `{name[:SHOWN_NAME]}`")


async def _add_hosts(call: Call) -> AsyncIterator[Group]:
    """Every namespace has this host, and no others are linked, so whatever may be added is there."""
    host = call.engine.host
    check_hosts(call.args.text("hostname"), host, call.engine.hosts(call.session.namespace))
    yield Group([Response(host)])


async def _del_hosts(call: Call) -> AsyncIterator[Group]:
    """What is not there is no error, and the only one that is there stays."""
    host = call.engine.host
    if not {host, LOCALHOST, WILDCARD}.isdisjoint(hosts_of(call.args.text("hostname"))):
        raise CommandError(f"{host} cannot be removed: it is the only host of the namespace")
    yield Group([Response(host)])


async def _run(call: Call) -> AsyncIterator[Group]:
    nested = call.nested
    for part in nested.chain():
        if part.owner.once:
            raise CommandError(f"cannot run `{' '.join(map(quote, nested.words))}` using `ns run`")
    with call.session.within(call.session.namespace):
        async for group in call.engine.run(nested, call.session):
            yield group


COMMANDS = (
    Command(
        patterns=("ns hosts",),
        help_short="list the hosts of the namespace",
        run=_hosts,
    ),
    Command(
        patterns=("ns add-hosts <hostname or range or all>",),
        help_short="add hosts to the namespace",
        help_long=f"""\
Takes a list of names and ranges, such as n[1-3]. `{LOCALHOST}` is the host that
you are connected to, `{WILDCARD}` are all others. Nothing is added if one of them is
unknown.

A namespace has the host that it was made on; minibus does not link hosts yet, so
there are no others to add.""",
        run=_add_hosts,
    ),
    Command(
        patterns=("ns del-hosts <hostname or range or all>",),
        help_short="remove hosts from the namespace",
        help_long="""\
Takes a list of names and ranges, such as n[1-3]; those that are no hosts of the
namespace are ignored. The host that you are connected to stays, because there are
no others yet.""",
        run=_del_hosts,
    ),
    Command(
        patterns=("ns run (command)",),
        help_short="run a command on all hosts of the namespace",
        help_long="""\
Runs any command on every host of the namespace, also one that otherwise only
runs on the host that you are connected to:

	ns run file list

Not for commands that are about all hosts anyway: `read`, `vm launch`, `ns run`.""",
        scope=Scope.BROADCAST,
        run=_run,
        once=True,
    ),
)
