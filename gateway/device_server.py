# SPDX-License-Identifier: Apache-2.0
"""Lets ``shelfgate devices watch`` see what devices of the running daemon send.

A socket beside the database, for whoever may read the database: each line is one look, a second
apart. While nobody is connected nothing is measured, and nothing is ever written to the disk.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from drivers.ports import Clock
from gateway.device_meter import Meter, Row, State
from gateway.intake import Intake

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
WATCHERS_MAX: Final = 4
LOOK_BYTES_MAX: Final = 4 * 2**20
"""Longest look; a watcher for whom more waits does not read, and is let go."""

_LOOK: Final = msgspec.json.Decoder(list[Row])


def socket_of(database: str | Path) -> Path:
    """Return where the daemon of a database listens."""
    path = Path(database)
    return path.with_name(f"{path.name}.sock")


class DeviceServer:
    """The daemon's side."""

    def __init__(
        self, path: Path, intake: Intake, clock: Clock, known: Callable[[], dict[str, State]]
    ) -> None:
        """Prepare; ``run`` listens.

        Args:
            path: Where to listen.
            intake: Whose inputs are watched.
            clock: For rates.
            known: Returns every device of the store, and what was heard of it.
        """
        self._path = path
        self._intake = intake
        self._clock = clock
        self._known = known
        self._watchers: list[asyncio.StreamWriter] = []
        self._watched = asyncio.Event()

    async def run(self) -> NoReturn:
        """Listen until cancelled. Where that is not possible, nobody can watch, and no more."""
        try:
            self._path.unlink(missing_ok=True)
            # Serving begins below: a server that is cancelled as it begins would stay open.
            server = await asyncio.start_unix_server(
                self._connected, self._path, start_serving=False
            )
            self._path.chmod(0o600)
        except OSError as error:
            log.warning(
                "%s: cannot listen: %s. `shelfgate devices watch` cannot be used", self._path, error
            )
            await asyncio.Event().wait()
        try:
            await server.start_serving()
            while True:
                await self._watched.wait()
                await asyncio.sleep(EVERY_S)
                self._show()
        finally:
            server.close()
            for watcher in self._watchers:
                watcher.transport.abort()
            with suppress(OSError):
                self._path.unlink()

    def _connected(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._watchers) >= WATCHERS_MAX:
            writer.transport.abort()
            return
        self._watchers.append(writer)
        if self._intake.observer is None:
            self._intake.observer = Meter(self._clock)
        self._watched.set()

    def _show(self) -> None:
        """Send a look to whoever is there and reads."""
        assert self._intake.observer is not None
        look = msgspec.json.encode(self._intake.observer.rows(self._known())) + b"\n"
        for watcher in list(self._watchers):
            if watcher.is_closing() or watcher.transport.get_write_buffer_size() > LOOK_BYTES_MAX:
                watcher.transport.abort()
                self._watchers.remove(watcher)
            else:
                watcher.write(look)
        if not self._watchers:
            self._intake.observer = None
            self._watched.clear()


async def looks(path: Path) -> AsyncGenerator[list[Row], None]:
    """Yield one look a second at the devices of a running daemon, until it ends.

    Args:
        path: Where it listens.

    Raises:
        OSError: No daemon listens there, or this user may not ask it.
        ValueError: What came is no look: the daemon is of another version.
    """
    reader, writer = await asyncio.open_unix_connection(path, limit=LOOK_BYTES_MAX)
    try:
        while line := await reader.readline():
            yield _LOOK.decode(line)
    finally:
        writer.transport.abort()
