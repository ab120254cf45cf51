"""Work on a list shared by processes; what comes back is the same for any number of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")
CHUNKS_EACH = 4
"""Chunks a process gets: texts differ in length, and the last one should not be waited for long."""


def spread(
    work: Callable[..., list[Made]],
    items: Sequence[Given],
    *,
    processes: int,
    before: tuple[Any, ...] = (),
    after: tuple[Any, ...] = (),
) -> list[Made]:
    """Return what `work(*before, items, *after)` returns, from pieces of `items` in their order.

    Args:
        work: a function of a module that gives one value an item, each by itself.
        items: what to work on.
        processes: how many share it; 1 works here.
        before: arguments in front of the items.
        after: arguments behind them.
    """
    if processes <= 1 or len(items) < 2:
        return work(*before, items, *after)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    size = -(-len(items) // (processes * CHUNKS_EACH))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    # spawn: a fork of a process with threads may hang
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(work, *before, chunk, *after) for chunk in chunks]
        return list(itertools.chain.from_iterable(future.result() for future in futures))
