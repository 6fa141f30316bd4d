# SPDX-License-Identifier: Apache-2.0
"""A camera as a scanner: codes in a part of its picture, by zxing-cpp, told by the contract.

It is a device of its own, ``scanner/<name>``, beside the camera: with its own boot, numbers, status
and will. Reading runs on a thread of its own, at a low rate, always on the newest frame.
"""

import asyncio
from typing import Any, Final, Literal, NamedTuple

import msgspec

from gateway.domain.rescans import Repeats
from vision.calls import Calls
from vision.capture import Frame
from vision.detectors import RuntimeMissingError
from vision.framing import FramingError
from vision.numbering import Numbering
from vision.publishing import Publish, status
from vision.rendering import Image

TEXT_CHARS_MAX: Final = 1_024
"""The contract's limit for the text of a scan."""
CODES_MAX: Final = 8
"""Told of one frame; a scanner sees one or two."""
SIDE_PX_MIN: Final = 32
HANG_S: Final = 60.0

KINDS: Final = {
    "tokens": ("QRCode", "Aztec", "DataMatrix"),
    "products": (
        "EAN13",
        "EAN8",
        "UPCA",
        "UPCE",
        "ITF14",
        "DataBar",
        "Code128",
        "DataMatrix",
        "QRCode",
    ),
}
"""What is looked for, by what the scanner is there for: fewer kinds, fewer false readings."""

Region = tuple[int, int, int, int]


class CodesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera reads codes for."""

    scanner: str
    """The device is ``scanner/<scanner>``."""
    reads: Literal["tokens", "products"]
    region: Region | None = None
    """``(x, y, width, height)`` in pixels of the calibration's picture; None: all that is seen."""
    per_s: float = 2.0
    repeat_ms: int = 3_000
    """A code again within this long of its last reading is the same scan."""


class Code(NamedTuple):
    """One code."""

    text: str
    aim: str | None
    """AIM identifier of its symbology."""


class CodeReader:
    """Finds codes in images."""

    def __init__(self, reads: Literal["tokens", "products"]) -> None:
        """Prepare.

        Args:
            reads: What the scanner is there for.

        Raises:
            RuntimeMissingError: zxing-cpp is not installed.
        """
        try:
            import zxingcpp  # noqa: PLC0415 - optional.
        except ModuleNotFoundError as error:
            raise RuntimeMissingError(
                "codes: zxing-cpp is not installed. Run pip install 'shelfgate[codes]'"
            ) from error
        self._zxing = zxingcpp
        self._formats = [getattr(zxingcpp.BarcodeFormat, kind) for kind in KINDS[reads]]

    def read(self, image: Image) -> list[Code]:
        """Return the codes of an image ``(h, w, 3)``, BGR; those too long for a scan left out."""
        found = self._zxing.read_barcodes(
            image, formats=self._formats, text_mode=self._zxing.TextMode.Plain
        )
        codes = []
        for one in found[:CODES_MAX]:
            aim = one.symbology_identifier
            if one.valid and 0 < len(one.text) <= TEXT_CHARS_MAX:
                codes.append(Code(one.text, aim if len(aim) == 3 else None))
        return codes


