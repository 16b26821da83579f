"""The help texts of the executable."""

from __future__ import annotations

OVERVIEW = """\
minibus launches and runs experiments of many virtual machines and containers.

usage: minibus [--base DIR] SUBCOMMAND ...

  up        start minibus on this host
  down      stop it
  restart   start one of its processes again
  config    check a configuration file, show what holds
  key       who may use the bus from other hosts, over TCP
  attach    a prompt, with Tab completion and history
  exec      run one command, e.g. minibus exec 'vm info'
  read      run the commands of a file
  pipe      connect stdin and stdout to a named pipe
  console   be the console of a container
  ps        show the processes of minibus
  tap       watch what happens, e.g. minibus tap vm/
  topics    what passes on the bus: how much, from whom, for how many
  rate      how much passes on a topic, second by second
  trace     what a command or request led to, across all processes
  inputs    the last inputs of the processes
  ask       send one request to an actor by hand
  nuke      give up on a base directory that does not start any more
  doctor    what this host can do, what it lacks, how many guests fit
  version   print the version

  -e COMMAND...   like exec, for scripts written for minimega; -attach, -pipe
                  and its other flags work as well: `minibus help minimega`
  -cli            print the command language as JSON; needs no running minibus
  --help          this text; `minibus SUBCOMMAND --help` tells more

All state lies in one base directory: --base DIR, else $MINIBUS_BASE, else
/var/lib/minibus. Called as `minimega`, the default is /tmp/minimega.

exec, pipe, console, ps, tap, topics, rate, trace, inputs and ask can also talk
to another host: --key FILE, which `minibus key make` wrote there, and --address
tcp://HOST:PORT if the file does not say where that is."""

MINIMEGA = """\
usage: minimega [FLAG...] [FILE...]

Starts a daemon as minimega does: with a prompt on a terminal, with the commands
of stdin if that is a file or a pipe, or with -nostdin as a service. Its end, by
`quit`, SIGTERM, SIGINT or the end of input, is the end of all guests. Each FILE
is read first. One dash or two; -x VALUE or -x=VALUE; -x or -x=false.

  -base DIR        all state and the command socket (/tmp/minimega)
  -filepath DIR    images and other files for guests (DIR/files)
  -nostdin         no prompt
  -level LEVEL     log debug, info, warn, error or fatal (error)
  -logfile FILE    log to this file as well
  -v, -verbose     log to stderr (true)
  -panic           die on a signal and show where; guests stay
  -force           no effect: what a crashed daemon left is seen and taken over
  -vlanrange MIN-MAX
                   the numbers that names of VLANs get, without MAX (101-4096)
  -port, -degree, -context, -msa
                   about other hosts; no effect on one
  -cgroup DIR      no effect: cgroups are found where they are mounted

Instead of starting a daemon:

  -e COMMAND...    run one command on a running one; the exit status is 0 even
                   if the command failed, 1 if nobody answered
  -attach          a prompt on a running one
  -pipe NAME       connect stdin and stdout to a pipe of a running one
  -namespace NS    for these three: act in that namespace
  -cli             print the command language as JSON
  -version, -help

The subcommands of minibus work too, e.g. `minimega ps`."""

