# SPDX-License-Identifier: Apache-2.0
"""What the reference integrator tells its operator."""

import asyncio

from drivers.mqtt.client import MqttConfig
from gateway.simulator.integrator import run_integrator
from tests.brokers import Embedded, run


def test_it_says_once_when_it_is_connected_when_not_and_when_again(tmp_path, capsys):
    said = []

    async def until(words):
        while not said or words not in said[-1]:
            said.extend(capsys.readouterr().err.splitlines())
            await asyncio.sleep(0.02)

    async def scene():
        broker, stop = Embedded(tmp_path), asyncio.Event()
        config = MqttConfig(host="127.0.0.1", port=broker.port, client_id="books", protocol=4)
        keeping = asyncio.create_task(run_integrator(config, tmp_path / "books.db", stop))
        try:
            for _ in range(2):
                await until("nothing listens there")
                await broker.start()
                await until("connected to")
                await broker.kill()
        finally:
            stop.set()
            await keeping
        return broker.port

    port = run(scene())
    ours = [line for line in said if "connected to" in line]
    assert ours == [f"integrator: connected to 127.0.0.1:{port}"] * 2
    assert sum("nothing listens there" in line for line in said) == 2
