"""What a session that is confined to namespaces may run, and that nothing else gets in by way of it."""

from __future__ import annotations

import pytest

from bus.access.keys import Key, Role
from bus.access.rights import admit
from bus.language.vm_config import PARAMS, reaches_host
from bus.messages.base import Ack
from bus.messages.cc import CommandPosted, PostCommand
from bus.messages.namespace import LaunchQueue, SetConfig
from bus.messages.pipe import GetPipes, PipeList, PipeWritten, WritePipe
from bus.messages.vm import VmReport
from cli.commands.registry import COMMANDS
from cli.server.confinement import PATTERNS, is_allowed
from tests.unit.cli.stand_ins import EngineBench

REFUSED = {
    *(".alias", ".alias <alias>...", ".unalias <alias>", ".env [name]", ".env <name> <value>"),
    *(".preprocess [true,false]", ".preprocess <true,false> (command)"),
    *("args", "background <command>...", "background-error <id>", "background-kill <id or all>"),
    *("background-output <id>", "background-status [id]", "check", "clear background-status"),
    *("cc <listen,>", "cc <listen,> <port> [address]", "clear cc <listen,> <port>", "clear cc"),
    *("cc <mount,>", "cc <mount,> <vm name or uuid> [path]", "clear cc <mount,> [vm name, uuid or path]"),
    *("cc <rtunnel,> <src port> <host> <dst port>", "cc <tunnel,> <close,> <vm name or uuid> <id>"),
    *("cc <tunnel,> <list,> <vm name, uuid, or all>", "cc <tunnel,> <vm name or uuid> <src port> <host> <dst port>"),
    "cc <send,> <file>...",
    *("clear all", "clear log", "clear namespace", "debug", "debug <cpu,> <start,> <file>"),
    *("debug <goroutine,> <file>", "debug <memory,> <file>", "file <delete,> <file>", "file <get,> <file>"),
    *("file <list,> [path]", "file <status,>", "host", "log file [file]", "log filter [filter]"),
    *("log level [debug,info,warn,error,fatal]", "log ring [size]", "log stderr [true,false]"),
    *("log syslog remote <tcp,udp> <address>", "namespace", "ns add-hosts <hostname or range or all>"),
    "ns del-hosts <hostname or range or all>",
    *("ns hosts", "ns load", "ns load <cpucommit,>", "ns run (command)", "nuke", "quit [delay]"),
    *("pipe <pipe> <log,> [true,false]", "pipe <pipe> <via,> [command]...", "plumb <src> <dst>..."),
    *("read <file> [check,]", "shell <command>...", "viz <filename>", "write <file>"),
    *("vm config migrate [value]", "vm config disk [value]...", "vm config cdrom [value]"),
    *("vm config kernel [value]", "vm config initrd [value]", "vm config qemu [value]"),
    *("vm config qemu-append [value]...", "vm config qemu-override", "vm config filesystem [value]"),
    *("vm config preinit [value]", "vm config volume [key]", "vm config seccomp [true,false]"),
    "vm config coschedule [value]",
    "vm config snapshot [true,false]",
    "bridge",
    "bridge <notrunk,> <bridge> <interface>",
    "bridge <trunk,> <bridge> <interface> [force,]",
    "clear dnsmasq <id or all> <ip,dns,options,upstream> [entry]",
    "clear qos <target> [index]",
    "clear tap <mirror,> <vm> <index or all>",
    "clear tap <mirror,> [dst tap]",
    "clear vlans [prefix]",
    "dnsmasq",
    "dnsmasq <configure,> <id or all> <dns,>",
    "dnsmasq <configure,> <id or all> <dns,> <upstream,>",
    "dnsmasq <configure,> <id or all> <ip,>",
    "dnsmasq <configure,> <id or all> <ip,> <mac> <address>",
    "dnsmasq <configure,> <id or all> <options,>",
    "dnsmasq <kill,> <id or all>",
    "dnsmasq <start,> <listen address> <low dhcp range> <high dhcp range> [config]",
    "qos <add,> <target> <interface> <rate,> <bw> <kbit,mbit,gbit>",
    "tap",
    "tap <create,> <vlan>",
    "tap <delete,> <tap or all>",
    "tap <mirror,>",
    "tap <mirror,> <src tap> <dst tap> [bridge]",
    "tap <mirror,> <vm> <index> <vm2> <index2>",
    "vlans",
    "vlans <add,> <alias> <vlan>",
    "vlans <blacklist,> [vlan]",
    "vlans <range,>",
    "vm net <add,> <target> [netspec]...",
    "vm net <connect,> <target> <position> <vlan> [bridge]",
    "vm net <disconnect,> <target> <position>",
}
"""First patterns of what is refused. A new command lands here, unless it acts in its namespace alone."""


