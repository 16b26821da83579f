"""The demo from its arguments to its exit status: options, signals, the parts, the clean-up, the closing words."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from bus.errors import BusError
from tools.demo_program import DemoError
from tools.demo_report import leftover_text, log_errors, plural, timing_table
from tools.demo_run import Demo, clean_up, run_steps
from tools.demo_screen import Screen
from tools.demo_steps import STEPS

MAX_GUESTS = 1000
EXIT_FAILED = 1
EXIT_SIGNAL = 128
"""Plus the number of the signal, as a shell says it."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Run the demo; returns 0 if every part worked and nothing was left behind."""
    options = parse(arguments)
    screen = Screen(sys.stdout, sys.stderr)
    if os.geteuid() != 0:
        screen.say("must be run as root: nobody else may make namespaces, mounts and cgroups")
        return EXIT_FAILED
    return asyncio.run(run(options.guests, options.base, screen))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; ends the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(prog="demo", description="Run containers on a host of their own, then clean up.")
    parser.add_argument("--guests", type=guest_count, default=100, metavar="N", help="how many containers (100)")
    parser.add_argument("--base", type=Path, metavar="DIR", help="base directory to make and remove (one in /tmp)")
    return parser.parse_args(arguments)


def guest_count(text: str) -> int:
    """A number of guests; raises ArgumentTypeError with a sentence."""
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= MAX_GUESTS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MAX_GUESTS}, not {text[:80]!r}")
    return int(text)


def make_base(wanted: Path | None) -> Path:
    """A new base directory, by default with a short path: a unix socket's has 107 bytes. Raises DemoError."""
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="mbd-", dir="/tmp"))
    try:
        wanted.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise DemoError(f"{wanted} is there already: the demo makes and removes its base directory itself") from None
    except OSError as error:
        raise DemoError(f"cannot make {wanted}: {error.strerror}") from None
    return wanted.resolve()


async def run(guests: int, wanted: Path | None, screen: Screen) -> int:
    """All parts, then the clean-up, whatever happens; Ctrl-C and SIGTERM end the parts, not the clean-up."""
    begin = time.perf_counter()
    signals: list[int] = []
    demos: list[Demo] = []
    async with asyncio.TaskGroup() as group:
        parts = group.create_task(_parts(guests, wanted, screen, demos), name="parts")

        def interrupt(number: int) -> None:
            signals.append(number)
            if len(signals) > 1:  # cancelled twice, it would not wait for the program that it has under way
                screen.say("still cleaning up")
                return
            screen.say("stopping and cleaning up")
            parts.cancel()

        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    failure = "" if parts.cancelled() else parts.result()
    if not demos:
        if failure:
            screen.say(failure)
        return _exit_status(failure, [], signals)
    return await _finish(demos[0], failure, signals, begin)


async def _parts(guests: int, wanted: Path | None, screen: Screen, demos: list[Demo]) -> str:
    """Make the base directory and run every part; returns the sentence of the one that failed, if one did."""
    try:
        demo = Demo(make_base(wanted), guests, screen)
        demos.append(demo)
        screen.show(f"minibus: {plural(guests, 'container')} on this machine, base directory {demo.base}\n")
        await run_steps(demo, STEPS)
    except (DemoError, BusError, OSError) as error:
        return str(error)
    except Exception as error:
        return f"internal error: {type(error).__name__}: {error}"  # cleaning up matters more than the trace
    return ""


async def _finish(demo: Demo, failure: str, signals: list[int], begin: float) -> int:
    screen = demo.screen
    if failure:
        screen.say(failure)
        for line in log_errors(demo.log_text()):
            screen.say(line)
    complaints = await clean_up(demo)
    screen.show(timing_table(demo.timings, time.perf_counter() - begin))
    screen.show(f"\nEvents on the bus: {demo.tally.sentence()}.\n{leftover_text(complaints)}")
    if complaints:
        screen.say(f"{demo.base} is kept, its log is {demo.log}")
    if signals:
        screen.say(f"ended early by {signal.Signals(signals[0]).name}")
    return _exit_status(failure or ("events were lost" if demo.tally.lost else ""), complaints, signals)


def _exit_status(failure: str, complaints: list[str], signals: list[int]) -> int:
    if failure or complaints:
        return EXIT_FAILED
    return EXIT_SIGNAL + signals[0] if signals else 0
