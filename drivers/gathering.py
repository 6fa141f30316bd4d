# SPDX-License-Identifier: Apache-2.0
"""When a device that sends by itself is read again: seldom.

What comes meanwhile waits in the kernel, which holds far more. Waking up is dearer than reading.
"""

import asyncio
import math
from typing import Final

GATHER_S: Final = 0.04
"""How long a device is left alone after it was read."""


async def gathered() -> None:
    """Return half to one and a half ``GATHER_S`` from now, at an instant that all lines share.

    For devices that say themselves when they measured. Of others the time of arrival counts, and
    would stagger: they are left alone for ``GATHER_S``.
    """
    now_s = asyncio.get_running_loop().time()
    due_s = math.ceil(now_s / GATHER_S + 0.5) * GATHER_S
    await asyncio.sleep(due_s - now_s)