class CodeScanner:
    """A camera's second device: reads codes, and publishes each as a scan."""

    def __init__(
        self,
        config: CodesConfig,
        *,
        store: str,
        size_px: tuple[int, int],
        crop: Region | None = None,
        publish: Publish,
    ) -> None:
        """Prepare; ``run`` reads.

        Args:
            config: What to read.
            store: The store's name, part of the topics.
            size_px: Width and height of the picture that ``region`` and ``crop`` are given in.
            crop: What of it frames show; None: all.
            publish: Sends a message.

        Raises:
            FramingError: The region is outside the picture, or too small.
            RuntimeMissingError: zxing-cpp is not installed.
        """
        self.config = config
        check_region(config, size_px, crop)
        self._size_px = size_px
        self._publish = publish
        self._topic = f"shelfgate/v1/{store}/scanner/{config.scanner}"
        self._reader = CodeReader(config.reads)
        self._repeats = Repeats(config.repeat_ms * 1_000_000)
        self._numbers = Numbering()
        self._newest: Frame | None = None
        self._reason: str | None = None
        self.lost = 0
        """Messages that found no connection."""

    look_topic: Final = None
    """A scanner is asked for nothing."""

    def look(self, payload: bytes) -> None:
        """Hear nothing."""

    @property
    def will(self) -> tuple[str, bytes]:
        """Return topic and payload that the broker sends should this process die."""
        return f"{self._topic}/status", self._status("offline", "connection lost")

    async def announce(self) -> None:
        """Publish the status as it is now: lost while the camera is."""
        state = "online" if self._reason is None else "offline"
        await self._send("status", self._status(state, self._reason), retain=True)

    async def tell(self, reason: str | None) -> None:
        """Publish that the camera is there (None), or why it is not."""
        self._reason = reason
        await self.announce()

    def keep(self, frame: Frame) -> None:
        """Take a frame: the newest is looked at. Called on the capture's thread."""
        self._newest = frame

    async def run(self) -> None:
        """Read the newest frame from time to time, until cancelled."""
        loop = asyncio.get_running_loop()
        with Calls(f"codes {self.config.scanner}") as calls:
            while True:
                began_s = loop.time()
                frame, self._newest = self._newest, None
                if frame is not None:
                    image = self.part(frame)
                    found, _ = await calls.timed(self._reader.read, image, limit_s=HANG_S)
                    for code in found:
                        await self._scanned(code, frame.boottime_ns)
                await asyncio.sleep(max(0.0, began_s + 1 / self.config.per_s - loop.time()))

    def part(self, frame: Frame) -> Image:
        """Return the part of a frame that codes are looked for in, as far as the crop shows it."""
        if self.config.region is None:
            return frame.image
        x, y, width, height = self.config.region
        sizes = zip(frame.size_wh, self._size_px, frame.origin_px, strict=True)
        sides = zip((x, y), (width, height), sizes, strict=True)
        columns, rows = (
            slice(round(at * there / of) - origin, round((at + long) * there / of) - origin)
            for at, long, (there, of, origin) in sides
        )
        return frame.image[rows, columns]

    async def _scanned(self, code: Code, at_ns: int) -> None:
        if self._repeats.is_one(code.text.encode(), at_ns):
            return
        message: dict[str, Any] = self._numbers.next(at_ns) | {"text": code.text}
        if code.aim is not None:
            message["aim"] = code.aim
        await self._send("scan", msgspec.json.encode(message))

    async def _send(self, leaf: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish; without a connection a scan is lost: later it would be somebody else's."""
        try:
            await self._publish(f"{self._topic}/{leaf}", payload, 1, retain=retain)
        except OSError:
            self.lost += 1

    def _status(self, state: str, reason: str | None) -> bytes:
        return msgspec.json.encode(status(self._numbers.boot, state, reason))


def check_region(config: CodesConfig, size_px: tuple[int, int], crop: Region | None) -> None:
    """Look whether the region is in what of the picture is looked at.

    Raises:
        FramingError: It is not, or too small.
    """
    if config.region is None:
        return
    x, y, width, height = config.region
    left, top, across, down = crop or (0, 0, *size_px)
    if not (left <= x and x + width <= left + across and top <= y and y + height <= top + down):
        whole = f"[{left}, {top}, {across}, {down}]"
        raise FramingError(
            f"codes.region {list(config.region)} leaves what is looked at, {whole}. "
            "Give [x, y, width, height] inside it"
        )
    if min(width, height) < SIDE_PX_MIN:
        raise FramingError(
            f"codes.region {list(config.region)} is too small for a code. "
            f"Give {SIDE_PX_MIN} px each way at least"
        )
