# SPDX-License-Identifier: Apache-2.0
"""Simulated serial devices and entry tokens, read by the product's own codecs."""

import os
import time
from pathlib import Path

import pytest

from drivers.entry.tokens import EntryConfig, Verifier
from gateway.clock import OsClock
from gateway.simulator.keys import ISSUER, JWKS_NAME, KEY_NAME, TokenMaker
from gateway.simulator.lines import Bridge, EntryScanner, Line


@pytest.fixture
def line(tmp_path):
    line = Line(tmp_path / "port")
    yield line
    line.close()


def read_all(tmp_path):
    descriptor = os.open(tmp_path / "port", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        parts = []
        while True:
            try:
                parts.append(os.read(descriptor, 65_536))
            except BlockingIOError:
                return b"".join(parts)
    finally:
        os.close(descriptor)


def crc_ccitt_false(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def test_a_bridge_writes_json_lines_with_a_checksum(line, tmp_path):
    bridge = Bridge(line, "sh07", 80)
    bridge.sample([123_456, -8_821, None], 1_583_245)
    bridge.sample([1, 2, 3], 2**32 + 5)
    first, second = read_all(tmp_path).splitlines()
    body, _, crc = first.partition(b',"crc":"')
    assert int(crc[:4], 16) == crc_ccitt_false(body)
    assert b'"seq":0,"t":1583245,"sps":80,"ch":[[0,123456],[1,-8821],[2,null]]' in first
    assert b'"seq":1,"t":5,' in second


def test_what_nobody_reads_is_bounded_and_lines_stay_whole(line, tmp_path):
    bridge = Bridge(line, "sh07", 80)
    for number in range(2_000):
        bridge.sample([number], number)
    text = read_all(tmp_path)
    assert len(text) < 2 * 65_536
    bridge.sample([7], 7)  # Makes the line send what it still held.
    text += read_all(tmp_path)
    *lines, rest = text.split(b"\n")
    assert rest == b""
    assert all(part.startswith(b'{"v":1') and part.endswith(b'"}') for part in lines)
    assert len(lines) < 2_000


def test_the_gateway_may_come_and_go(line, tmp_path):
    scanner = EntryScanner(line)
    scanner.read("one")
    assert read_all(tmp_path) == b"one\r"
    scanner.read("two")
    assert read_all(tmp_path) == b"two\r"


def test_closing_removes_the_link(tmp_path):
    Line(tmp_path / "port").close()
    assert not os.path.lexists(tmp_path / "port")


def verifier(directory: Path, store="demo"):
    return Verifier(EntryConfig(jwks=directory / JWKS_NAME, issuer=ISSUER, store=store))


def test_tokens_are_what_the_gateway_takes(tmp_path):
    token = TokenMaker.in_directory("demo", tmp_path).token("shopper-1")
    verdict = verifier(tmp_path).verify(token, OsClock().stamp())
    assert (verdict.verdict, verdict.shopper) == ("valid", "shopper-1")
    assert verifier(tmp_path, "other").verify(token, OsClock().stamp()).verdict == "other-store"


def test_each_token_differs_and_the_key_stays(tmp_path):
    maker = TokenMaker.in_directory("demo", tmp_path)
    again = TokenMaker.in_directory("demo", tmp_path)
    assert maker.jwks == again.jwks
    assert len({maker.token("s"), again.token("s"), maker.token("s")}) == 3
    assert (tmp_path / KEY_NAME).stat().st_mode & 0o077 == 0
    assert time.time() - (tmp_path / JWKS_NAME).stat().st_mtime < 60
