# SPDX-License-Identifier: Apache-2.0
"""``shelfgate devices``: names that stay, what the broker knows, what each device sends."""

import asyncio
import json
import os
import stat
import tomllib
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.mqtt.client import connect
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.embedded import embedded_broker
from drivers.mqtt_shelf.config import EsphomeConfig
from drivers.probe.judging import Finding
from drivers.probe.probe import Probed
from gateway import devices
from gateway.announced import announced, elsewhere
from gateway.cli import main
from gateway.config_settings import Broker
from gateway.device_meter import Meter, Row
from gateway.device_server import WATCHERS_MAX, DeviceServer, looks, socket_of
from gateway.device_watch import Screen
from gateway.devices import Written, _elsewhere_words, _show_found
from gateway.domain.inputs import DeviceStatus, Dropped, Samples
from gateway.intake import Intake
from gateway.plugged import find_keyboards, find_ports
from gateway.simulator.lines import Line
from tests.brokers import free_port
from tests.drivers.usb import Sysfs
from tests.virtual_time import LoopClock, run_virtual
from vision.camera_tools.devices import Device

# Names.


class Machine:
    """A made-up ``/dev`` and ``/sys``, in which ports are pseudo-terminals."""

    def __init__(self, folder):
        self.dev, self.sysfs = folder / "dev", Sysfs(folder)
        self.ends = []

    def plug(self, name, *usb, by_id=None, by_path=None, folder="serial"):
        device, host = os.openpty()
        self.ends += [device, host]
        real = os.ttyname(host)
        self.sysfs.plug(real, *usb)
        tty = self.sysfs.root / "class" / "tty"
        (tty / Path(real).name).rename(tty / Path(name).name)
        node = self.dev / name
        node.parent.mkdir(parents=True, exist_ok=True)
        node.symlink_to(real)
        for kind, link in (("by-id", by_id), ("by-path", by_path)):
            if link is not None:
                path = self.dev / folder / kind / link
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.symlink_to(node)

    def close(self):
        for end in self.ends:
            os.close(end)


@pytest.fixture
def machine(tmp_path):
    one = Machine(tmp_path)
    yield one
    one.close()


def test_a_port_is_named_by_its_serial_number_where_that_is_its_own(machine):
    machine.plug("ttyUSB0", "0403", "6001", "A1", by_id="usb-FTDI_A1", by_path="usb-0:1")
    machine.plug("ttyUSB1", "0403", "6001", "B2", by_id="usb-FTDI_B2", by_path="usb-0:2")
    first, second = find_ports(machine.dev, machine.sysfs.root)
    assert first.stable == f"{machine.dev}/serial/by-id/usb-FTDI_A1"
    assert second.stable == f"{machine.dev}/serial/by-id/usb-FTDI_B2"
    assert (first.usb, first.label) == ("0403:6001:A1", "Example Serial Adapter")


@pytest.mark.parametrize("serial", [None, "0001"])
def test_ports_that_cannot_be_told_apart_are_named_by_their_sockets(machine, serial):
    machine.plug("ttyUSB0", "1a86", "7523", serial, by_id="usb-1a86", by_path="usb-0:1")
    machine.plug("ttyUSB1", "1a86", "7523", serial, by_id="usb-1a86", by_path="usb-0:2")
    names = [port.stable for port in find_ports(machine.dev, machine.sysfs.root)]
    assert names == [f"{machine.dev}/serial/by-path/usb-0:{n}" for n in (1, 2)]


def test_one_without_a_serial_number_is_named_by_its_socket_though_it_is_alone(machine):
    machine.plug("ttyUSB0", "1a86", "7523", by_id="usb-1a86", by_path="usb-0:1")
    [port] = find_ports(machine.dev, machine.sysfs.root)
    assert port.stable == f"{machine.dev}/serial/by-path/usb-0:1"


def test_consoles_and_sockets_that_lead_nowhere_are_no_ports(machine):
    machine.plug("ttyS0", "0000", "0000")
    machine.plug("ttyS1", "0000", "0000")
    tty = machine.sysfs.root / "class" / "tty"
    (tty / "ttyS1" / "type").write_text("0\n")
    (tty / "tty7").mkdir()
    (machine.dev / "tty7").touch()
    assert [port.path for port in find_ports(machine.dev, machine.sysfs.root)] == [
        f"{machine.dev}/ttyS0"
    ]
    assert find_ports(machine.dev / "none", machine.sysfs.root / "none") == []


def test_keyboards_are_listed_by_what_the_settings_need(machine):
    machine.plug("input/event3", "05e0", "1200", "S1", by_id="usb-Symbol-event-kbd", folder="input")
    [keyboard] = find_keyboards(machine.dev, machine.sysfs.root)
    assert keyboard.stable == f"{machine.dev}/input/by-id/usb-Symbol-event-kbd"


