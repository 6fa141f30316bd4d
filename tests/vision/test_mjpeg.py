# SPDX-License-Identifier: Apache-2.0
"""The simulated camera's stream, read by OpenCV as the worker reads it."""

import asyncio

import numpy as np

from vision.capture import CameraSource
from vision.stream import MjpegServer


def test_opencv_reads_what_is_shown_and_sees_the_end():
    async def main():
        server, stop = MjpegServer(), asyncio.Event()

        async def show():
            shade = 0
            while not stop.is_set():
                shade = (shade + 1) % 200
                await server.show(np.full((48, 64, 3), 40 + shade, dtype=np.uint8))
                await asyncio.sleep(0.005)

        async with server.serving():
            showing = asyncio.create_task(show())
            source = await asyncio.to_thread(CameraSource, server.url)
            images = [await asyncio.to_thread(source.read) for _ in range(5)]
            stop.set()
            await showing
        last = await asyncio.to_thread(lambda: list(iter(source.read, None)))
        source.close()
        assert len(last) < 200
        return images

    images = asyncio.run(main())
    assert all(image is not None and image.shape == (48, 64, 3) for image in images)
    means = [float(image.mean()) for image in images]
    assert means == sorted(means)


def test_a_client_that_asks_nothing_is_not_waited_for():
    async def main():
        server = MjpegServer()
        async with server.serving():
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"x" * 20_000)
            await writer.drain()
            writer.close()
            await server.show(np.zeros((8, 8, 3), dtype=np.uint8))

    asyncio.run(main())