def test_every_command_is_on_one_of_both_lists() -> None:
    assert {command.patterns[0] for command in COMMANDS if not is_allowed(command)} == REFUSED


def test_what_is_allowed_exists() -> None:
    assert {pattern for command in COMMANDS for pattern in command.patterns} >= PATTERNS


LINES = (
    *(".annotate", ".compress", ".csv", ".headers", ".json", ".sort"),
    *(".record true echo a", ".columns name vm info", ".filter name=web vm info", "echo a", "help vm info", "history"),
    *("clear history", "version", "ns queueing true", "ns queue", "ns flush", "ns schedule", "ns schedule dry-run"),
    *("ns schedule dump", "ns schedule mv a n1", "ns schedules", "pipe", "pipe p hello", "pipe p mode random"),
    *("pipe p overflow drop", "clear pipe p", "plumb", "clear plumb", "cc", "cc clients", "cc commands", "cc prefix x"),
    *("cc filter os=linux", "cc process list all", "cc process kill 7", "cc process killall x", "cc delete command 1"),
    *("cc delete response 1", "cc exec id", "cc exec-once id", "cc background id", "cc background-once id"),
    *("cc recv /etc/hosts", "cc responses all", "cc exitcode 1 web", "cc outcomes 1", "cc wait 1 1s", "cc signal 1"),
    *("cc log level debug", "cc test-conn tcp 10.0.0.1 22 wait 10s"),
    *("vm info", "vm top 1", "vm start web", "vm stop web", "vm kill web", "vm flush", "vm launch", "vm tag web"),
    *("vm launch container web[1-2]", "vm tag web k v", "clear vm tag", "vm config", "vm config save a"),
    *("vm config restore a", "vm config clone web", "clear vm config"),
    *(f"vm config {param.name}" for param in PARAMS if not reaches_host(param)),
    *(f"clear vm config {param.name}" for param in PARAMS),
)
"""One for each command that is allowed, and for some both of its forms."""


def bench(*, namespace: str = "exp1", confined: tuple[str, ...] | None = ("exp1", "exp2")) -> EngineBench:
    """A session with the limits of a key."""
    found = EngineBench(
        {
            SetConfig: Ack(),
            LaunchQueue: VmReport(),
            GetPipes: PipeList(pipes=()),
            WritePipe: PipeWritten(number=1),
            PostCommand: CommandPosted(id=1),
        }
    )
    found.session.namespace = namespace
    found.session.confined = confined
    return found


