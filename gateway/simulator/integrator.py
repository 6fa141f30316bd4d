# SPDX-License-Identifier: Apache-2.0
"""A reference integrator: stores every event once, and acknowledges what it has stored.

It shows how little an integrator needs: one table keyed by ``(source, id)``, one ``INSERT … ON
CONFLICT DO NOTHING``, and an acknowledgement after the commit. It shares no code with the daemon's
outbox, so that it can be a witness: it counts what came, what came again, and what is missing
(``gateway.simulator.proof``), and asks the gateways for it (``gateway.simulator.asking``).
"""

import argparse
import asyncio
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import msgspec

from drivers.errors import DriverError
from drivers.mqtt.client import Connection, Message, MqttConfig, Tls, connect
from gateway.config import ConfigError, read_secret
from gateway.simulator.asking import LOOK_S
from gateway.simulator.integrator_core import IntegratorCore
from gateway.simulator.ledger import Books, BooksError, Ledger, Summary, same_event, summary
from gateway.simulator.proof import Proof, prove, report
from gateway.supervise import leaves

__all__ = ["Ledger", "Summary", "main", "run_integrator", "same_event", "summary"]

SUBSCRIPTIONS: Final = (("shelfgate/v1/+/+/events/#", 1), ("shelfgate/v1/+/+/status", 1))
REPLIES: Final = ("shelfgate/v1/+/+/replies/+", 1)
BATCH_MAX: Final = 500
QUEUE_MAX: Final = 20_000
BIRTHS_MAX: Final = 100
RETRY_S: Final = 0.5
NO_BOOKS: Final = 2
"""Exit status of a report on what an integrator did not make."""
UNPROVABLE: Final = 3
"""Exit status when the end of an epoch, or any gateway, is known to nobody, or nobody answers."""

_TOPIC: Final = re.compile(r"shelfgate/v1/([^/]+)/([^/]+)/(events|status|replies)(?:/.*)?")


async def run_integrator(
    config: MqttConfig,
    database_path: Path | str,
    stop: asyncio.Event,
    *,
    ask: bool = False,
    look_s: float = LOOK_S,
) -> None:
    """Store and acknowledge until ``stop`` is set, reconnecting through every outage.

    Args:
        config: The broker.
        database_path: SQLite file; made if absent.
        stop: Ends it, once what came is stored.
        ask: Whether to ask gateways for what is missing.
        look_s: How often to look for that.
    """
    look = partial(prove, database_path) if ask else None
    await keep_books(config, partial(Ledger, database_path), stop, prove=look, look_s=look_s)


