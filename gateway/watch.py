# SPDX-License-Identifier: Apache-2.0
"""``shelfgate tail``: live events of one or all gateways, from the upstream broker."""

import secrets
import sys
from collections.abc import Mapping
from random import SystemRandom

import msgspec

from drivers.mqtt.client import Message, connect
from drivers.mqtt.config import MqttConfig, Tls
from gateway.supervise import supervise
from gateway.tail import readable

FILTER = "shelfgate/v1/+/+/events/#"


async def tail(broker: MqttConfig, names: Mapping[str, str], *, as_json: bool) -> None:
    """Print each event as it comes, until cancelled; reconnect when the broker goes.

    Args:
        broker: Where the gateways publish.
        names: Product names by GTIN.
        as_json: Print the event itself, one JSON a line.
    """

    def show(message: Message) -> None:
        try:
            line = (
                message.payload.decode()
                if as_json
                else readable(message.payload, names, colour=sys.stdout.isatty())
            )
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError) as error:
            line = f"{message.topic}: not an event: {error!r}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async def run(came_up: object) -> None:
        async with connect(broker, subscriptions=[(FILTER, 0)], on_message=show) as connection:
            assert callable(came_up)
            came_up()
            await connection.closed()

    # The error names the broker itself.
    await supervise("Upstream broker", run, random=SystemRandom())


def tail_client(
    host: str,
    port: int,
    protocol: int,
    *,
    username: str | None = None,
    password: str | None = None,
    ca: str | None = None,
) -> MqttConfig:
    """Return how a passing reader connects: a name of its own, no session kept.

    Args:
        host: Of the upstream broker.
        port: Of the upstream broker.
        protocol: 4 for MQTT 3.1.1, or 5.
        username: At the broker.
        password: Goes with the user name.
        ca: PEM file of the authorities to trust; turns TLS on.
    """
    return MqttConfig(
        host=host,
        port=port,
        client_id=f"shelfgate-tail-{secrets.token_hex(4)}",
        protocol=4 if protocol == 4 else 5,
        clean=True,
        session_expiry_s=0,
        username=username,
        password=password,
        tls=Tls(ca=ca) if ca is not None else None,
    )
