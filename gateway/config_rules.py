# SPDX-License-Identifier: Apache-2.0
"""Rules of numbers that an installer can mistype."""

import math
from itertools import combinations


def degenerate(points: list[tuple[float, float]]) -> bool:
    """Tell whether all points but one lie on a line, which leaves a homography open.

    A point is on the line when it is nearer than 1 % of the points' greatest distance.
    """
    apart = list(dict.fromkeys(points))
    if len(apart) < 4:
        return True
    reach = max(math.dist(a, b) for a, b in combinations(apart, 2))
    for (ax, ay), (bx, by) in combinations(apart, 2):
        length = math.hypot(bx - ax, by - ay)
        off = sum(
            abs((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length > 0.01 * reach
            for x, y in apart
        )
        if off < 2:
            return True
    return False
