# SPDX-License-Identifier: Apache-2.0
"""When a device that sends by itself is read again: seldom, and all of them at the same instants.

What comes meanwhile waits in the kernel, which holds far more. Waking up is dearer than reading.
"""

import asyncio
import math
from typing import Final

GATHER_S: Final = 0.04
"""Between two instants at which lines are read."""


async def gathered() -> None:
    """Return at an instant at which lines are read, half to one and a half ``GATHER_S`` from now.

    Sooner, the rest of a frame that has begun could not come.
    """
    now_s = asyncio.get_running_loop().time()
    due_s = math.ceil(now_s / GATHER_S + 0.5) * GATHER_S
    await asyncio.sleep(due_s - now_s)
