"""The table of handlers is made, and checked, when an actor class is made."""

from __future__ import annotations

import pytest

from bus.actor.base import Actor, RequestContext, query
from bus.messages.base import Ack
from bus.messages.control import Found, Lookup, Ping
from bus.messages.vm import GetVmNames, VmNames


def test_a_handler_is_found_by_the_request_it_takes() -> None:
    class Good(Actor):
        """Answers one request."""

        kind = "good"

        @query
        async def names(self, msg: GetVmNames, request: RequestContext) -> VmNames:
            """None."""
            return VmNames(uuids={})

        async def not_a_handler(self, msg: Lookup, request: RequestContext) -> Found:
            """Has no mark."""
            return Found(present=False)

    assert Good.handlers == {GetVmNames: Good.names}


def test_a_handler_that_returns_something_else_than_its_request_promises_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Bad\.lookup returns .*Ack.*, but Lookup promises Found"):

        class Bad(Actor):
            """Promises one thing and declares another."""

            kind = "bad"

            @query
            async def lookup(self, msg: Lookup, request: RequestContext) -> Ack:
                """Wrong."""
                return Ack()


def test_handlers_are_inherited_and_do_not_leak_to_the_parent() -> None:
    class Parent(Actor):
        """Has none of its own."""

        kind = "parent"

    class Child(Parent):
        """Has one."""

        kind = "child"

        @query
        async def ping(self, msg: Ping, request: RequestContext) -> Ack:
            """Done."""
            return Ack()

    class Grandchild(Child):
        """Has what its parent has."""

        kind = "grandchild"

    assert (Parent.handlers, set(Child.handlers), set(Grandchild.handlers)) == ({}, {Ping}, {Ping})
