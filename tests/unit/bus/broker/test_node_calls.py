"""What the broker answers for the node."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bus.broker.node_calls import _resolved, flags
from bus.errors import InvalidError
from bus.logs.log_settings import SyslogAddress
from bus.paths import context


def test_flags_with_their_defaults() -> None:
    found = flags(context(Path("/b")), {})
    wanted = {"base": "/b", "filepath": "/b/files", "level": "info", "logfile": "", "verbose": "true"}
    assert {name: found[name] for name in wanted} == wanted


def test_flags_as_given() -> None:
    variables = {"MINIBUS_LOG_LEVEL": "error", "MINIBUS_LOG_FILE": "/l", "MINIBUS_LOG_STDERR": "0"}
    found = flags(context(Path("/b")), variables)
    assert (found["level"], found["logfile"], found["v"]) == ("error", "/l", "false")
    with pytest.raises(InvalidError, match="MINIBUS_LOG_LEVEL"):
        flags(context(Path("/b")), {"MINIBUS_LOG_LEVEL": "loud"})


async def test_names_of_syslog_servers_are_resolved() -> None:
    assert (await _resolved(SyslogAddress("udp", "localhost", 514))).host in ("127.0.0.1", "::1")


async def test_a_tcp_server_must_be_there() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = SyslogAddress("tcp", "127.0.0.1", server.getsockname()[1])
        with pytest.raises(ValueError, match=f"^syslog server {address}: connection refused$"):
            await _resolved(address)
        server.listen()
        assert await _resolved(address) == address


async def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match=r"^syslog server udp:no-such-host.invalid:514: \w"):
        await _resolved(SyslogAddress("udp", "no-such-host.invalid", 514))
    with pytest.raises(ValueError, match="is not a host name"):
        await _resolved(SyslogAddress("udp", "x" * 100 + ".example", 514))
