"""`just docs`: writes the tables of docs/protocol.md that follow from the classes in bus/messages/.

What stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced; a test says when it is out of date.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from bus import errors
from bus.message_fields import fields_of, meaning
from bus.messages.base import Event, Message, Query, Request, reply_type
from bus.messages.envelope import Envelope
from tools.vectors import messages

PAGE = Path(__file__).parents[1] / "docs" / "protocol.md"
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PERHAPS_DONE = (errors.OutcomeUnknownError, errors.InternalError)


def first_line(klass: type) -> str:
    """What a class says it is."""
    return meaning(klass).replace("|", "\\|")


def field_docs(klass: type) -> dict[str, str]:
    """The docstrings that stand below the fields of a class and of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(klass.__mro__):
        if not base.__module__.startswith("bus.messages."):
            continue
        (body,) = (node.body for node in ast.parse(inspect.getsource(base)).body if isinstance(node, ast.ClassDef))
        for field, doc in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
                docs[field.target.id] = " ".join(inspect.cleandoc(ast.literal_eval(doc.value)).split())
    return docs


def documented_fields(klass: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Each field with its type and default, and what it means."""
    docs = field_docs(klass)
    for name, kind in fields_of(klass):
        yield f"`{name}`: {kind}", docs.get(name, "")


def _cell(klass: type[msgspec.Struct]) -> str:
    cells = (f"{field} ({doc.rstrip('.')})" if doc else field for field, doc in documented_fields(klass))
    return "<br>".join(cells).replace("|", "\\|") or "none"


def envelope_table() -> str:
    """Every field of the envelope."""
    rows = [f"| {field} | {doc} |" for field, doc in documented_fields(Envelope)]
    return "\n".join(["| field | meaning |", "|---|---|", *rows]) + "\n"


def failure_table() -> str:
    """Every failure code."""
    rows = [
        f"| `{code}` | {first_line(klass)} | {'yes' if klass.retryable else 'no'} "
        f"| {'unknown' if issubclass(klass, _PERHAPS_DONE) else 'nothing was done'} |"
        for code, klass in errors.CODES.items()
    ]
    return "\n".join(["| code | meaning | retry | outcome |", "|---|---|---|---|", *rows]) + "\n"


def _kind(klass: type[Message]) -> str:
    for base, name in ((Query, "query"), (Request, "request"), (Event, "event")):
        if issubclass(klass, base):
            return name
    return "reply"


def _structs_in(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
        for inner in typing.get_type_hints(annotation).values():
            yield from _structs_in(inner)
    for arg in get_args(annotation):
        yield from _structs_in(arg)


def message_tables() -> str:
    """Every message by domain, and the maps that they contain."""
    domains: dict[str, list[str]] = {}
    nested: dict[str, type[msgspec.Struct]] = {}
    for tag, klass in messages().items():
        reply = f"`{reply_type(klass).__struct_config__.tag}`" if issubclass(klass, Request) else ""
        row = f"| `{tag}` | {_kind(klass)} | {_cell(klass)} | {reply} | {first_line(klass)} |"
        domains.setdefault(klass.__module__.rpartition(".")[2], []).append(row)
        for hint in typing.get_type_hints(klass).values():
            nested.update({found.__name__: found for found in _structs_in(hint)})
    lines = []
    for domain, rows in sorted(domains.items()):
        lines += [f"### {domain}\n", "| type | kind | fields | reply | meaning |", "|---|---|---|---|---|", *rows, ""]
    lines += ["### Maps inside messages\n", "| name | fields | meaning |", "|---|---|---|"]
    lines += [f"| {name} | {_cell(klass)} | {first_line(klass)} |" for name, klass in sorted(nested.items())]
    return "\n".join(lines) + "\n"


BLOCKS = {"envelope": envelope_table, "failures": failure_table, "messages": message_tables}


def renew(page: str) -> str:
    """The page with its generated parts as they should be."""
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}{found[3]}", page)


def main() -> int:
    """Write the page if it has changed."""
    page = PAGE.read_text()
    if (renewed := renew(page)) != page:
        PAGE.write_text(renewed)
        print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