SUBCOMMANDS = {
    "config": """\
usage: minibus config check [FILE]
       minibus config show [--json] [--config FILE] [FLAG...]
       minibus config template

About the configuration file of `minibus up --config FILE`.

  check      say everything that is wrong in FILE, /etc/minibus/minibus.toml if
             none is named; the exit status is 1 if anything is
  show       every setting as a start with these flags would have it, and where
             it comes from: a flag, the environment, the file, or the default
  template   a file in which every setting is explained""",
    "key": """\
usage: minibus key make NAME --role control|tap [--namespace NS]...
                   [--topic PREFIX]... [--expires WHEN] [--out FILE]
                   [--address tcp://HOST:PORT]
       minibus key add NAME PUBLICKEY --role control|tap [...]
       minibus key list [--json]
       minibus key show NAME [--json]
       minibus key change NAME [--namespace NS]... [--topic PREFIX]...
                   [--expires WHEN]
       minibus key revoke NAME
       minibus key server [--json]

The keys with which clients on other hosts come in, where `minibus up --listen`
lets them. Works whether or not minibus runs; a change holds within a second.

  make     a new key. What its owner needs is printed, or written to FILE, and
           cannot be had again: name, address, both keys, the server's key
  add      let in a key pair that its owner made himself
  change   other limits of the kinds that are named, in place of the old ones;
           whoever has the key keeps using it. Revoked keys stay revoked
  revoke   refuse it from now on and close its connections; its name stays taken
  server   the public key by which clients know this host

  --role control     may send requests and watch; without --namespace all that
                     root may
  --role tap         may watch events and read pipes
  --namespace NS     only in this one; may be given several times
  --topic PREFIX     of a tap: only topics that begin so, e.g. vm/exp1/; may be
                     given several times
  --expires WHEN     90m, 12h, 30d, 2w, the last day: 2027-01-31 (UTC), or never
  --address ADDRESS  where the client finds this host""",
    "restart": """\
usage: minibus restart [--base DIR] ACTOR

Ends one process and starts it again, also one that was given up because it fell
too often (`failed` in `minibus ps`); returns when it serves. Guests do not
notice. The warden is started if it is down, but not ended.""",
    "attach": """\
usage: minibus attach [--base DIR] [--namespace NS]

A prompt on a running minibus. Tab completes, the arrow keys bring back earlier
lines, Ctrl-C drops the line, `disconnect` or Ctrl-D leaves. `quit` ends minibus
and all guests, for everybody, and has to be typed twice. Answers longer than
two screens go to $PAGER.

Without a terminal the lines of stdin are run one after the other, and the exit
status is 1 if any of them failed.

  --namespace NS   begin in that namespace""",
    "pipe": """\
usage: minibus pipe [--base DIR|--key FILE] [--namespace NS] [--read] [--write]
                    [--framed] NAME

Writes the lines of stdin into the pipe of that name and prints what anybody
writes into it, itself included. Nothing is lost on the way: whoever writes
waits for the slowest reader (`minibus exec help pipe` tells what else there
is). Ends with stdin, once the readers have everything, and when the pipe is
deleted. NAME may be NAMESPACE//PIPE.

  --read           only print, whatever stdin is, until the pipe is deleted
  --write          only write
  --framed         messages on stdin and stdout are any bytes, each after its
                   length: four bytes, big-endian
  --namespace NS   a pipe of that namespace

  tail -F events | minibus pipe --write log
  minibus pipe --read log | grep --line-buffered error""",
    "console": """\
usage: minibus console [--base DIR|--key FILE] [--namespace NS] [--read-only]
                       [--new] VM

The console of a container, by name or id: first what it has said, up to 64 KiB,
then what it says, and what you type goes to it. Ctrl-] leaves. Any number of
people may watch and type at once; the window has the size of whoever came or
resized last. It goes on by itself after a crash of minibus.

Without a terminal stdin is typed, and it is over when the container has said
nothing for a second after the end of stdin, or has ended.

  --read-only      only watch; of a VM that has ended, show what it said
  --new            leave out what it has said before
  --namespace NS   a VM of that namespace

  echo 'ip route' | minibus console --new router3
  minibus console --read-only web1 | grep --line-buffered error""",
    "nuke": """\
usage: minibus nuke [--base DIR] [--yes]

Gives up on a base directory, however damaged: kills everything that runs on it,
guests included, and removes what they left, all records too. The files in
files/, log/ and keys/ stay. `minibus down --guests` is the orderly way, and
`minibus up` takes over running guests after any crash: try these first.

  --yes   do not ask""",
    "doctor": """\
usage: minibus doctor [--base DIR] [--json] [--expect GUESTS] [--memory MIB]
                      [--interfaces NUMBER] [--processes NUMBER]
                      [--watchers NUMBER]
       minibus doctor [--base DIR] --untune

Lists what this host has and lacks for guests, what each missing thing costs and
what mends it, and how many guests fit before which limit is hit. Nothing has to
run, nothing is changed. Without root less can be seen. The exit status is 0 if
containers can run here, otherwise 1.

  --json               for programs
  --expect GUESTS      how many guests there should be room for (1000)
  --memory MIB         that each of them uses, otherwise what an idle one takes
  --interfaces NUMBER  that each of them has (0)
  --processes NUMBER   likewise (1)
  --watchers NUMBER    of its processes, those that watch files (0): systemd,
                       udevd, tail -f
  --untune             put back the limits that `minibus up --tune-host` has
                       raised""",
    "down": """\
usage: minibus down [--base DIR] [--guests]

Stops all actors of this host. Guests keep running, and `minibus up` takes them
over again.

  --guests   end all guests first and remove what they left""",
    "exec": """\
usage: minibus exec [--base DIR|--key FILE] [--json] [--namespace NS] COMMAND...

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
usage: minibus ps [--base DIR|--key FILE] [--json]

Shows the processes of minibus on this host: process id, state, how often it was
restarted, requests it is working on, and the memory it uses (PSS in MiB).""",
    "tap": """\
usage: minibus tap [--base DIR|--key FILE] [--json] [TOPIC]

Prints events as they happen until interrupted: time, topic, content. TOPIC is
the beginning of a topic, e.g. vm/ or vm/minimega/web1/; all without it. Events
that were lost on the way are reported on stderr.

  --json   one JSON object for each event""",
    "topics": """\
usage: minibus topics [--base DIR|--key FILE] [--json] [--watch] [PREFIX]

Lists the topics on which something has passed since the broker started, of
10,000 those that were used last: events, bytes, the time since the last one,
how many subscriptions cover it, and who published (the first four seen).

  --watch   again every second, with events per second, until interrupted
  --json    one list of objects, with --watch one for each second""",
    "rate": """\
usage: minibus rate [--base DIR|--key FILE] [--json] [--for SECONDS] TOPIC

Counts the events whose topic begins with TOPIC: each second how many, how many
bytes of content, how large they are (mean, percentiles, largest), and how many
were lost on the way to here; at the end, or after Ctrl-C, all together. An
empty TOPIC ('') stands for everything.

  --for SECONDS   end by itself
  --json          one object for each second; the last has "total": true""",
    "trace": """\
usage: minibus trace [--base DIR|--key FILE] [--json] [ID]

Shows what the request or command with this id led to: who asked whom for what,
when, how long it took, how it ended, or that it is still in progress. The
beginning of an id will do. Without ID, lists the newest commands and requests
with their ids; `msg_id` in the log is such an id too.

It is put together from the last 1,000 inputs that each process remembers. After
a crash an actor remembers those requests that are in its journal.""",
    "inputs": """\
usage: minibus inputs [--base DIR|--key FILE] [--json] [--follow] [ACTOR]

Shows the last 1,000 inputs of an actor, or of all in order of time: requests it
got, what it asked others, what came of its effects; from or to whom, how long
it took, how it ended (`...`: under way), names and numbers in it. Contents,
which may be secret, are neither kept nor shown.

  --follow   and go on with new ones until interrupted; what was under way is
             shown again when it has ended""",
    "ask": """\
usage: minibus ask [--base DIR|--key FILE] [--json] [--namespace NS]
                   [--timeout SECONDS] [--id ID] ACTOR REQUEST [FIELDS]
       minibus ask [--base DIR|--key FILE] [--json] --list [ACTOR]
       minibus ask [--base DIR|--key FILE] ACTOR

Sends one request to an actor (`vm`, or `vm@host`) and prints the reply as JSON.
FIELDS is a JSON object; - reads it from stdin. Bytes are written in base64. The
second and third form list what can be asked.

  --namespace NS      the namespace to act in (minimega)
  --timeout SECONDS   how long to wait (30)
  --id ID             of the request: with the same id it is not done twice, and
                      answered as before
  --json              a failure is printed as JSON too; the reply on one line

The exit status is 1 if the answer was a failure, and 3 if nobody knows whether
the request was carried out.

  minibus ask vm vm.list.get '{"target": "web[1-9]"}'
  minibus ask --namespace exp1 vm vm.kill '{"target": "web1"}'""",
    "version": """\
usage: minibus version

Prints the version of this program; `minibus exec version` asks the server.""",
}


def usage(subcommand: str) -> str:
    """The help of a subcommand, of the link `minimega`, or the overview; empty if there is no such subcommand."""
    if subcommand == "minimega":
        return MINIMEGA
    if subcommand == "up":
        from cli.up_usage import up_usage

        return up_usage()
    return SUBCOMMANDS.get(subcommand, "") if subcommand else OVERVIEW
