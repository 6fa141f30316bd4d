# SPDX-License-Identifier: Apache-2.0
"""A camera as a scanner: drawn codes are read, told once, and judged like any scanner's."""

import asyncio
import json
import time

import cv2
import numpy as np
import pytest

from drivers.instore.codec import Known, Scanned, decode
from drivers.labels.judging import Judge
from gateway.config_settings import read_settings
from gateway.domain.inputs import DeviceStatus, ProductScanned
from tests.drivers.scanner_line import product_store
from tests.small_store import stamp
from tests.vision.test_vision_worker import Broker, Frames, OnePerson, config, running
from vision.capture import Frame
from vision.codes import Code, CodeReader, CodeScanner, CodesConfig, check_region
from vision.framing import FramingError
from vision.worker import Worker, check

zxingcpp = pytest.importorskip("zxingcpp")

SIZE_WH = (512, 384)
TOKEN = "a" * 80 + "." + "b" * 120 + "." + "c" * 72
REGION = (260, 40, 240, 240)


def drawn(text, kind="QRCode", *, scale=2, at=(280, 60), size_wh=SIZE_WH, turn_deg=0.0, noise=0):
    """Return a picture with a code in it, BGR."""
    code = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, kind))
    image = np.pad(np.array(code.to_image(scale=scale)), 12, constant_values=255)
    if turn_deg:
        middle = image.shape[1] / 2, image.shape[0] / 2
        matrix = cv2.getRotationMatrix2D(middle, turn_deg, 1.0)
        image = cv2.warpAffine(image, matrix, image.shape[::-1], borderValue=255)
    picture = np.full((size_wh[1], size_wh[0]), 110.0)
    high, wide = image.shape
    picture[at[1] : at[1] + high, at[0] : at[0] + wide] = image
    picture += np.random.default_rng(1).normal(0, noise, picture.shape) if noise else 0
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def frame(image, *, number=0, at_ns=None, origin_px=(0, 0)):
    at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) if at_ns is None else at_ns
    return Frame(image, number, at_ns, SIZE_WH, origin_px)


@pytest.mark.parametrize(
    ("reads", "text", "kind", "aim"),
    [
        ("tokens", TOKEN, "QRCode", "]Q1"),
        ("tokens", "x.y.z" * 9, "Aztec", "]z0"),
        ("products", "4006381333931", "EAN13", "]E0"),
        ("products", "96385074", "EAN8", "]E4"),
        ("products", "https://id.gs1.org/01/09521321123458", "QRCode", "]Q1"),
    ],
)
def test_codes_are_read_with_their_identifiers(reads, text, kind, aim):
    image = drawn(text, kind, at=(20, 20), noise=6)
    assert CodeReader(reads).read(image) == [Code(text, aim)]


def test_a_code_that_is_turned_is_read():
    assert CodeReader("tokens").read(drawn("a.b.c", turn_deg=30.0, scale=4)) == [
        Code("a.b.c", "]Q1")
    ]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 40, 3), np.uint8),
        np.random.default_rng(1).integers(0, 255, (200, 300, 3), dtype=np.uint8),
        drawn("4006381333931", "EAN13", at=(20, 20)),
        drawn("x" * 1_100, scale=2, at=(20, 20)),
    ],
    ids=["nothing", "noise", "another-kind", "too-long"],
)
def test_nothing_is_read_where_nothing_of_use_is(image):
    assert CodeReader("tokens").read(image) == []


def scanner(broker, region=REGION, crop=None, **more):
    codes = CodesConfig(scanner="gate", reads="tokens", region=region, **more)
    return CodeScanner(codes, store="demo", size_px=SIZE_WH, crop=crop, publish=broker.publish)


@pytest.mark.parametrize("by", [1, 2])
def test_only_the_region_is_looked_at_whatever_size_frames_have(by):
    size_wh = SIZE_WH[0] * by, SIZE_WH[1] * by
    image = np.arange(size_wh[0] * size_wh[1] * 3).reshape(size_wh[1], size_wh[0], 3)
    part = scanner(Broker()).part(Frame(image, 0, 0, size_wh))
    assert part.shape == (240 * by, 240 * by, 3)
    assert part[0, 0].tolist() == image[40 * by, 260 * by].tolist()
    cropped = Frame(image[30 * by :, 250 * by :], 0, 0, size_wh, (250 * by, 30 * by))
    assert np.array_equal(scanner(Broker()).part(cropped), part)


