"""The help texts of the executable."""

from __future__ import annotations

OVERVIEW = """\
minibus launches and runs experiments of many virtual machines and containers.

usage: minibus [--base DIR] SUBCOMMAND ...

  up        start minibus on this host
  down      stop it
  exec      run one command, e.g. minibus exec 'vm info'
  read      run the commands of a file
  ps        show the processes of minibus
  tap       watch what happens, e.g. minibus tap vm/
  version   print the version

  -e COMMAND...   like exec, for scripts written for minimega
  --help          this text; `minibus SUBCOMMAND --help` tells more

All state lies in one base directory: --base DIR, else $MINIBUS_BASE, else
/var/lib/minibus. Called as `minimega`, the default is /tmp/minimega."""

SUBCOMMANDS = {
    "up": """\
usage: minibus up [--base DIR] [--detach] [--durable]

Starts all actors of this host and stays in the foreground; Ctrl-C ends it.
Guests that were running before are taken over.

  --detach   go to the background and return when every actor is ready; what
             they have to say goes to DIR/log/minibus.log
  --durable  answer nothing before the disk has it: survives a power loss too,
             and every change waits for the disk""",
    "down": """\
usage: minibus down [--base DIR] [--guests]

Stops all actors of this host. Guests keep running, and `minibus up` takes them
over again.

  --guests   end all guests first and remove what they left""",
    "exec": """\
usage: minibus exec [--base DIR] [--json] [--namespace NS] COMMAND...

Runs one command and prints the answer. The command is one argument, or its
words, which are then quoted as needed. `minibus exec help` lists all commands.
The exit status is 1 if any host answered with an error.

  --json           print the responses as JSON: one list for each answer
  --namespace NS   run the command in that namespace

  minibus exec 'vm launch container web[1-3]'
  minibus exec .columns name,state vm info""",
    "read": """\
usage: minibus read [--base DIR] [--json] [--namespace NS] [--check] FILE

Runs the commands of a file, one a line. A line that is not a command ends it.
Errors name the file and the line. The exit status is 1 if there were any.

  --check   run nothing, only say whether every line is a command""",
    "ps": """\
usage: minibus ps [--base DIR] [--json]

Shows the processes of minibus on this host: process id, state, how often it was
restarted, requests it is working on, and the memory it uses (PSS in MiB).""",
    "tap": """\
usage: minibus tap [--base DIR] [--json] [TOPIC]

Prints events as they happen until interrupted: time, topic, content. TOPIC is
the beginning of a topic, e.g. vm/ or vm/minimega/web1/; all without it. Events
that were lost on the way are reported on stderr.

  --json   one JSON object for each event""",
    "version": """\
usage: minibus version

Prints the version of this program; `minibus exec version` asks the server.""",
}


def usage(subcommand: str) -> str:
    """The help of a subcommand, or the overview; empty if there is no such subcommand."""
    return SUBCOMMANDS.get(subcommand, "") if subcommand else OVERVIEW