# The command.

SETTINGS = """gateway = "gw-1"
database = "gateway.db"
[broker]
port = {port}
[[device]]
driver = "scale"
name = "g1.s1"
url = "{url}"
protocol = "lines"
format = "tscale"
[[vision]]
camera = "over"
url = "0"
"""


@pytest.fixture
def plugged(machine, monkeypatch):
    monkeypatch.setattr(devices, "find_ports", lambda: find_ports(machine.dev, machine.sysfs.root))
    monkeypatch.setattr(devices, "find_keyboards", list)
    camera = Device(path="/dev/video0", label="Eye", by_id=(), by_path=())
    monkeypatch.setattr(devices, "find_devices", lambda: [camera])
    machine.plug("ttyUSB0", "0403", "6001", "A1", by_id="usb-FTDI_A1", by_path="usb-0:1")
    machine.plug("ttyUSB1", "1a86", "7523", by_id="usb-1a86", by_path="usb-0:2")
    return machine


def test_what_is_there_is_listed_with_who_uses_it_though_the_settings_are_unfinished(
    plugged, tmp_path, capsys
):
    settings = tmp_path / "settings.toml"
    url = plugged.dev / "serial" / "by-id" / "usb-FTDI_A1"
    settings.write_text(SETTINGS.format(port=free_port(), url=url))
    assert main(["devices", "--settings", str(settings), "--wait", "0.1"]) == 0
    words = capsys.readouterr().out
    assert f"serial ports: 2\n  {url}\n" in words
    assert f"{plugged.dev}/ttyUSB0, Example Serial Adapter, USB 0403:6001:A1" in words
    assert "in the settings: shelf/g1.s1" in words
    assert 'write usb = "1a86:7523" in its table' in words
    assert (
        "cameras: 1\n  /dev/video0\n      /dev/video0, Eye\n      in the settings: camera/over"
        in words
    )
    assert "The settings name no broker, so the daemon brings one: start it" in words
    assert main(["devices", "--json"]) == 0
    ports = json.loads(capsys.readouterr().out)["serial_ports"]
    assert ports[0]["name"] == str(url)
    assert ports[0]["used_by"] is None


def test_a_broker_that_is_wrong_in_the_settings_is_not_taken_for_none(tmp_path, capsys):
    settings = tmp_path / "settings.toml"
    settings.write_text('[broker]\nhost = "broker.example"\ntls = false\n')
    assert main(["devices", "--settings", str(settings)]) != 0
    told = capsys.readouterr()
    assert f"{settings}:3: broker.tls: is false. Give a table" in told.err
    assert "database" not in told.err
    assert "brings one" not in told.out + told.err


def test_a_scale_is_probed_and_the_table_is_printed_with_the_name_that_stays(tmp_path, capsys):
    line = Line(tmp_path / "scale")

    async def send():
        while True:
            line.write(b"ST,GS,%8.1f g\r\n" % 412)
            await asyncio.sleep(0.02)

    async def both():
        sending = asyncio.get_running_loop().create_task(send())
        status = await asyncio.to_thread(main, ["devices", "--probe", str(tmp_path / "scale")])
        sending.cancel()
        return status

    assert asyncio.run(both()) == 0
    line.close()
    words = capsys.readouterr().out
    assert f'url = "{tmp_path}/scale"\nprotocol = "lines"\nformat = "tscale"\n' in words
    assert words.startswith("# any lines of text, tscale: ")


def test_what_is_printed_of_a_transmitter_is_a_table_that_says_what_is_not_known(capsys):
    table = {"driver": "modbus", "unit_ids": [1, 3], "map": "cas-ci-600d", "decimals": 3}
    unknown = {"driver": "modbus", "unit_ids": [1], "map_file": "map.toml"}
    found = [Finding(table, 1, 0, "412 g"), Finding(unknown, 1, 0, "")]
    _show_found("socket://192.0.2.7:502", Probed(found, None, [], received=True))
    words = capsys.readouterr().out
    [printed] = tomllib.loads(words)["device"]
    assert printed == table | {
        "name": "the shelf's name in the store file",
        "url": "socket://192.0.2.7:502",
    }
    assert words.startswith("# Modbus, unit 1, 3, map cas-ci-600d: 1 good")
    assert "decimals = 3  # Or as many as its display has" in words
    assert "# Or Modbus, unit 1, no map: " in words


