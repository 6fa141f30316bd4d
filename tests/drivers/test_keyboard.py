# SPDX-License-Identifier: Apache-2.0
"""Scanners that type: recorded input events become scans, and nobody else sees them."""

import asyncio
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DeviceGoneError
from drivers.keyboard.codec import EV_KEY, EV_SYN, EVENT, LAYOUT, SYN_DROPPED, Decoder
from drivers.keyboard.config import KeyboardConfig
from drivers.keyboard.driver import line_of
from drivers.keyboard.port import grab, keyboard_opener
from drivers.labels.judging import Judge
from drivers.scanner.codec import SCAN_BYTES_MAX, Noise, Scan, TooLong
from drivers.scanner.driver import ScannerDriver
from gateway.intake import Intake
from tests.drivers.chunks import CUTS, fed_in_pieces
from tests.drivers.scanner_line import product_store
from tests.virtual_time import LoopClock

ENTER, TAB, SHIFT, SHIFT_RIGHT, CTRL, ALT, CAPS = 28, 15, 42, 54, 29, 56, 58
MSC_SCAN = EVENT.pack(1_795_000_000, 1_000, 4, 4, 0x7001E)
"""Keyboards send it before each key: it is none."""
KEYS = {
    letter: (code, shifted)
    for code, letters in reversed(LAYOUT.items())
    for shifted, letter in reversed(list(enumerate(map(chr, letters))))
}


def event(kind, code, value):
    return EVENT.pack(1_795_000_000, 1_000, kind, code, value)


def key(code, value):
    return MSC_SCAN + event(EV_KEY, code, value) + event(EV_SYN, 0, 0)


def pressed(code):
    return key(code, 1) + key(code, 0)


def typed(text, *, shift=SHIFT, end=ENTER):
    """Return what a scanner sends to type a text: every key goes down and up."""
    stream = b""
    for letter in text:
        code, shifted = KEYS[letter]
        down, up = (key(shift, 1), key(shift, 0)) if shifted else (b"", b"")
        stream += down + pressed(code) + up
    return stream + pressed(end)


ASCII = "".join(map(chr, range(0x20, 0x7F)))


def test_every_letter_can_be_typed_with_either_shift():
    for shift in (SHIFT, SHIFT_RIGHT):
        assert Decoder().feed(typed(ASCII, shift=shift)) == [Scan(ASCII.encode())]


def test_enter_and_tab_end_a_scan_and_empty_ones_do_not_count():
    stream = typed("1") + typed("2", end=TAB) + typed("3", end=96) + typed("")
    assert Decoder().feed(stream) == [Scan(b"1"), Scan(b"2"), Scan(b"3")]


def test_one_shift_stays_down_when_the_other_goes_up():
    both = key(SHIFT, 1) + key(SHIFT_RIGHT, 1) + key(SHIFT, 0) + pressed(30) + key(SHIFT_RIGHT, 0)
    assert Decoder().feed(both + typed("a")) == [Scan(b"Aa")]


def test_control_and_a_bracket_is_the_separator_of_gs1():
    stream = key(CTRL, 1) + pressed(27) + key(CTRL, 0) + typed("10LOT")
    assert Decoder().feed(stream) == [Scan(b"\x1d10LOT")]
    assert Decoder().feed(typed("1")[: -len(pressed(ENTER))] + key(CTRL, 1) + pressed(50)) == [
        Scan(b"1")
    ], "Ctrl and M is Enter"


def test_keys_that_are_held_repeat_nothing_and_the_number_pad_counts():
    assert Decoder().feed(key(2, 1) + key(2, 2) * 5 + key(2, 0) + typed("")) == [Scan(b"1")]
    assert Decoder().feed(pressed(79) + pressed(82) + typed("")) == [Scan(b"10")]


@pytest.mark.parametrize("stray", [pressed(ALT), pressed(CAPS), pressed(200)])
def test_a_key_that_would_leave_a_wrong_text_spoils_the_scan_and_only_that(stray):
    assert Decoder().feed(stray + typed("12") + typed("12")) == [Noise("malformed"), Scan(b"12")]


def test_what_the_kernel_lost_spoils_the_scan_and_no_shift_stays_down():
    lost = key(SHIFT, 1) + event(EV_SYN, SYN_DROPPED, 0) + event(EV_KEY, 3, 1)
    stream = lost + event(EV_SYN, 0, 0) + typed("a") + typed("a")
    assert Decoder().feed(stream) == [Noise("malformed"), Scan(b"a")]


def test_the_limit_is_1_kb():
    decoder = Decoder()
    decoder.feed(pressed(2) * (SCAN_BYTES_MAX * 3))
    assert len(decoder._line) == SCAN_BYTES_MAX
    assert decoder.feed(typed("") + typed("1")) == [TooLong(), Scan(b"1")]


EVENTS = st.builds(
    event,
    st.sampled_from([EV_KEY, EV_KEY, EV_KEY, EV_SYN, 4, 0xFFFF]),
    st.one_of(st.integers(0, 60), st.integers(0, 0xFFFF)),
    st.sampled_from([0, 1, 1, 2, -1, 2**31 - 1]),
)


@given(stream=st.lists(EVENTS, max_size=60).map(b"".join), cuts=CUTS)
def test_chunking_never_changes_the_scans(stream, cuts):
    cut = Decoder()
    assert fed_in_pieces(cut, stream, cuts) == Decoder().feed(stream)
    assert len(cut._bytes) < EVENT.size


@given(st.lists(EVENTS, max_size=30).map(b"".join))
def test_any_keys_leave_the_next_scan_readable(noise):
    decoder = Decoder()
    up = b"".join(key(code, 0) for code in (SHIFT, SHIFT_RIGHT, CTRL, 97))
    decoder.feed(noise + event(EV_SYN, 0, 0) + up + pressed(ENTER))
    assert decoder.feed(typed("4006381333931")) == [Scan(b"4006381333931")]


def test_a_device_is_grabbed_before_it_is_read_and_read_until_it_is_unplugged(tmp_path):
    path, grabbed = tmp_path / "event-kbd", []
    os.mkfifo(path)
    device = os.open(path, os.O_RDWR)  # So that the reader's open waits for nobody.

    async def main():
        intake, up = Intake(LoopClock()), asyncio.Event()
        driver = ScannerDriver(
            line_of(KeyboardConfig(name="shop", url=str(path))),
            clock=LoopClock(),
            open_stream=keyboard_opener(grabbed.append),
            judge=Judge(product_store(), None),
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_until_gone(driver, intake, up.set))
            await up.wait()
            assert len(grabbed) == 1
            stream = typed("4006381333931")
            os.write(device, stream[:100])
            os.write(device, stream[100:])
            [item] = await intake.drain(9)
            os.close(device)
            return item, await running

    item, error = asyncio.run(main())
    assert item.gtin == "04006381333931"
    assert error.device == "scanner/shop"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(grabbed[0])


def test_what_cannot_be_grabbed_is_not_read(tmp_path):
    path = tmp_path / "no-keyboard"
    path.touch()

    async def main():
        async with keyboard_opener(grab)(str(path), 0):
            pytest.fail("it was opened")

    with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)):
        asyncio.run(main())


async def _until_gone(driver, intake, came_up):
    try:
        await driver.run(intake, came_up)
    except DeviceGoneError as error:
        return error
