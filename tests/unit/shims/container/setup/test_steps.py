"""The set-up as data: what is done, in which order, with which names for descriptors."""

from __future__ import annotations

import ctypes
import marshal
import os
from dataclasses import replace
from errno import EBADF, ENOENT
from pathlib import Path
from typing import Any

import pytest

from shims.container.protocol import ContainerSpec, Volume
from shims.container.setup.action import Action
from shims.container.setup.build import GATE, REPORT, USER_NAMESPACE
from shims.container.setup.kernel_trees import FILL_DEV, PROTECT, show_fifos, show_uuid
from shims.container.setup.perform import C_FUNCTIONS, ActionError, c_functions, perform
from shims.container.setup.plan import Plan, Planner
from shims.container.setup.steps import before_exec, script_of, set_up
from shims.container.setup.tables import UUID_INSIDE
from shims.container.setup.user_limits import Limit
from shims.linux.capability import CapabilityDrop
from shims.linux.libc import LIBC_HOLDING_LOCK

ABOVE_UUID = ([b"/etc"], [b"/etc/minibus"])
CALLS = c_functions() | {"rmdir": LIBC_HOLDING_LOCK.rmdir}


def plan_of(tmp_path: Path, *, limits: tuple[Limit, ...] = (), **changes: Any) -> Plan:
    """A plan with one of everything, and changes."""
    values: dict[str, Any] = {
        "guest_id": 4,
        "tag": "ab2d",
        "instance_dir": "/b/4",
        "filesystem": "/fs",
        "hostname": "web",
        "uuid": "u",
        "fifos": 2,
        "preinit": "/pre",
        "volumes": (Volume(source=str(tmp_path), target="/v/w"),),
    }
    planner = Planner(CapabilityDrop(), "", limits)
    return planner.plan(
        ContainerSpec(**(values | changes)), console=b"/dev/pts/3", procs_files=("/c/procs",), warnings=()
    )


def steps_of(actions: list[Action]) -> list[str]:
    """The names of the steps, each once in a row."""
    names = [action.step for action in actions if action.step not in ("close", "root")]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def test_order(tmp_path: Path) -> None:
    actions = set_up(plan_of(tmp_path))
    names = steps_of(actions)
    for earlier, later in (
        ("hostname", "overlayMount"),
        ("device", "symlink"),
        ("symlink", "read-only path"),
        ("read-only path", "masked path"),
        ("masked path", "cgroup"),
        ("cgroup", "pivot_root"),
        ("pivot_root", "init"),
        ("init", "seccomp"),
        ("seccomp", "capabilities"),
    ):
        assert names.index(earlier) < names.index(later), (earlier, later)
    last_preinit = max(index for index, action in enumerate(actions) if action.step == "containerPreinit")
    first = {name: next(i for i, action in enumerate(actions) if action.step == name) for name in names}
    volumes = [index for index, action in enumerate(actions) if action.step == "volume"]
    assert volumes[-1] < last_preinit < first["read-only path"]  # preinit may still write below /proc/sys
    assert last_preinit < first["init"]  # and may make the init


def test_confinement_comes_last(tmp_path: Path) -> None:
    steps = steps_of(set_up(plan_of(tmp_path)))
    assert steps[-4:] == ["init", "user namespace", "seccomp", "capabilities"]
    assert steps_of(set_up(plan_of(tmp_path, seccomp=False)))[-2:] == ["init", "capabilities"]


def test_descriptors_are_named_before_they_are_used(tmp_path: Path) -> None:
    known = {REPORT, GATE, USER_NAMESPACE}
    for action in set_up(plan_of(tmp_path, snapshot=False)):
        if action.keep_as >= 0:
            known.add(action.keep_as)
        if action.call in ("fchdir", "close", "write", "ioctl"):
            assert action.arguments[0] in known, action
        if action.call == "syscall" and action.arguments[2:3] == (b"",):
            assert action.arguments[1] in known, action


def test_nothing_that_was_not_asked_for(tmp_path: Path) -> None:
    names = steps_of(set_up(plan_of(tmp_path, fifos=0, preinit="", volumes=(), snapshot=False)))
    assert not {"fifo", "containerPreinit", "volume", "overlayMount"} & set(names)
    assert any(action.call == "check_init" for action in set_up(plan_of(tmp_path)))