async def keep_books(
    config: MqttConfig,
    open_books: Callable[[], Books],
    stop: asyncio.Event,
    *,
    prove: Callable[[], list[Proof]] | None = None,
    look_s: float = LOOK_S,
    share: str | None = None,
) -> None:
    """Store and acknowledge in any books, as ``run_integrator`` does.

    Args:
        config: The broker.
        open_books: Opens them, in the thread that they are used in.
        stop: Ends it, once what came is stored.
        prove: Returns what is missing of each gateway, to ask for it; None: nobody is asked.
        look_s: How often to look for that.
        share: Group of the shared subscription in which consumers take turns; None: alone.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "integrator") as executor:
        ledger = await loop.run_in_executor(executor, open_books)
        core = IntegratorCore(ledger, prove=prove, look_s=look_s)
        integrator = _Integrator(core, executor, share)
        told = ""

        def came_up() -> None:
            nonlocal told
            told = ""  # The next outage is told again.
            sys.stderr.write(f"integrator: connected to {config.host}:{config.port}\n")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(stop, integrator.wake), name="integrator.stop")
                while not stop.is_set():
                    try:
                        await loop.run_in_executor(executor, ledger.ready)
                        await integrator.connection(config, stop, came_up)
                    except DriverError as error:  # An outage is what this is for.
                        if told != str(error):
                            told = str(error)
                            sys.stderr.write(f"integrator: {told}\n")
                        with suppress(TimeoutError):
                            async with asyncio.timeout(RETRY_S):
                                await stop.wait()
        finally:
            await loop.run_in_executor(executor, ledger.close)


async def _pass_on(stop: asyncio.Event, wake: asyncio.Event) -> None:
    await stop.wait()
    wake.set()


class _Integrator:
    """Messages in, acknowledgements out."""

    def __init__(
        self, core: IntegratorCore, executor: ThreadPoolExecutor, share: str | None = None
    ) -> None:
        self.wake = asyncio.Event()
        self.core = core
        self._executor = executor
        self._subscriptions = [
            (topic if share is None else f"$share/{share}/{topic}", qos)
            for topic, qos in SUBSCRIPTIONS
        ]
        if core.asks:
            self._subscriptions.append(REPLIES)
        self._payloads: list[bytes] = []
        self._topics: dict[str, str] = {}
        self._births: dict[str, list[bytes]] = {}
        self._replies: list[tuple[str, bytes]] = []

    async def connection(
        self, config: MqttConfig, stop: asyncio.Event, came_up: Callable[[], None]
    ) -> None:
        async with connect(
            config,
            subscriptions=self._subscriptions,
            on_message=self._on_message,
        ) as connection:
            connection.when_gone(self.wake.set)
            came_up()
            while not stop.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.core.wait_s(time.monotonic())):
                        await self.wake.wait()
                self.wake.clear()
                connection.raise_if_gone()
                await self._work(connection)

    def _on_message(self, message: Message) -> None:
        match = _TOPIC.fullmatch(message.topic)
        if match is None:
            return
        store, gateway, kind = match.groups()
        source = f"urn:shelfgate:{store}:{gateway}"
        self._topics[source] = f"shelfgate/v1/{store}/{gateway}"
        if kind == "status":
            # The end that an epoch's last status says, and the birth of the next may come at once.
            self._births[source] = [
                *self._births.get(source, ())[1 - BIRTHS_MAX :],
                message.payload,
            ]
        elif kind == "replies":
            if len(self._replies) < BATCH_MAX:  # Beyond it: unheard, so it is asked again.
                self._replies.append((source, message.payload))
        elif len(self._payloads) < QUEUE_MAX:  # Beyond it: unacknowledged, so it comes again.
            self._payloads.append(message.payload)
        self.wake.set()

    async def _work(self, connection: Connection) -> None:
        births, self._births = self._births, {}
        replies, self._replies = self._replies, []
        payloads, self._payloads = self._payloads[:BATCH_MAX], self._payloads[BATCH_MAX:]
        if self._payloads:
            self.wake.set()
        loop = asyncio.get_running_loop()
        answers, wishes = await loop.run_in_executor(
            self._executor, self.core.turn, payloads, births, replies, time.monotonic()
        )
        for source, answer in answers.items():
            if source in self._topics:
                connection.publish(f"{self._topics[source]}/ack", answer, qos=1, retain=True)
        for wish in wishes:
            if wish.source in self._topics:
                topic = f"{self._topics[wish.source]}/commands/backfill"
                connection.publish(topic, wish.payload, qos=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m gateway.simulator.integrator``.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 when the books cannot be kept, 2 for wrong
        arguments; with ``--report`` 0 when everything is there, 1 when something is missing, 2 when
        there are no books, 3 when it cannot be proved, nobody answers or there is no gateway.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.share is not None:
        _check_share(parser, options)
    options.client_id = options.client_id or "integrator"
    if options.postgres is None:
        kept = _Kept(partial(Ledger, options.database), partial(prove, options.database))
    else:
        kept = _in_postgres(parser, options)
    if options.report:
        return _report(kept, options.database or "postgresql")
    status = 0
    work = _until_signal(_client(parser, options), kept, options)
    try:
        asyncio.run(work)
    except* BooksError as group:
        sys.stderr.writelines(f"integrator: {error}\n" for error in leaves(group))
        status = 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.simulator.integrator",
        description="Store the events of every gateway on a broker once, and acknowledge them.",
        epilog="example: python -m gateway.simulator.integrator"
        " --broker 127.0.0.1:1884 --database events.db",
    )
    parser.add_argument("--broker", metavar="HOST:PORT", help="the broker")
    books = parser.add_mutually_exclusive_group(required=True)
    books.add_argument("--database", type=Path, help="SQLite file to keep")
    books.add_argument(
        "--postgres",
        metavar="CONNINFO",
        help="PostgreSQL database to keep instead, as libpq takes it, which several consumers may"
        " share; a password belongs into ~/.pgpass (needs shelfgate[postgres])",
    )
    parser.add_argument(
        "--share",
        metavar="GROUP",
        help="with --postgres: take turns with other consumers of this group, each with a"
        " --client-id of its own",
    )
    parser.add_argument("--client-id", help="MQTT client id (integrator)")
    parser.add_argument(
        "--protocol", type=int, choices=(4, 5), default=4, help="4: MQTT 3.1.1 (default), 5"
    )
    parser.add_argument("--username", help="user name at the broker")
    parser.add_argument(
        "--password-file", metavar="FILE", help="file that holds the password alone"
    )
    parser.add_argument("--ca", metavar="FILE", help="PEM file of who to trust; turns TLS on")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--backfill", action="store_true", help="ask gateways for what is missing")
    what.add_argument(
        "--report",
        action="store_true",
        help="say what is missing, and end: with 1 if anything is, 2 if there are no books, 3 if"
        " nobody can know",
    )
    return parser


def _check_share(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.postgres is None or options.backfill:
        _refuse(parser, "--share: is for consumers that keep --postgres, without --backfill")
    if not re.fullmatch(r"[\w.-]+", options.share):
        _refuse(parser, f"--share {options.share}: give letters, digits, `.`, `_` and `-` alone")
    if options.client_id is None:  # A broker ends the connection of whoever has the same.
        _refuse(parser, "--share: --client-id is missing. Give each consumer one of its own")
    if options.protocol == 4:
        _refuse(parser, "--share: MQTT 3.1.1 has no shared subscriptions. Give --protocol 5")


class _Kept(NamedTuple):
    """Books, and what they prove."""

    open: Callable[[], Books]
    prove: Callable[[], list[Proof]]


def _in_postgres(parser: argparse.ArgumentParser, options: argparse.Namespace) -> _Kept:
    try:
        from gateway.simulator.postgres import PostgresLedger  # noqa: PLC0415 - an extra.
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        _refuse(parser, "--postgres: psycopg is missing. Install shelfgate[postgres]")
    try:
        ledger = PostgresLedger(options.postgres, options.client_id, reads=options.report)
    except BooksError as error:
        _refuse(parser, f"--postgres: {error}")

    def read() -> list[Proof]:
        with closing(ledger):
            return ledger.prove()

    return _Kept(lambda: ledger, read if options.report else ledger.prove)


def _client(parser: argparse.ArgumentParser, options: argparse.Namespace) -> MqttConfig:
    """Return how to reach the broker that the arguments name; end with 2 if they are wrong."""
    if options.broker is None:
        _refuse(parser, "--broker is missing. Write it as 127.0.0.1:1883")
    host, _, port = options.broker.rpartition(":")
    if not host or not port.isdigit():
        _refuse(parser, f"--broker {options.broker}: not HOST:PORT. Write it as 127.0.0.1:1883")
    if options.password_file and not options.username:
        _refuse(parser, "--username: missing beside --password-file. Give both")
    if options.ca and not Path(options.ca).is_file():
        _refuse(parser, f"--ca {options.ca}: no such file. Name a PEM file of authorities")
    try:
        password = read_secret(options.password_file) if options.password_file else None
    except ConfigError as error:
        _refuse(parser, str(error))
    config = MqttConfig(
        host=host.strip("[]"),
        port=int(port),
        client_id=options.client_id,
        protocol=options.protocol,
        username=options.username,
        password=password,
        tls=Tls(ca=options.ca) if options.ca else None,
    )
    if options.share is None:
        return config
    # With a session the broker would go on handing its share to a consumer that has gone.
    return msgspec.structs.replace(config, clean=True, session_expiry_s=0)


def _report(kept: _Kept, where: object) -> int:
    try:
        proofs = kept.prove()
    except sqlite3.Error as error:
        return _told(f"{where}: {error}. Name the database of an integrator", NO_BOOKS)
    except BooksError as error:
        return _told(str(error), NO_BOOKS)
    except DriverError as error:
        return _told(str(error), UNPROVABLE)
    if not proofs:
        problem = f"{where}: no gateway is known here. Name the database of an integrator"
        return _told(problem, UNPROVABLE)
    for line in report(proofs):
        sys.stdout.write(line + "\n")
    verdicts = {proof.verdict for proof in proofs}
    if "missing" in verdicts:
        return 1
    return UNPROVABLE if "unprovable" in verdicts else 0


def _told(problem: str, status: int) -> int:
    sys.stderr.write(f"integrator: {problem}\n")
    return status


async def _until_signal(config: MqttConfig, kept: _Kept, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    look = kept.prove if options.backfill else None
    await keep_books(config, kept.open, stop, prove=look, share=options.share)


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    parser.error(message)


if __name__ == "__main__":
    sys.exit(main())
