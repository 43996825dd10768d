"""Work on all cores of this process, in threads: NumPy and faiss let others run while they compute."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import faiss
from threadpoolctl import ThreadpoolController


def thread_count() -> int:
    """Threads that this process may use: as many as faiss does."""
    return faiss.omp_get_max_threads()


def in_threads(work: Callable[[int], Any], items: Iterable[int]) -> Iterator[Any]:
    """`work` of every item, in order. Products of one thread each have the same bits however many threads there are."""
    threads = thread_count()  # asked first: the limit on faiss's OpenBLAS is one on its other threads too
    with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, items)


@cache
def _libraries() -> ThreadpoolController:
    """Those of NumPy and faiss, looked up once: each look takes milliseconds."""
    return ThreadpoolController()
