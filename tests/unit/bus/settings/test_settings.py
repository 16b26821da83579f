"""Settings: which of several places counts, what is unsound, what the processes of a node are told."""

from __future__ import annotations

import pytest

from bus.errors import InvalidError
from bus.logs.log_settings import from_environment
from bus.settings import settings
from bus.settings.settings import SETTINGS, Kind

FILE = "/etc/minibus/minibus.toml"


@pytest.mark.parametrize(
    ("flags", "environment", "filed", "value", "source"),
    [
        ({}, {}, {}, "info", "default"),
        ({}, {}, {"log.level": "warn"}, "warn", FILE),
        ({}, {"MINIBUS_LOG_LEVEL": "error"}, {"log.level": "warn"}, "error", "MINIBUS_LOG_LEVEL"),
        ({"level": "debug"}, {"MINIBUS_LOG_LEVEL": "error"}, {"log.level": "warn"}, "debug", "--level"),
        ({"level": ""}, {"MINIBUS_LOG_LEVEL": ""}, {"log.level": ""}, "info", "default"),
    ],
)
def test_which_place_counts(
    flags: dict[str, str], environment: dict[str, str], filed: dict[str, str], value: str, source: str
) -> None:
    held = settings.resolve(flags, environment, filed, FILE)
    assert settings.value_of(held, "log.level") == value
    assert next(one.source for one in held if one.setting.name == "log.level") == source


def test_flags_that_minimega_calls_otherwise() -> None:
    held = {one.setting.name: one for one in settings.resolve({"vlanrange": "7-9", "verbose": "false"}, {})}
    assert (held["vlans.range"].value, held["vlans.range"].source) == ("7-9", "--vlan-range")
    assert held["log.stderr"].value == "false"
    assert settings.value_of(settings.resolve({"vlanrange": "", "": "x"}, {}), "vlans.range") == "101-4096"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_is_declared_whole(setting: settings.Setting) -> None:
    assert setting.help.endswith(".")
    assert settings.sound(setting, setting.default or "false", "x") if setting.kind is Kind.SWITCH else True
    assert (setting.kind is Kind.SWITCH) == (setting.default in ("true", "false"))
    assert [one.name for one in SETTINGS if one.flag == setting.flag] == [setting.name]
    assert setting.name == "host.tune" or setting.variable.startswith("MINIBUS_")


@pytest.mark.parametrize(
    ("flags", "environment", "sentence"),
    [
        ({"level": "loud"}, {}, "--level: unknown log level `loud`"),
        ({}, {"MINIBUS_LOG_FORMAT": "xml"}, "MINIBUS_LOG_FORMAT: unknown log format `xml`: expected json or text"),
        ({}, {"MINIBUS_DURABLE": "maybe"}, "MINIBUS_DURABLE is `maybe`: expected true or false"),
        ({"console-address": "here"}, {}, "--console-address: `here` is neither an IP address nor `none`"),
        ({"metrics": "x"}, {}, "--metrics: metrics cannot be served on `x`"),
        ({"listen": "tcp://host:1"}, {}, "--listen: minibus cannot listen on `tcp://host:1`"),
        ({"filepath": "a\0b"}, {}, "--filepath cannot hold a zero byte"),
    ],
)
def test_what_is_unsound_is_said_with_its_place(
    flags: dict[str, str], environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        settings.resolve(flags, environment)
    assert str(caught.value).startswith(sentence)


def test_what_processes_are_told() -> None:
    environment = {"MINIBUS_LOG_LEVEL": "error", "PATH": "/bin"}
    flags = {"verbose": "false", "durable": "true", "tune-host": "true", "base": "/b"}
    filed = {"host.files": "/srv/images", "log.format": "text", "log.level": "warn"}
    settings.export(settings.resolve(flags, environment, filed, FILE), environment)
    assert environment == {
        **{"PATH": "/bin", "MINIBUS_LOG_LEVEL": "error", "MINIBUS_LOG_FORMAT": "text"},
        **{"MINIBUS_LOG_STDERR": "0", "MINIBUS_DURABLE": "1", "MINIBUS_FILES": "/srv/images"},
    }
    logs = from_environment(environment)
    assert (logs.level, logs.stderr, logs.format) == ("error", False, "text")