def test_nobody_else_can_change_what_a_path_of_the_kernel_s_trees_means(tmp_path: Path) -> None:
    """Once they are mounted, nothing is reached through the root, where others may write."""
    shown = show_uuid(replace(plan_of(tmp_path), has_dmi=True))
    for action in [*FILL_DEV, *PROTECT, *shown, *show_fifos(plan_of(tmp_path), 20)]:
        paths = [text for text in action.arguments if isinstance(text, bytes) and text.startswith(b"/")]
        allowed = action.call == "symlink" or (action.step == "uuid" and paths[:1] in ([UUID_INSIDE], *ABOVE_UUID))
        assert not paths or allowed, action


def test_the_uuid_is_written_to_no_directory_of_the_user(tmp_path: Path) -> None:
    for snapshot in (True, False):
        actions = set_up(plan_of(tmp_path, snapshot=snapshot))
        opened = [action.path for action in actions if action.call == "open" and action.step == "uuid"]
        assert opened == [b"/b/4/uuid", b"/dev/.uuid"]
        named = [action.arguments[0] for action in actions if action.call == "open" and action.step == "uuid"]
        assert named == [b"/b/4/uuid", b".uuid"]  # relative to the new /dev, whatever stands at that path meanwhile
        assert any(action.call == "unlink" and action.path == b"/dev/.uuid" for action in actions)


def test_the_script_is_plain_data(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    parts, ending, init, warnings = marshal.loads(script_of(plan))
    actions = tuple(action for part in parts for action in marshal.loads(part))
    assert [Action(*action) for action in actions] == set_up(plan)
    assert [Action(*action) for action in ending] == before_exec(plan)
    assert (init, warnings) == (plan.init, plan.warnings)
    known = {*C_FUNCTIONS, "check_init", "run_preinit", "install_filter", "enter_user_namespace"}
    assert {action[1] for action in actions + ending} <= known


def test_before_exec(tmp_path: Path) -> None:
    assert all(action.call != "prlimit" for action in before_exec(plan_of(tmp_path)))
    assert before_exec(plan_of(tmp_path, limits=((7, 1024, 4096),)))[-1].call == "prlimit"


class TestPerform:
    """Carrying actions out, with calls of the C library that harm nobody."""

    def test_result_and_order(self, tmp_path: Path) -> None:
        made = os.fsencode(tmp_path / "d")
        assert perform([Action("one", "mkdir", (made, 0o755)), Action("two", "rmdir", (made,))], CALLS) == []
        assert list(tmp_path.iterdir()) == []

    def test_failure_names_step_path_and_reason(self) -> None:
        with pytest.raises(ActionError, match=r"^mount: /no/such: No such file or directory$"):
            perform([Action("mount", "rmdir", (b"/no/such",), b"/no/such")], CALLS)

    def test_tolerated(self) -> None:
        assert perform([Action("x", "rmdir", (b"/no/such",), tolerated=(ENOENT,))], CALLS) == []

    def test_warning_skips_what_depends_on_it(self, tmp_path: Path) -> None:
        made = os.fsencode(tmp_path / "d")
        actions = [
            Action("x", "close", (-1,), warning="no x", skip=1),
            Action("x", "mkdir", (made, 0o755)),
            Action("y", "mkdir", (made + b"2", 0o755)),
        ]
        assert perform(actions, CALLS) == [f"no x: {os.strerror(EBADF)}"]
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d2"]

    def test_descriptor_gets_its_number(self) -> None:
        number = 200
        perform([Action("x", "open", (b"/dev/null", os.O_RDONLY), keep_as=number)], CALLS)
        try:
            assert Path(f"/proc/self/fd/{number}").readlink() == Path("/dev/null")
            assert not os.get_inheritable(number)
        finally:
            os.close(number)

    def test_errno_is_of_the_call(self) -> None:
        ctypes.set_errno(0)
        with pytest.raises(ActionError, match="Bad file descriptor"):
            perform([Action("x", "close", (-1,))], CALLS)
