"""Preparing batches ahead of the loop, which changes no number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor

from .order import batches
from .task import Batch


def micro_batches(
    make: Callable[[list[int]], Batch],
    start: int,
    stop: int,
    *,
    batch: int,
    accumulate: int = 1,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
) -> Generator[list[Batch], None, None]:
    """The micro-batches of each optimizer step of this process.

    Args:
        make: Builds the batch of some sample indices; a pure function, called from several threads.
        start: First sample index.
        stop: One past the last; a last step that would not be full is left out.
        batch: Samples of one forward pass.
        accumulate: Forward passes per optimizer step.
        rank: This process.
        ranks: Number of processes.
        workers: Threads; 0 builds each batch when it is asked for.

    Yields:
        ``accumulate`` batches of ``batch`` samples.
    """
    plan = batches(start, stop, batch * accumulate, rank, ranks)
    cut = ([indices[at : at + batch] for at in range(0, len(indices), batch)] for indices in plan)
    if not workers:
        for parts in cut:
            yield [make(part) for part in parts]
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="earthgen-feed")
    waiting: deque[list[Future[Batch]]] = deque()
    try:
        for parts in cut:
            waiting.append([pool.submit(make, part) for part in parts])
            if len(waiting) > workers:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        # Whoever stops early does not wait for batches that nobody will see.
        pool.shutdown(cancel_futures=True)
