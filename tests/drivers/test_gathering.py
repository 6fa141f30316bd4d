# SPDX-License-Identifier: Apache-2.0
"""When lines are read: all at the same instants, however they send."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gathering import GATHER_S, gathered
from tests.virtual_time import run_virtual


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8))
def test_devices_are_read_together_and_none_is_read_at_once_or_left_alone_for_long(heard_s):
    async def device(at_s):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(at_s)
        began_s = loop.time()
        await gathered()
        return loop.time() - began_s, loop.time() / GATHER_S

    async def main():
        return await asyncio.gather(*map(device, heard_s))

    for waited_s, instants in run_virtual(main())[0]:
        assert waited_s + 1e-9 >= GATHER_S / 2
        assert waited_s <= 1.5 * GATHER_S + 1e-9
        assert instants == pytest.approx(round(instants), abs=1e-6)
