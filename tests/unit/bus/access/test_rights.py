"""What a key may do: requests and topics."""

from __future__ import annotations

import inspect

import pytest

from bus import topics
from bus.access.keys import Key, Role
from bus.access.rights import NAMESPACED, OF_HOST, REACH, Reach, admit, namespace_of, narrow, requests_of, visible
from bus.errors import DeniedError
from bus.language.vm_config import PARAMS, reaches_host
from bus.messages import cc, cli, control, debug, files, gateway, guest, host, namespace, pipe, pipeline, vm
from bus.messages.base import Message, Query
from bus.messages.debug import Inspection
from bus.messages.vm import VmConfig

PUBLIC = "x" * 40
CONTROL = Key(name="boss", public=PUBLIC, role=Role.CONTROL)
LIMITED = Key(name="lim", public=PUBLIC, role=Role.CONTROL, namespaces=("exp1", "exp2"))
TAP = Key(name="eye", public=PUBLIC, role=Role.TAP)
NARROW = Key(name="slit", public=PUBLIC, role=Role.TAP, topics=("vm/exp1/", "pipe/exp1/foo/", "log/"))
LIMITED_TAP = Key(name="hole", public=PUBLIC, role=Role.TAP, namespaces=("exp1",))
KEYS = (CONTROL, LIMITED, TAP, NARROW, LIMITED_TAP)


def allowed(key: Key, request: Message, where: str = "exp1") -> bool:
    """Whether it may."""
    try:
        admit(key, request, where)
    except DeniedError as error:
        assert str(error).count("\n") == 0
        return False
    return True


def test_every_request_has_its_place() -> None:
    assert requests_of() == set(REACH)


def test_questions_about_a_process_are_those_of_the_base_class() -> None:
    about = {klass for klass, reach in REACH.items() if reach is Reach.PROCESS}
    assert about == requests_of(Inspection) | {control.GetStatus}


def test_whatever_only_actors_say_is_refused_to_all() -> None:
    for key in KEYS:
        assert not allowed(key, control.Hello(actor="vm", epoch="e", pid=1))
        assert not allowed(key, control.Goodbye())
        assert not allowed(key, guest.ListGuests())
        assert not allowed(key, control.Welcome(host="h", epoch="e"))  # no request at all
    assert REACH[guest.ReportExits] is REACH[guest.ReportConsoles] is Reach.INTERNAL


