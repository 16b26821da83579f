"""`execf`: a program for each line, which is put into its command."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from bus.exit_status import describe_exit
from tools.plumbing.lines import Parser, PlumbingError, lines, run

_VERB = re.compile(rb"%(.?)", re.DOTALL)
_QUOTE = b'"'
_BLANKS = re.compile(rb"([ \t\r\n]+)")
_PIECES = re.compile(rb'(%[vs%]|")')


def check(template: bytes) -> None:
    """Refuse what `words` could not fill in; raises PlumbingError."""
    for verb in _VERB.findall(template):
        if verb not in (b"v", b"s", b"%"):
            raise PlumbingError(f"%{verb.decode('utf-8', 'replace')} is not known: %v or %s is the line, %% a %")
    if template.count(_QUOTE) % 2:
        raise PlumbingError('a " is missing')
    if not words(template, b"x"):
        raise PlumbingError("there is no command in the format")


class Words:
    """Words that grow from pieces of text."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self._word: bytes | None = None

    def add(self, text: bytes, *, whole: bool) -> None:
        """Text in quotes is part of one word as it is; other text ends words at its blanks."""
        if whole:
            self._word = (self._word or b"") + text
            return
        for piece in _BLANKS.split(text):
            if not piece:
                continue
            if _BLANKS.fullmatch(piece):
                self.end()
            else:
                self._word = (self._word or b"") + piece

    def end(self) -> None:
        """The word ends here, if there is one."""
        if self._word is not None:
            self.found.append(self._word)
        self._word = None


def words(template: bytes, line: bytes) -> list[bytes]:
    """The command with the line in it: within double quotes it is part of one word, whatever it holds."""
    made = Words()
    quoted = False
    for piece in _PIECES.split(template):
        if piece == _QUOTE:
            quoted = not quoted
            made.add(b"", whole=True)
        elif piece == b"%%":
            made.add(b"%", whole=quoted)
        elif piece not in (b"%v", b"%s"):
            made.add(piece, whole=quoted)
        elif quoted:
            made.add(line, whole=True)
        else:
            for at, part in enumerate(line.split(_QUOTE)):
                made.add(part, whole=at % 2 == 1)
    made.end()
    return made.found


def execf(arguments: Sequence[str]) -> None:
    """Run the commands, one after the other; the first that fails is the last."""
    parser = Parser("execf", description="For each line run the command FORMAT, in which %v or %s is the line.")
    parser.add_argument("format", metavar="FORMAT", help="split at blanks; double quotes group words")
    template = os.fsencode(parser.parse_args(arguments).format)
    check(template)
    for line in lines():
        argv = words(template, line)
        if not argv:
            raise PlumbingError("the line makes an empty command")
        name = argv[0].decode("utf-8", "replace")
        try:
            status = subprocess.run(argv, stdin=subprocess.DEVNULL).returncode
        except ValueError:
            raise PlumbingError("the line holds a NUL byte, which no program can be given") from None
        except OSError as error:
            raise PlumbingError(f"{name}: {error.strerror}") from None
        if status:
            raise PlumbingError(f"{name}: {describe_exit(status)}")


def main() -> int:
    """The console script."""
    return run("execf", execf)
