"""A report as people and programs get it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shims.doctor import capacity, kernel, report, rights
from shims.doctor.capacity import Guest
from shims.doctor.examine import Report
from shims.doctor.feature import Feature, Section, State, lacking
from tests.unit.shims.doctor.facts import FIGURES, KERNEL, RIGHTS


def of(*features: Feature, descriptors: int = 1 << 20, guest: Guest | None = None) -> Report:
    """A report of these features."""
    room = capacity.capacity(replace(FIGURES, descriptors=descriptors), guest or Guest())
    return Report(host="h1", kernel="6.1", user=0, ready=not lacking(features), features=features, capacity=room)


SOUND = (*kernel.judge(KERNEL), *rights.judge(RIGHTS))


def test_what_is_missing_says_what_it_costs_and_what_helps() -> None:
    features = kernel.judge(replace(KERNEL, terminals=False, filters=False))
    text = report.text(of(*features), colours=False)
    lines = text.splitlines()
    where = lines.index("  missing  seccomp")
    assert lines[where + 1].startswith("             no keeping containers from regaining capabilities")
    assert lines[where + 2] == "             - boot a kernel with CONFIG_SECCOMP_FILTER"
    assert "  ok       Linux 5.9        6.1.0-13-amd64\n" in text
    assert "             $ mkdir -p /dev/pts &&" in text
    assert text.endswith("This host cannot run containers: it lacks pseudo-terminals.\n")
    assert "\033" not in text


def test_colours_change_nothing_but_colours() -> None:
    made = of(*SOUND, *kernel.judge(replace(KERNEL, filters=False)))
    coloured = report.text(made, colours=True)
    assert "\033[32mok      \033[0m" in coloured
    plain = coloured
    for code in ("\033[32m", "\033[33m", "\033[31m", "\033[36m", "\033[0m"):
        plain = plain.replace(code, "")
    assert plain == report.text(made, colours=False)


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_terminal_sentences_are_wrapped_and_commands_are_not(columns: int) -> None:
    made = of(*kernel.judge(replace(KERNEL, terminals=False, filters=False)))
    wide, narrow = (report.text(made, colours=False, columns=each).splitlines() for each in (0, columns))
    start = narrow.index("  missing  seccomp") + 1
    sentence = narrow[start : next(n for n in range(start, len(narrow)) if narrow[n].startswith(" " * 13 + "- "))]
    assert max(map(len, sentence)) <= columns < len(wide[wide.index("  missing  seccomp") + 1])
    assert " ".join(map(str.strip, sentence)) == wide[wide.index("  missing  seccomp") + 1].strip()
    assert [line for line in narrow if "$ mkdir" in line] == [line for line in wide if "$ mkdir" in line] != []


def test_what_is_no_base_directory_is_said_to_be_none() -> None:
    feature = Feature(section=Section.BASE, name="/etc/passwd", state=State.MISSING, required=True)
    assert "it lacks a usable base directory, which /etc/passwd is not.\n" in report.text(of(feature), colours=False)


@pytest.mark.parametrize(
    ("made", "end"),
    [
        (of(*rights.judge(replace(RIGHTS, user=5))), "root can run them on this host."),
        (of(*SOUND), "This host can run containers.\nAbout 65,535 of them fit; what runs out first: memory cgroups.\n"),
        (
            of(*SOUND, descriptors=464),
            "About 100 of them fit; what runs out first: open files of the process container.\n"
            "For 1,000: ulimit -n 8192\n",
        ),
    ],
)
def test_the_end_says_what_it_comes_to(made: Report, end: str) -> None:
    assert end in report.text(made, colours=False)


def test_what_was_assumed_of_guests_is_said() -> None:
    text = report.text(of(*SOUND, guest=Guest(memory_mib=2048, interfaces=1)), colours=False)
    assert "guests that fit (containers, using 2,048 MiB, each with 1 interface and 1 process)\n" in text
    assert all(len(line) <= 140 for line in text.splitlines())
