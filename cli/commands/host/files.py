"""`file`: the file area of this host."""

from __future__ import annotations

from bus.messages.files import DeleteFiles, FileList, GetFiles, GetTransfers, ListFiles, Transfer, TransferList
from cli.answers.printable import escaped
from cli.answers.response import Row
from cli.commands.declare import LIFECYCLE_S, Answer, Args, Command

LIST_HEADER = ("dir", "name", "size")
STATUS_HEADER = ("filename", "tempdir", "completed", "queued")


def file_list(reply: FileList, args: Args) -> Answer:
    """One row a file; sizes in bytes."""
    rows = [
        ("<dir>" if entry.is_directory else "", escaped(entry.name), str(entry.size_bytes)) for entry in reply.entries
    ]
    if reply.left_out:
        rows.append(("", f"... and {reply.left_out} more", ""))
    return Answer(header=LIST_HEADER, rows=rows)


def _status_row(transfer: Transfer) -> Row:
    total = str(transfer.total_bytes) if transfer.total_bytes >= 0 else "?"
    completed = f"failed: {transfer.error}" if transfer.error else f"{transfer.done_bytes}/{total}"
    return (transfer.path, transfer.temporary, completed, "true" if transfer.queued else "false")


def file_status(reply: TransferList, args: Args) -> Answer:
    """One row a download; how far it is in bytes, or why it failed."""
    return Answer(header=STATUS_HEADER, rows=[_status_row(transfer) for transfer in reply.transfers])


COMMANDS = (
    Command(
        patterns=("file <list,> [path]",),
        help_short="list files in the file area",
        help_long="""\
Shows one directory of the file area of this host, sizes in bytes. Without a
path that is the area itself.""",
        to="files",
        request=lambda args: ListFiles(path=args.text("path", "/")),
        answer=file_list,
        completers={"path": "area_file"},
    ),
    Command(
        patterns=("file <get,> <file>",),
        help_short="have files in the file area of this host",
        help_long="""\
Succeeds if the file, the directory, or everything that a pattern of `*`, `?`
and `[a-c]` means is in the file area of this host. A file that is still being
downloaded is an error: `file status` shows how far it is.""",
        to="files",
        request=lambda args: GetFiles(pattern=args.text("file")),
        completers={"file": "area_file"},
    ),
    Command(
        patterns=("file <delete,> <file>",),
        help_short="delete files from the file area",
        help_long="""\
Deletes a file, a directory with all in it, or everything that a pattern of `*`,
`?` and `[a-c]` means, on this host. If nothing is there, that is no error. `/`
empties the file area.""",
        to="files",
        request=lambda args: DeleteFiles(pattern=args.text("file")),
        timeout_s=LIFECYCLE_S,
        completers={"file": "area_file"},
    ),
    Command(
        patterns=("file <status,>",),
        help_short="show downloads into the file area",
        help_long="""\
Shows the downloads that are under way, those that wait, and those that failed
lately with the reason. `completed` is in bytes: those that are here of all there
are, `?` where the server does not say how many that is.""",
        to="files",
        request=lambda args: GetTransfers(),
        answer=file_status,
    ),
)
