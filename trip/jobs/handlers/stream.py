"""Work that tells its steps from a thread, as a generator: what a job iterates over, here or in the process that a GPU is lent to."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any


def streamed(work: Callable[[Callable[[Any], None]], Any], ticket: str) -> Iterator[Any]:
    """What `work` tells, one after the other, and what it returns last. What it raises is raised here.

    work    called with a function that takes what is told
    ticket  path of a file that `work` looks for in each step, to end once it is gone: removed where nobody iterates any more.
            A file, since on some hosts this runs in another process than the page
    """
    news = queue.SimpleQueue()
    future = compute_thread().submit(work, news.put)
    future.add_done_callback(lambda _: news.put(None))
    try:
        while (told := news.get()) is not None:
            yield told
        yield future.result()
    finally:
        Path(ticket).unlink(missing_ok=True)
        wait([future])  # the models are free for the next job only then


@cache
def compute_thread() -> ThreadPoolExecutor:
    """The one thread that computes: a new one for every job would prepare all of oneDNN's kernels again."""
    return ThreadPoolExecutor(1, thread_name_prefix="compute")
