"""Which ends of pipes there are, and whose."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from actors.cc.protocol import frames
from actors.cc.sessions.guest_pipes import Ends


def session_of(number: int, agent: str = "a") -> Any:
    """Of one guest, which keeps what it is sent."""
    sent: list[Any] = []
    return SimpleNamespace(key=("exp1", f"uuid{number}"), agent=agent, send=sent.append, sent=sent, has_room=True)


def ends() -> Ends:
    """None; work beside the loop is not begun."""
    server: Any = SimpleNamespace(port=None, spawn=lambda work, name: work.close())
    return Ends(server)


async def test_the_ends_of_a_guest_are_found_among_those_of_all() -> None:
    found, sessions = ends(), [session_of(number) for number in range(50)]
    for session in sessions:
        for channel in (1, 2):
            found.open(session, frames.OpenPipe(channel=channel, pipe="p", writes=channel == 1))
    mine = found.of(sessions[7])
    assert [end.where for end in mine] == [(sessions[7].key, "a", channel) for channel in (1, 2)]
    assert found.get(sessions[7], 2) is mine[1]
    assert found.open(sessions[7], frames.OpenPipe(channel=1, pipe="p", writes=True)) is mine[0]
    assert found.of(session_of(7, "another")) == []
    mine[0].finish("over")
    assert found.of(sessions[7]) == [mine[1]]
    assert not found.forget(mine[0])
    found.keep_only(sessions[7].key, "another")
    assert (found.of(sessions[7]), len(found.of(sessions[8]))) == ([], 2)
    for session in sessions:
        found.keep_only(session.key)
    assert (found._ends, found._of) == ({}, {})
    await asyncio.sleep(0)


async def test_asking_for_the_ends_of_a_guest_does_not_look_at_those_of_others() -> None:
    """It is asked with each frame: one guest took the server's time from a thousand others."""
    found, one = ends(), session_of(0)
    for number in range(300):
        found.open(session_of(number), frames.OpenPipe(channel=1, pipe="p"))

    class Unlooked(dict[Any, Any]):
        def values(self) -> Any:
            raise AssertionError("all ends were looked at")

    found._ends = Unlooked(found._ends)
    assert len(found.of(one)) == 1
