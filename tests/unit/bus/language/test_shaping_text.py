"""The column `qos`."""

from __future__ import annotations

import pytest

from bus.language.shaping_text import delay_text, is_shaped, qos_text, rate_text, shaping_text
from bus.messages.network import Shaping


@pytest.mark.parametrize(
    ("shaping", "text"),
    [
        (Shaping(), ""),
        (Shaping(rate_bps=10_000_000, rate_text="10mbit"), "rate 10mbit"),
        (Shaping(rate_bps=1_500_000), "rate 1500kbit"),
        (Shaping(delay_us=100_000, loss_percent=0.25), "loss 0.25 delay 100ms"),
        (
            Shaping(
                rate_bps=1000, rate_text="1kbit", delay_us=1_500_000, jitter_us=20, loss_percent=5, corrupt_percent=0.1
            ),
            "rate 1kbit loss 5 delay 1.5s jitter 20us corrupt 0.1",
        ),
    ],
)
def test_constraints_of_one_interface(shaping: Shaping, text: str) -> None:
    assert shaping_text(shaping) == text
    assert is_shaped(shaping) == bool(text)


@pytest.mark.parametrize(
    ("shapings", "text"),
    [
        ((), "[]"),
        ((Shaping(), Shaping()), "[]"),
        ((Shaping(delay_us=1000), Shaping(), Shaping(rate_bps=1000)), "[0: delay 1ms, 2: rate 1kbit]"),
    ],
)
def test_only_interfaces_with_constraints_are_shown(shapings: tuple[Shaping, ...], text: str) -> None:
    assert qos_text(shapings) == text


@pytest.mark.parametrize(
    ("delay_us", "text"),
    [
        (0, "0us"),
        (1, "1us"),
        (999, "999us"),
        (1000, "1ms"),
        (1050, "1.05ms"),
        (90_000_000, "90s"),
        (1_000_001, "1.000001s"),
    ],
)
def test_delays(delay_us: int, text: str) -> None:
    assert delay_text(delay_us) == text


@pytest.mark.parametrize(
    ("rate_bps", "text"),
    [(1, "1bit"), (1000, "1kbit"), (2_000_000, "2mbit"), (100_000_000_000, "100gbit"), (1_000_001, "1000001bit")],
)
def test_rates(rate_bps: int, text: str) -> None:
    assert rate_text(rate_bps) == text
