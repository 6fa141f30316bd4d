# SPDX-License-Identifier: Apache-2.0
"""The driver of every scale: opens the line and says why it ended. ``session`` moves the bytes."""

import asyncio
import secrets
from collections.abc import Callable
from typing import NoReturn

from drivers.errors import DeviceGoneError, DeviceSilentError
from drivers.ports import Clock, Intake, OpenStream
from drivers.scale.config import ScaleConfig
from drivers.scale.keys import KeyPress
from drivers.scale.protocols import PROTOCOLS
from drivers.scale.session import Memory, Session


class ScaleDriver:
    """Reads one scale and hands on blocks of grams of one shelf."""

    def __init__(
        self,
        config: ScaleConfig,
        *,
        clock: Clock,
        open_stream: OpenStream,
        draw: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Prepare; ``run`` opens the line.

        Args:
            config: Which line and protocol; ``protocols.problems`` found nothing in it.
            clock: Stamps readings and blocks.
            open_stream: Opens the line.
            draw: Draws a connection's boot.
        """
        self._config = config
        self._clock = clock
        self._open = open_stream
        self._draw = draw
        self._memory = Memory(config.serial)
        self._session: Session | None = None

    def press(self, key: KeyPress) -> None:
        """Press a key of the scale; its ``answer`` is called once, now or when it is known."""
        config, facts = self._config, PROTOCOLS[self._config.protocol]
        if facts.key_answers is None:
            key.answer(f"protocol {config.protocol} answers no keys. Press it at the scale")
        elif self._session is None:
            key.answer(f"{config.device} is not connected. Try again when it is")
        else:
            self._session.press(key)

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Open the line and hand on what the scale shows.

        Raises:
            DeviceGoneError: The line cannot be opened, or was lost.
            DeviceSilentError: No good frame for ``silence_ms_max``.
            OtherDeviceError: The scale has another serial number than it had, or should have.
        """
        config = self._config
        silence_s = config.silence_ms_max / 1_000
        loop = asyncio.get_running_loop()
        try:
            async with (
                self._open(config.url, config.baud or PROTOCOLS[config.protocol].baud) as stream,
                asyncio.timeout(silence_s) as silence,
            ):

                def alive() -> None:
                    came_up()
                    silence.reschedule(loop.time() + silence_s)

                session = self._session = Session(
                    config,
                    stream=stream,
                    intake=intake,
                    clock=self._clock,
                    memory=self._memory,
                    alive=alive,
                    boot=self._draw(),
                )
                await session.run()
        except TimeoutError:
            babbles = self._session is not None and self._session.babbles
            what = "no intelligible weight" if babbles else "nothing came"
            raise DeviceSilentError(
                config.device,
                f"{what} on {config.url} for {config.silence_ms_max} ms",
                "Check protocol, baud and line in the settings"
                if babbles
                else "Check the scale's power and cable, and whether it sends or has to be asked",
            ) from None
        except OSError as error:
            raise DeviceGoneError.of_line(config.device, config.url, error) from error
        finally:
            if self._session is not None:
                self._session.close()
                self._session = None