@pytest.mark.parametrize(
    "line",
    [
        "vm info",
        ".json true vm info",
        ".columns name,state .filter name=web vm info",
        "vm config memory 64",
        "vm config net LAN DMZ,00:16:3e:00:00:01 exp1//LAN,virtio-net-pci mega_bridge,LAN disconnected",
        "vm launch",
        "pipe",
        "pipe foo hello",
        "pipe exp2//foo hello",
        "cc exec id",
    ],
)
async def test_what_acts_in_its_namespaces_runs(line: str) -> None:
    found = bench()
    assert await found.error(line) == ""
    assert {asked.namespace for asked in found.bus.asked} <= {"exp1", "exp2"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("shell id", "shell <command>..."),
        (".json true shell id", "shell <command>..."),
        (".annotate false .columns name namespace exp9 vm info", "namespace"),
        ("namespace exp1 shell id", "namespace"),
        ("quit", "quit [delay]"),
        ("nuke", "nuke"),
        ("clear all", "clear all"),
        ("read /etc/passwd", "read <file> [check,]"),
        (".env", ".env [name]"),
        ("cc send /etc/shadow", "cc <send,> <file>..."),
        ("vm config filesystem /", "vm config filesystem [value]"),
        ("vm config volume /host /", "vm config volume [key]"),
        ("vm config volumes /host /", "vm config volume [key]"),
        ("vm config snapshot false", "vm config snapshot [true,false]"),
        ("vm config preinit /bin/sh", "vm config preinit [value]"),
        ("plumb 'sh -c id' foo", "plumb <src> <dst>..."),
        ("pipe foo via sh -c id", "pipe <pipe> <via,> [command]..."),
        ("ns run shell id", "ns run (command)"),
    ],
)
async def test_what_reaches_beyond_is_refused_and_nobody_is_asked(line: str, what: str) -> None:
    found = bench()
    assert await found.error(line) == f"this key is limited to namespaces, and `{what}` reaches beyond them"
    assert found.bus.asked == []


@pytest.mark.parametrize(
    ("netspecs", "why"),
    [
        ("LAN 100", "the VLAN 100 may be anybody's, while one with a name is this namespace's"),
        ("100,00:16:3e:00:00:01", "the VLAN 100 may be anybody's"),
        ("exp2//LAN", "the VLAN `exp2//LAN` is another namespace's"),
        ("br1,LAN", "the bridge `br1` is the host's"),
        ("br1,LAN,e1000", "the bridge `br1` is the host's"),
    ],
)
async def test_of_networks_the_vlans_of_a_namespace_are_free_by_name(netspecs: str, why: str) -> None:
    found = bench()
    sentence = await found.error(f"vm config net {netspecs}")
    assert sentence.startswith(why)
    assert sentence.endswith(", and this key is limited to namespaces")
    assert found.bus.asked == []


@pytest.mark.parametrize("line", ["pipe exp9//foo hello", "clear pipe exp9//foo", "pipe exp9//foo mode all"])
async def test_a_pipe_of_another_namespace_is_refused(line: str) -> None:
    found = bench()
    assert await found.error(line) == "this key may not act in namespace exp9: it is limited to exp1, exp2"
    assert found.bus.asked == []


async def test_a_session_in_a_namespace_that_is_not_its_own_runs_nothing() -> None:
    found = bench(namespace="exp9")
    assert "may not act in namespace exp9" in await found.error("vm info")
    assert found.bus.asked == []


async def test_no_namespace_at_all_is_not_every_namespace() -> None:
    assert "may not act in namespace exp1" in await bench(confined=()).error("vm info")


async def test_variables_and_files_of_the_host_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    assert await bench().text("echo $SECRET file:x") == "$SECRET file:x"
    assert await bench(confined=None).text("echo $SECRET") == "hunter2"


@pytest.mark.parametrize("line", LINES)
async def test_what_a_line_asks_is_what_the_key_might_have_asked_itself(line: str) -> None:
    found = bench()
    await found.run(line)
    key = Key(name="k", public="0" * 40, role=Role.CONTROL, namespaces=("exp1", "exp2"))
    for asked in found.bus.asked:
        admit(key, asked.request, asked.namespace)


def test_each_allowed_command_has_such_a_line() -> None:
    found = bench()
    matches = [found.engine.compile(line, found.session) for line in LINES]
    owners = {match.owner for match in matches if match is not None}
    assert owners == set(filter(is_allowed, COMMANDS))
