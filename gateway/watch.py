# SPDX-License-Identifier: Apache-2.0
"""``shelfgate tail``: live events of one or all gateways, from the upstream broker."""

import argparse
import asyncio
import json
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Final

import msgspec

from drivers.mqtt.client import Message, connect
from drivers.mqtt.config import MqttConfig, Tls
from gateway.config import load_store, read_secret
from gateway.supervise import supervise
from gateway.tail import readable

FILTER = "shelfgate/v1/+/+/events/#"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--broker", default="127.0.0.1:1883", metavar="HOST:PORT", help="(%(default)s)"
    )
    parser.add_argument("--username", help="user name at the broker")
    parser.add_argument(
        "--password-file", metavar="FILE", help="file that holds the password alone"
    )
    parser.add_argument("--ca", metavar="FILE", help="PEM file of who to trust; turns TLS on")
    parser.add_argument("--protocol", type=int, choices=(4, 5), default=5, help="4 is MQTT 3.1.1")
    parser.add_argument("--store", type=Path, metavar="FILE", help="for the names of products")
    parser.add_argument("--json", action="store_true", help="print each event as JSON")


def run_tail(args: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    host, _, port = args.broker.rpartition(":")
    if not host or not port.isdigit():
        sys.stderr.write(f"--broker {args.broker}: not HOST:PORT. Give both\n")
        return 2
    if args.password_file and not args.username:
        sys.stderr.write("--username: missing beside --password-file. Give both\n")
        return 2
    if args.ca and not Path(args.ca).is_file():
        sys.stderr.write(f"--ca {args.ca}: no such file. Name a PEM file of authorities\n")
        return 1
    products = load_store(args.store).products if args.store else {}
    names = {gtin: product.name for gtin, product in products.items()}
    client = tail_client(
        host,
        int(port),
        args.protocol,
        username=args.username,
        password=read_secret(args.password_file) if args.password_file else None,
        ca=args.ca,
    )
    with suppress(asyncio.CancelledError):
        asyncio.run(tail(client, names, as_json=args.json))
    return 0


async def tail(broker: MqttConfig, names: Mapping[str, str], *, as_json: bool) -> None:
    """Print each event as it comes, until cancelled; reconnect when the broker goes.

    Args:
        broker: Where the gateways publish.
        names: Product names by GTIN.
        as_json: Print the event itself, one JSON a line.
    """

    def show(message: Message) -> None:
        colour = sys.stdout.isatty()
        line = shown(message.topic, message.payload, names, as_json=as_json, colour=colour)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async def run(came_up: object) -> None:
        async with connect(broker, subscriptions=[(FILTER, 0)], on_message=show) as connection:
            assert callable(came_up)
            came_up()
            await connection.closed()

    # The error names the broker itself.
    await supervise("Upstream broker", run, random=SystemRandom())


def shown(
    topic: str, payload: bytes, names: Mapping[str, str], *, as_json: bool, colour: bool
) -> str:
    """Return an event as one line that a terminal only prints, whoever published it.

    Args:
        topic: Where it came; told of what is no event.
        payload: The message, any bytes.
        names: Product names by GTIN.
        as_json: The event itself, not what it says to a person.
        colour: Whether to mark the name with terminal colours.
    """
    try:
        if as_json:
            line = msgspec.json.format(payload, indent=-1).decode()
            # What cannot be printed stands in strings alone now, where it may be escaped.
            return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line)
        return readable(payload, names, colour=colour)
    except _NO_EVENT as error:
        return f"{topic!r}: not an event: {type(error).__name__}"


_NO_EVENT: Final = (
    *(msgspec.DecodeError, ValueError, LookupError, TypeError, AttributeError, RecursionError),
)
"""What reading something else as an event raises."""


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