@pytest.mark.parametrize(
    ("request_", "who"),
    [
        (control.Ping(), {"boss", "lim", "eye", "slit", "hole"}),
        (gateway.GetRights(), {"boss", "lim", "eye", "slit", "hole"}),
        (vm.GetVms(), {"boss", "lim"}),
        (vm.KillVms(target="all"), {"boss", "lim"}),
        (namespace.DestroyNamespace(), {"boss"}),
        (namespace.GetNamespaces(), {"boss"}),
        (host.RunProgram(argv=("id",)), {"boss"}),
        (files.DeleteFiles(pattern="/"), {"boss"}),
        (control.Nuke(), {"boss"}),
        (control.GetTopics(), {"boss"}),
        (debug.GetStacks(), {"boss"}),
        (pipeline.StartPipeline(elements=(pipeline.Element(text="id"),)), {"boss"}),
        (pipeline.GetPipelines(), {"boss", "lim"}),
        (pipe.WritePipe(pipe="foo", data=b"x\n"), {"boss", "lim"}),
        (pipe.ReadPipe(pipe="foo", reader="r"), {"boss", "lim", "eye", "slit", "hole"}),
        (pipe.ReadPipe(pipe="bar", reader="r"), {"boss", "lim", "eye", "hole"}),
        (pipe.SetPipe(pipe="foo", overflow=pipe.Overflow.DROP), {"boss", "lim"}),
        (pipe.SetPipe(pipe="foo", via=("id",)), {"boss"}),
        (pipe.SetPipe(pipe="foo", log=True), {"boss"}),
        (cc.PostCommand(command=cc.CommandSpec(kind=cc.CommandKind.EXEC, argv=("id",))), {"boss", "lim"}),
        (cc.PostCommand(command=cc.CommandSpec(kind=cc.CommandKind.SEND, files=("*",))), {"boss"}),
        (cli.RunLine(line="vm info"), {"boss", "lim"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
def test_who_may_what_in_a_namespace_of_theirs(request_: Message, who: set[str]) -> None:
    assert {key.name for key in KEYS if allowed(key, request_)} == who


def test_nothing_but_a_greeting_in_a_namespace_that_is_not_theirs() -> None:
    for klass in (vm.GetVms, namespace.GetDraft, pipe.GetPipes, control.Ping):
        assert allowed(CONTROL, klass(), "other")
        assert allowed(LIMITED, klass(), "other") == (klass is control.Ping)
    assert not allowed(LIMITED, cli.RunLine(line="vm info"), "other")
    assert not allowed(LIMITED_TAP, pipe.ReadPipe(pipe="foo", reader="r"), "exp2")
    assert not allowed(NARROW, pipe.ReadPipe(pipe="foo", reader="r"), "exp2")


def test_a_limited_key_sets_no_parameter_that_reaches_for_the_host() -> None:
    for param in PARAMS:
        for name in param.names:
            request = namespace.SetConfig(param=name, words=("x",))
            assert allowed(LIMITED, request) != reaches_host(param)
            assert allowed(CONTROL, request)
    assert allowed(LIMITED, namespace.SetConfig(param="nonsense", words=("x",)))  # its owner says that there is none


def test_a_limited_key_cannot_make_guests_write_to_what_they_were_given() -> None:
    for param in ("snapshot", "filesystem", "volume", "seccomp"):
        assert not allowed(LIMITED, namespace.SetConfig(param=param, words=("false",)))
        assert allowed(LIMITED, namespace.ClearConfig(param=param))
    assert VmConfig().snapshot
    assert VmConfig().seccomp


def test_a_limited_key_cannot_keep_the_host_for_its_own_vms() -> None:
    """No VM is launched beside one that wants few others, in whatever namespace."""
    assert not allowed(LIMITED, namespace.SetConfig(param="coschedule", words=("0",)))
    assert allowed(CONTROL, namespace.SetConfig(param="coschedule", words=("0",)))


def test_a_limited_key_has_the_vlans_of_its_namespaces_by_name() -> None:
    for param in ("net", "networks"):
        for words, may in (
            (("LAN", "exp1//DMZ", "disconnected", "mega_bridge,LAN,00:16:3e:00:00:01"), True),
            (("LAN", "101"), False),
            (("0101",), False),
            (("exp2//LAN",), False),
            (("br0,LAN",), False),
            (("no,such,netspec,at,all",), True),  # its owner says that there is none
        ):
            assert allowed(LIMITED, namespace.SetConfig(param=param, words=words)) == may, words
            assert allowed(CONTROL, namespace.SetConfig(param=param, words=words))


def test_a_command_line_of_a_limited_key_is_confined_whatever_it_claims() -> None:
    claimed = cli.RunLine(line="shell id", confined=("exp9",))
    for request in (claimed, cli.RunLine(line="shell id")):
        assert admit(LIMITED, request, "exp1") == cli.RunLine(line="shell id", confined=("exp1", "exp2"))
    assert admit(CONTROL, claimed, "exp1") == claimed


def test_a_tap_reads_under_a_name_that_is_its_own() -> None:
    asked = pipe.ReadPipe(pipe="foo", reader="mine", done=3, after=4)
    first, again = (admit(TAP, asked, "exp1") for _ in range(2))
    assert first == again
    assert isinstance(first, pipe.ReadPipe)
    assert first.reader != "mine"
    assert (first.done, first.after, first.pipe) == (3, 4, "foo")
    other = admit(LIMITED_TAP, asked, "exp1")
    assert isinstance(other, pipe.ReadPipe)
    assert other.reader != first.reader
    left = admit(TAP, pipe.LeavePipe(pipe="foo", reader="mine", writer="somebody"), "exp1")
    assert left == pipe.LeavePipe(pipe="foo", reader=first.reader)
    assert admit(CONTROL, asked, "exp1") is asked


# --- topics


def test_each_kind_of_topic_is_about_its_namespace_or_about_the_host() -> None:
    makers = {name: maker for name, maker in inspect.getmembers(topics, inspect.isfunction) if name.endswith("_topic")}
    assert len(makers) > 10
    for name, maker in makers.items():
        words = {"job_id": 7}
        parameters = inspect.signature(maker).parameters
        arguments = [
            words.get(one, f"{one}1") for one, found in parameters.items() if found.kind is not found.VAR_POSITIONAL
        ]
        expected = "namespace1" if "namespace" in parameters else None
        made = maker(*arguments)
        assert namespace_of(made) == expected, name
        assert made.partition("/")[0] in (*NAMESPACED, *OF_HOST, "sync"), name


@pytest.mark.parametrize(
    "text", ["", "vm", "vm/", "vm/exp1", "log/host/", "stats/", "sync/x/", "vmx/exp1/", "new/exp1/"]
)
def test_what_is_not_surely_a_namespaces_is_the_hosts(text: str) -> None:
    assert namespace_of(text) is None or text == "vm/exp1/"


def test_what_keys_see() -> None:
    assert visible(CONTROL) == visible(TAP) == ("",)
    assert visible(NARROW) == ("log/", "pipe/exp1/foo/", "vm/exp1/")
    assert set(visible(LIMITED_TAP)) == {f"{first}/exp1/" for first in NAMESPACED}
    both = Key(name="b", public=PUBLIC, role=Role.TAP, namespaces=("exp1",), topics=("vm/", "vm/exp2/", "log/"))
    assert visible(both) == ("vm/exp1/",)
    nested = Key(name="n", public=PUBLIC, role=Role.TAP, topics=("vm/exp1/a/", "vm/", "vm/exp1/"))
    assert visible(nested) == ("vm/",)
    nothing = Key(name="o", public=PUBLIC, role=Role.TAP, namespaces=("exp1",), topics=("stats/",))
    assert visible(nothing) == narrow("", nothing) == ()


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("", ("log/", "pipe/exp1/foo/", "vm/exp1/")),
        ("vm/", ("vm/exp1/",)),
        ("vm/exp1/", ("vm/exp1/",)),
        ("vm/exp1/web/st", ("vm/exp1/web/st",)),
        ("vm/exp10/", ()),
        ("vm/exp1", ("vm/exp1/",)),
        ("pipe/exp1/", ("pipe/exp1/foo/",)),
        ("pipe/exp1/bar/", ()),
        ("stats/", ()),
        ("l", ("log/",)),
    ],
)
def test_a_subscription_is_narrowed_to_what_the_key_may_see(asked: str, got: tuple[str, ...]) -> None:
    assert narrow(asked, NARROW) == got
    assert narrow(asked, TAP) == (asked,)


def test_queries_are_not_let_through_for_being_queries() -> None:
    assert issubclass(control.Hello, Query)
    assert issubclass(pipe.WritePipe, Query)
    assert not allowed(TAP, pipe.WritePipe(pipe="foo", data=b"x\n"))


def test_what_a_key_sees_is_not_worked_out_for_each_subscription() -> None:
    """With hundreds of namespaces that took the gateway's time from everybody else."""
    many = tuple(f"exp{number}" for number in range(300))
    first, same = (Key(name="a", public="a" * 40, role=Role.TAP, namespaces=many) for _ in range(2))
    assert visible(first) is visible(same)
    assert narrow("vm/exp7/web/", first) == ("vm/exp7/web/",)
    assert narrow("vm/exp7/web/", Key(name="a", public="a" * 40, role=Role.TAP, namespaces=("exp1",))) == ()
