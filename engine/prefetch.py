"""Reading ahead: the next items are prepared by a thread while the current one is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")


def prefetch(function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """`map(function, items)` in order, up to `depth` results ahead; an error surfaces where its item would have come."""
    if depth == 0:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(max_workers=1, initializer=_stay_alone) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _stay_alone() -> None:
    """Keep this thread from a team of OpenMP threads of its own: with more of them than cores, the training thread's team would
    sleep at every barrier in place of spinning, and an LSTM step would take half as long again."""
    threadpool_limits(limits=1, user_api="openmp")
