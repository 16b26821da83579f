from __future__ import annotations

import pytest

from bus.exit_status import describe_exit


@pytest.mark.parametrize(
    ("exit_status", "words"),
    [
        (0, "exit status 0"),
        (255, "exit status 255"),
        (-9, "signal: killed"),
        (-11, "signal: segmentation fault"),
        (-1, "signal: hangup"),
        (-1000, "signal: 1000"),
    ],
)
def test_in_the_words_that_users_know(exit_status: int, words: str) -> None:
    assert describe_exit(exit_status) == words
