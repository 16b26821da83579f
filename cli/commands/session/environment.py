"""Aliases, environment and preprocessing. All belong to one connection: what one client sets, no other sees."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

from cli.answers.response import Group, Response
from cli.commands.declare import Args, Call, Command, CommandError, Scope
from cli.grammar.errors import LexError
from cli.grammar.lexer import lex
from cli.grammar.matcher import Match
from cli.grammar.quoting import quote
from cli.session.session import Session
from cli.session.substitution import environment

MAX_ALIASES = 1_000
MAX_VARIABLES = 1_000
MAX_CHARACTERS = 1_048_576
"""Of all aliases and variables of a connection."""
ALIAS = ".alias"
UNALIAS = ".unalias"


def parse_alias(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and words of `NAME=EXPANSION`; raises CommandError."""
    name, equals, expansion = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise CommandError("expected alias of format `alias=expansion`")
    if lexed(name) != (name,):
        raise CommandError(f"expected alias of format `alias=expansion`: `{name[:80]}` is not one plain word")
    if name in (ALIAS, UNALIAS):
        raise CommandError(f"`{name}` cannot be an alias: nothing could remove it again")
    return name, lexed(expansion)


def lexed(text: str) -> tuple[str, ...]:
    """The words of a text; raises CommandError."""
    try:
        return lex(text).words
    except LexError as error:
        raise CommandError(f"`{text[:80]}`: {error}") from error


async def _aliases(call: Call) -> AsyncIterator[Group]:
    rows = [(name, " ".join(map(quote, words))) for name, words in sorted(call.session.aliases.items())]
    yield Group([Response(call.engine.host, header=("alias", "expansion"), rows=rows)])


def define(session: Session, args: Args) -> None:
    """What `.alias NAME=EXPANSION` does; raises CommandError."""
    name, words = parse_alias(" ".join(args.words("alias")))
    if name not in session.aliases and len(session.aliases) >= MAX_ALIASES:
        raise CommandError(f"there are {MAX_ALIASES} aliases already: remove some with {UNALIAS}")
    _check_size(session, name, *words)
    session.aliases[name] = words


def _check_size(session: Session, *more: str) -> None:
    """Refuse what would let one client fill the memory of the server."""
    held = [*session.aliases, *session.environment, *session.environment.values()]
    words = (word for words in session.aliases.values() for word in words)
    if sum(map(len, (*held, *words, *more))) > MAX_CHARACTERS:
        raise CommandError(f"aliases and variables of a connection hold at most {MAX_CHARACTERS} characters")


def forget(session: Session, args: Args) -> None:
    """What `.unalias NAME` does; a name that is no alias is none afterwards either."""
    session.aliases.pop(args.text("alias").strip(), None)


def change_aliases(match: Match[Command], session: Session) -> None:
    """Do to a session what a command does to aliases, for who only looks at a script; raises CommandError."""
    change = {DEFINE: define, FORGET: forget}.get(match.owner)
    if change is not None:
        change(session, Args(match.values))


async def _alias(call: Call) -> AsyncIterator[Group]:
    define(call.session, call.args)
    yield Group([Response(call.engine.host)])


async def _unalias(call: Call) -> AsyncIterator[Group]:
    forget(call.session, call.args)
    yield Group([Response(call.engine.host)])


async def _environment(call: Call) -> AsyncIterator[Group]:
    variables = environment(call.session.environment)
    if call.args.has("name"):
        yield Group([Response(call.engine.host, variables.get(call.args.text("name"), ""))])
    else:
        yield Group([Response(call.engine.host, header=("key", "value"), rows=list(variables.items()))])


async def _set_variable(call: Call) -> AsyncIterator[Group]:
    name, value = call.args.text("name"), call.args.text("value")
    if not name or "=" in name or "\0" in name + value:
        raise CommandError(f"`{name[:80]}` cannot be the name of a variable: expected a word without `=`")
    overlay = call.session.environment
    if name not in overlay and len(overlay) >= MAX_VARIABLES:
        raise CommandError(f"this connection has set {MAX_VARIABLES} variables already")
    _check_size(call.session, name, value)
    overlay[name] = value
    yield Group([Response(call.engine.host)])


async def _preprocessing(call: Call) -> AsyncIterator[Group]:
    chosen = call.args.chosen("true", "false")
    if chosen:
        call.session.preprocessing = chosen == "true"
        yield Group([Response(call.engine.host)])
    else:
        yield Group([Response(call.engine.host, "true" if call.session.preprocessing else "false")])


async def _preprocess_one(call: Call) -> AsyncIterator[Group]:
    with _preprocessing_is(call.session, call.args.has("true")):
        async for group in call.engine.run(call.nested, call.session):
            yield group


@contextlib.contextmanager
def _preprocessing_is(session: Session, on: bool) -> Iterator[None]:
    before, session.preprocessing = session.preprocessing, on
    try:
        yield
    finally:
        session.preprocessing = before


DEFINE = Command(
    patterns=(f"{ALIAS} <alias>...",),
    help_short="give a command a shorter name",
    help_long="""\
The alias replaces the first word of a command, also of one inside another:

	.alias names=.columns name,state vm info
	names
	.filter state=running names

It is replaced as a whole word and once, so an alias may have the name of a
command that it uses.""",
    run=_alias,
    free_text=True,
)

FORGET = Command(
    patterns=(f"{UNALIAS} <alias>",),
    help_short="remove an alias",
    run=_unalias,
    free_text=True,
    completers={"alias": "alias"},
)

COMMANDS = (
    Command(
        patterns=(ALIAS,),
        help_short="list the aliases of this connection",
        run=_aliases,
    ),
    DEFINE,
    FORGET,
    Command(
        patterns=(".env [name]",),
        help_short="show the environment, or one variable",
        run=_environment,
    ),
    Command(
        patterns=(".env <name> <value>",),
        help_short="set a variable",
        help_long="""\
`$NAME` and `${NAME}` in the arguments of later commands stand for the value, and
programs that this connection starts get it. An empty value hides the variable.
Write \\$ for a dollar sign that is none of these.""",
        run=_set_variable,
        free_text=True,
    ),
    Command(
        patterns=(".preprocess [true,false]",),
        help_short="whether arguments are preprocessed: show or change",
        help_long="""\
In the arguments of commands, `$NAME` stands for the value of a variable,
`file:NAME` for the path of a file in the file area, and a URL with http or https
for the path of what is downloaded from it. Where text of any kind is expected, as
in `shell` or `echo`, URLs stay what they are.""",
        run=_preprocessing,
    ),
    Command(
        patterns=(".preprocess <true,false> (command)",),
        help_short="whether the arguments of one command are preprocessed",
        scope=Scope.SPECIAL,
        run=_preprocess_one,
    ),
)