@pytest.mark.parametrize(
    ("region", "crop", "said"),
    [
        ((300, 0, 240, 240), None, r"leaves what is looked at, \[0, 0, 512, 384\]"),
        ((0, 0, 100, 100), (50, 50, 200, 200), r"leaves what is looked at, \[50, 50"),
        ((0, 0, 16, 100), None, "too small for a code. Give 32 px"),
    ],
)
def test_a_region_that_cannot_be_seen_is_refused(region, crop, said):
    codes = CodesConfig(scanner="gate", reads="tokens", region=region)
    with pytest.raises(FramingError, match=said):
        check_region(codes, SIZE_WH, crop)
    with pytest.raises(FramingError, match=said):
        check(config(codes=codes, crop=crop))


def test_a_camera_publishes_each_code_once_while_it_stays_and_its_own_status():
    broker, camera = Broker(), Frames()

    async def main():
        codes = scanner(broker, per_s=10.0, repeat_ms=10_000)
        worker = Worker(
            config(codes=codes.config),
            broker.publish,
            detector=OnePerson(),
            codes=codes,
            open_source=lambda _url: camera,
        )

        def texts():
            return [message["text"] for message in broker.of("scan")]

        async with running(worker):
            for number in range(4):
                camera.left.put(drawn("a.b.c", noise=number))
                await broker.until(lambda: texts() == ["a.b.c"])
            camera.left.put(drawn("d.e.f", at=(10, 60)))  # Not in the region.
            camera.left.put(drawn("g.h.i"))
            await broker.until(lambda: texts() == ["a.b.c", "g.h.i"])
            camera.left.put(None)
        first, second = broker.of("scan")
        assert (first["aim"], first["seq"], second["seq"]) == ("]Q1", 0, 1)

    asyncio.run(main())
    known = Known.of(product_store())
    for topic, message, qos, retain in broker.messages:
        if "/scanner/" in topic:
            payload = json.dumps(message).encode()
            here = topic.replace("/demo/", "/corner/")
            told = decode(known, here, payload, retained=False, stamp=stamp(10**15))
            assert isinstance(told, Scanned | DeviceStatus)
            assert (qos, retain) == (1, isinstance(told, DeviceStatus))
    states = [
        message["state"] for topic, message, *_ in broker.messages if "scanner/gate/st" in topic
    ]
    assert states[0] == "online"
    assert states[-1] == "offline"
    boots = {topic.split("/")[3]: message["boot"] for topic, message, *_ in broker.messages}
    assert boots["scanner"] != boots["camera"]


def test_a_product_that_a_camera_reads_is_judged_like_any_scan():
    judge = Judge(product_store(), None)
    [code] = CodeReader("products").read(drawn("4006381333931", "EAN13", at=(20, 20)))
    heading = {"at": stamp(), "device": "scanner/shop", "boot": "b", "seq": 0, "t_ms": 1}
    heading |= {"host_boot": None, "host_mono_ms": None}
    judged = judge.judge(heading, code.text, code.aim)
    assert isinstance(judged, ProductScanned)
    assert judged.gtin == "04006381333931"


def test_a_scan_without_a_connection_is_lost_and_not_sent_later():
    async def main():
        broker = Broker()
        codes = scanner(broker)
        broker.down = True
        await codes._scanned(Code("a.b.c", None), 0)
        broker.down = False
        await codes._scanned(Code("a.b.c", None), 10)
        assert broker.messages == []
        assert codes.lost == 1
        await codes._scanned(Code("a.b.c", None), 10**10)
        assert [message["seq"] for message in broker.of("scan")] == [1]

    asyncio.run(main())


VISION = """gateway = "g"
database = "d"
[[vision]]
camera = "top"
url = "0"
model = "m"
codes = { scanner = "gate", region = [0, 0, 100, 100] }
"""


def test_the_settings_name_a_scanner_that_nothing_else_is(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text(VISION)
    [table] = read_settings(file).settings.vision
    assert (table.codes.scanner, table.codes.per_s, table.codes.repeat_ms) == ("gate", 2.0, 3_000)
    file.write_text(VISION + '[[device]]\ndriver = "scanner"\nname = "gate"\nurl = "/dev/x"\n')
    [problem] = read_settings(file).problems
    assert "device scanner/gate is named twice" in problem.problem
