"""`minibus restart`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.errors import NotFoundError
from bus.messages.control import ActorStatus
from cli.operations import restart


def test_the_node_is_another_matter(base_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restart.restart(base_dir, "node") == 1
    assert capsys.readouterr().err == (
        "minibus: the node is what starts the others: say `minibus down` and `minibus up`, and guests run on\n"
    )


def test_an_unknown_name_is_answered_with_those_that_can_be_restarted() -> None:
    rows = [ActorStatus(actor=name, pid=1, state="running") for name in ("node", "broker", "vm")]
    assert restart.found(rows, "vm") is rows[2]
    with pytest.raises(NotFoundError, match=r"there is no process `wm`; there are broker, vm$"):
        restart.found(rows, "wm")
