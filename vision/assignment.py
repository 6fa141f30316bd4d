# SPDX-License-Identifier: Apache-2.0
"""The cheapest assignment of rows to columns. Pure.

By shortest augmenting paths with prices on rows and columns (Kuhn, *The Hungarian method for the
assignment problem*, 1955; Jonker and Volgenant, 1987, for the paths). A frame has few people, and
for that plain lists are as fast as any library and take no memory: SciPy's takes 52 MB
(docs/performance.md).
"""

from collections.abc import Sequence
from math import inf

FREE = -1


def cheapest_pairs(costs: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Return pairs of row and column, none twice, of least total cost; in the order of rows.

    Args:
        costs: Rows of equal length, finite. As many pairs are made as there are rows or columns,
            whichever are fewer.
    """
    if not costs or not costs[0]:
        return []
    if len(costs) > len(costs[0]):
        flipped = cheapest_pairs(list(zip(*costs, strict=True)))
        return sorted((row, column) for column, row in flipped)
    owners = [FREE] * len(costs[0])
    row_prices, column_prices = [0.0] * len(costs), [0.0] * len(owners)
    for row in range(len(costs)):
        _give(row, costs, owners, row_prices, column_prices)
    return sorted((row, column) for column, row in enumerate(owners) if row != FREE)


def _give(
    start: int,
    costs: Sequence[Sequence[float]],
    owners: list[int],
    row_prices: list[float],
    column_prices: list[float],
) -> None:
    """Give one more row a column, and others another one where that is cheaper in all."""
    lengths = [inf] * len(owners)
    before = [FREE] * len(owners)
    """The column that the path to each came from; FREE: from the row itself."""
    done: list[int] = []
    todo = list(range(len(owners)))
    row, last, reached = start, FREE, 0.0
    while True:
        prices, base = costs[row], reached - row_prices[row]
        nearest, least = todo[0], inf
        for column in todo:
            length = base + prices[column] - column_prices[column]
            if length < lengths[column]:
                lengths[column], before[column] = length, last
            if lengths[column] < least:
                nearest, least = column, lengths[column]
        reached = least
        if owners[nearest] == FREE:
            break
        todo.remove(nearest)
        done.append(nearest)
        row, last = owners[nearest], nearest
    row_prices[start] += reached
    for column in done:
        row_prices[owners[column]] += reached - lengths[column]
        column_prices[column] -= reached - lengths[column]
    while before[nearest] != FREE:
        owners[nearest] = owners[before[nearest]]
        nearest = before[nearest]
    owners[nearest] = start
