"""Memory of processes is told as far as the kernel tells it in time."""

from __future__ import annotations

import asyncio
import os
import threading

from bus.broker.sizes import Sizes


async def test_of_this_process() -> None:
    found = await Sizes().of([os.getpid(), 1 << 30])
    assert found[os.getpid()] > 1
    assert found[1 << 30] == 0, "there is none"


async def test_a_kernel_that_does_not_answer_is_not_waited_for() -> None:
    answers, began = threading.Event(), threading.Semaphore(0)

    def look(pid: int) -> float:
        if pid == 2:
            began.release()
            answers.wait(30)
        return float(pid)

    sizes = Sizes(look, patience_s=0.05)
    try:
        assert await sizes.of([1, 2, 3]) == {1: 1.0}, "what it has said"
        assert await sizes.of([1]) == {}, "and nobody else gets stuck"
        assert began.acquire(timeout=10)
        assert not began.acquire(blocking=False)
    finally:
        answers.set()
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0.01)
            if found := await sizes.of([1, 3]):
                break
    assert found == {1: 1.0, 3: 3.0}
