"""A bar over an extraction's queries, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm


@contextmanager
def query_bar(budget: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Shows how much of the budget is spent; the function given is called with the queries asked so far.

    Log lines meanwhile appear above the bar. With `shown` false nothing is written.
    """
    if not shown:
        yield lambda queries: None
        return
    with logging_redirect_tqdm(), tqdm(total=budget, unit=" queries", desc="extraction", leave=False) as bar:
        yield lambda queries: bar.update(queries - bar.n)