def test_a_port_that_somebody_has_or_that_is_none_is_left_alone(tmp_path, capsys):
    from drivers.serial_port import open_serial

    line = Line(tmp_path / "scale")

    async def both():
        async with open_serial(str(tmp_path / "scale"), 9_600):
            return await asyncio.to_thread(main, ["devices", "--probe", str(tmp_path / "scale")])

    assert asyncio.run(both()) == 1
    line.close()
    assert "cannot be probed: " in (words := capsys.readouterr().err)
    assert "stop the daemon where it has this port" in words
    assert main(["devices", "--probe", "/dev/none"]) == 1
    assert main(["devices", "--probe", "socket://192.0.2.7"]) == 2
    assert "no host and port in it. Write socket://host:port" in capsys.readouterr().err
    assert main(["devices", "watch"]) == 2
    assert "Add --settings and --store" in capsys.readouterr().err


# The broker.


@asynccontextmanager
async def broker_with(retained, published):
    """A broker that retains messages and on which one more is published time after time."""
    port = free_port()
    config = MqttConfig(host="127.0.0.1", port=port, client_id="devices", protocol=4, clean=True)
    other = MqttConfig(host="127.0.0.1", port=port, client_id="shelf", protocol=4)
    async with (
        embedded_broker(port),
        connect(other, subscriptions=[], on_message=print) as shelf,
        asyncio.TaskGroup() as group,
    ):
        for topic, payload in retained.items():
            shelf.publish(topic, payload, retain=True)
        await shelf.room()

        async def publish():
            while True:
                shelf.publish(published, b"secret")
                await asyncio.sleep(0.05)

        publishing = group.create_task(publish())
        yield config
        publishing.cancel()


def test_a_broker_tells_what_was_announced_and_who_publishes():
    root = "shelfgate/v1/corner"
    retained = {
        f"{root}/shelf/g1.s1/status": b'{"v":1,"state":"online","fw":"1.4","boot":"b"}',
        f"{root}/shelf/g2.s1/status": b'{"state":',
        f"{root}/door/a\x1b[31mb/status": b"[]",
    }

    async def run():
        async with broker_with(retained, f"{root}/scanner/gate/scan") as config:
            return await announced(config, "corner", 0.7), await announced(config, "elsewhere", 0.1)

    found, others = asyncio.run(run())
    assert others == []
    door, scanner, first, second = found
    assert (first.device, first.state, first.firmware) == ("shelf/g1.s1", "online", "1.4")
    assert (second.state, door.state) == ("malformed", "malformed")
    assert door.device == "door/a[31mb"
    assert scanner.state is None
    assert scanner.messages["scan"] >= 3
    assert "secret" not in repr(found)


def test_a_broker_tells_of_nodes_of_other_firmware_and_what_reads_them():
    retained = {
        "shelf-1/status": b"online",
        "nobody/status": b"online",
        "tele/hx/SENSOR": b"{}",
    }

    async def run():
        async with broker_with(retained, "shelf-1/sensor/plate_1/state") as config:
            return await elsewhere(config, 0.7)

    node, tasmota = asyncio.run(run())
    assert (node.driver, node.name, node.state) == ("esphome", "shelf-1", "online")
    assert node.messages["plate_1"] >= 3
    assert (tasmota.driver, tasmota.name, tasmota.state) == ("tasmota", "hx", None)
    assert not tasmota.messages
    assert "secret" not in repr(node)
    words = _elsewhere_words(node, None)
    assert 'to read it: driver = "esphome", prefix = "shelf-1", sensors = ["plate_1"]' in words
    read = EsphomeConfig(name="g1.s1", prefix="shelf-1", sensors=("plate_1",))
    words = _elsewhere_words(node, Written(Broker(), (read,)))
    assert words.endswith("in the settings: shelf/g1.s1")


# What each device sends.


def samples(clock, seq, rows, **changed):
    fields = {"device": "shelf/a", "boot": "b", "unit": "g", "period_us": 100_000} | changed
    return Samples(at=clock.stamp(), seq=seq, w=rows, **fields)


def test_a_meter_tells_rate_noise_holes_gaps_and_errors():
    async def run():
        clock = LoopClock()
        meter = Meter(clock)
        for n in range(100):
            await asyncio.sleep(0.1)
            meter.offer(samples(clock, n + (n > 50) * 3, [[411.0 + 2 * (n % 2), None]]))
        await asyncio.sleep(0.1)
        meter.offer(samples(clock, 500, [[413.0, None]], boot="begun anew"))
        meter.drop("shelf/a", "malformed", 3)
        meter.offer(Dropped(at=clock.stamp(), device="shelf/c", reason="malformed", count=3))
        meter.offer(DeviceStatus(at=clock.stamp(), device="door/d", state="online", boot=""))
        lost = DeviceStatus(
            at=clock.stamp(), device="shelf/b", state="offline", boot="", reason="gone"
        )
        await meter.put(lost)
        return meter.rows(
            {
                "shelf/a": "up",
                "shelf/c": "up",
                "camera/x": "lost",
                "door/e": "up",
                "door/f": "silent",
            }
        )

    rows = {row.device: row for row in run_virtual(run())[0]}
    assert list(rows) == ["camera/x", "door/d", "door/e", "door/f", "shelf/a", "shelf/b", "shelf/c"]
    shelf = rows["shelf/a"]
    assert (shelf.state, shelf.unit, shelf.values) == ("up", "g", [413.0, None])
    assert shelf.rate_hz == pytest.approx(10.0, abs=0.3)
    assert shelf.noise == [pytest.approx(1.0, abs=0.01), None]
    assert (shelf.holes, shelf.gaps, shelf.drops) == (101, 3, {"malformed": 3})
    assert (rows["shelf/b"].state, rows["shelf/b"].reason) == ("lost", "gone")
    assert [rows[name].state for name in ("camera/x", "door/d", "door/e")] == [
        "lost",
        "up",
        "up",
    ]
    assert [rows[name].state for name in ("door/f", "shelf/c")] == ["silent", "silent"]
    assert rows["shelf/c"].rate_hz == 0.0


