"""Which rows of a step's batch a process takes, in which micro-batches, and what each weighs in the batch's mean.

Any batch is shared by any number of processes: shares differ by one row at most, and a part counts by its rows. The sum
over all parts is then the mean over the whole batch, and so is its gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A micro-batch of one process.

    `index` numbers it among the parts of all processes. A mean over its `rows` divided by `divisor`, summed over the
    parts of a process and then averaged over processes, is the mean over the whole batch.
    """

    index: int
    rows: slice
    divisor: float


def parts(batch_size: int, *, process: int = 0, processes: int = 1, accumulate: int = 1) -> list[Part]:
    """The micro-batches of one process, at least one.

    A process without rows of its own computes the last row with weight 0: all processes must take part in the
    exchange of gradients.
    """
    first, count = _share(batch_size, process, processes)
    if not count:
        return [Part(process * accumulate, slice(batch_size - 1, batch_size), math.inf)]
    cut = []
    for number in range(min(accumulate, count)):
        start, rows = _share(count, number, min(accumulate, count))
        own = slice(first + start, first + start + rows)
        cut.append(Part(process * accumulate + number, own, batch_size / (rows * processes)))
    return cut


def largest_part(batch_size: int, *, processes: int, accumulate: int) -> int:
    """Rows of the largest micro-batch of any process."""
    return math.ceil(math.ceil(batch_size / processes) / accumulate)


def _share(total: int, number: int, count: int) -> tuple[int, int]:
    """First item and length of one of `count` shares of `total` items; the longer ones come first."""
    length, longer = divmod(total, count)
    return number * length + min(number, longer), length + (number < longer)
