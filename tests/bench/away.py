# SPDX-License-Identifier: Apache-2.0
"""What devices cost that are away: ``python -m tests.bench.away``."""

import argparse
import asyncio
import logging
import sys
import time
from functools import partial
from random import Random

from drivers.network_port import open_port
from drivers.registry import build
from drivers.scale.config import ScaleConfig
from gateway.clock import OsClock
from gateway.intake import Intake
from gateway.supervise import supervise

DEVICES = 32
SECONDS = 20.0


async def main():
    clock = OsClock()
    intake = Intake(clock)
    async with asyncio.TaskGroup() as group:
        tasks = []
        for n in range(DEVICES):
            config = ScaleConfig(name=f"g{n}.s1", url=f"/dev/serial/by-id/{n}", protocol="sma")
            driver = build(config, clock=clock, open_stream=open_port, judge=None)
            work = supervise(config.device, partial(driver.run, intake), random=Random(n))
            tasks.append(group.create_task(work, name=config.device))
        began_s = time.process_time()
        await asyncio.sleep(SECONDS)
        share = (time.process_time() - began_s) / SECONDS
        for task in tasks:
            task.cancel()
    sys.stdout.write(f"{DEVICES} serial devices that are away: {share:.1%} of a core\n")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tests.bench.away", description=__doc__).parse_args()
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