def test_a_look_is_a_table_with_a_line_a_device(capsys):
    rows = [
        Row(device="shelf/a", state="up", rate_hz=10, unit="g", values=[412.0, None], noise=[0.3]),
        Row(device="shelf/b", state="lost", reason="gone", drops={"malformed": 2}),
        Row(device="shelf/c", state="up", unit="raw", values=[8388.0] * 9, holes=1, gaps=2),
    ]
    screen = Screen(as_json=False, count=2)
    assert screen.show(rows, "of the running daemon")
    assert not screen.show([], "of the running daemon")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["devices", "of", "the", "running", "daemon"],
        ["device", "state", "samples/s", "value", "noise", "holes", "gaps", "errors"],
        ["shelf/a", "up", "10.0", "412.0", "-", "g", "0.30", "0", "0"],
        ["shelf/b", "lost", "0.0", "0", "0", "gone,", "malformed", "2"],
        ["shelf/c", "up", "0.0", *["8388"] * 6, "…", "raw", "1", "2"],
    ]


def test_a_meter_forgets_what_is_old_and_stays_small():
    async def run():
        clock = LoopClock()
        meter = Meter(clock)
        for n in range(5_000):
            meter.offer(samples(clock, n, [[1.0]], device=f"shelf/{n}"))
            meter.drop("shelf/0", f"reason-{n}")
        for n in range(5_000):
            meter.offer(samples(clock, n, [[1.0]] * 2, device="shelf/1", unit="raw"))
        meter.offer(samples(clock, 0, [], device="shelf/2"))
        await asyncio.sleep(10)
        return meter.rows({})

    rows = run_virtual(run())[0]
    assert len(rows) <= 2_000
    assert {row.state for row in rows} == {"silent"}
    assert len(rows[0].drops) <= 32


async def until(look):
    async with asyncio.timeout(20):
        while not look():  # noqa: ASYNC110 - nothing tells it.
            await asyncio.sleep(0.01)


@asynccontextmanager
async def server(folder):
    clock = LoopClock()
    intake = Intake(clock)
    path = socket_of(folder / "gateway.db")
    one = DeviceServer(path, intake, clock, lambda: {"shelf/a": "silent"})
    async with asyncio.TaskGroup() as group:
        running = group.create_task(one.run())
        await until(lambda: path.exists() and stat.S_IMODE(path.stat().st_mode) == 0o600)
        yield path, intake, clock
        running.cancel()


def test_a_daemon_measures_only_while_somebody_watches(tmp_path):
    async def run():
        async with server(tmp_path) as (path, intake, clock):
            assert intake.observer is None
            watching = looks(path)
            await anext(watching)
            intake.offer(samples(clock, 0, [[412.0]]))
            intake.drop("shelf/a", "gap", 2)
            [row] = await anext(watching)
            await watching.aclose()
            await until(lambda: intake.observer is None)
        return row, path

    row, path = asyncio.run(run())
    assert (row.values, row.drops) == ([412.0], {"gap": 2})
    assert not path.exists()


def test_no_more_than_a_few_may_watch(tmp_path):
    async def run():
        async with server(tmp_path) as (path, _, _):
            watching = [looks(path) for _ in range(WATCHERS_MAX + 1)]
            first = await asyncio.gather(*map(anext, watching), return_exceptions=True)
            for one in watching:
                await one.aclose()
        return first

    told = [isinstance(one, StopAsyncIteration) for one in asyncio.run(run())]
    assert told.count(True) == 1


def test_where_it_cannot_listen_the_daemon_goes_on(tmp_path, caplog):
    async def run():
        one = DeviceServer(tmp_path / ("x" * 200), Intake(LoopClock()), LoopClock(), dict)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await one.run()

    asyncio.run(run())
    assert "cannot listen: " in caplog.text
