# SPDX-License-Identifier: Apache-2.0
"""A case played to a real broker, read by the product's own codec."""

import asyncio
from collections import Counter

import pytest

from drivers.instore.codec import Known, Rejected, Scanned, decode
from drivers.mqtt.client import connect
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.embedded import embedded_broker
from gateway.clock import OsClock
from gateway.config import load_store
from gateway.domain.inputs import DeviceStatus, People, Samples
from gateway.simulator.exam.cases import make_case
from gateway.simulator.exam.conditions import HARSH
from gateway.simulator.exam.playing import PlayConfig, Player, SoFar
from gateway.simulator.processes import free_ports
from gateway.simulator.stock import TrueAct, Truth
from gateway.simulator.store_files import write_store
from gateway.simulator.witness import read_witness

PACE = 30.0


async def played(case, folder, lines):
    """Play a case twice; return what the codec makes of what a subscriber hears."""
    [port] = free_ports(1)
    known, clock, found = Known.of(case.store), OsClock(), []
    scanned = asyncio.Event()

    def take(message):
        stamp = clock.stamp()
        found.append(
            decode(known, message.topic, message.payload, retained=message.retain, stamp=stamp)
        )
        if sum(isinstance(item, Scanned) for item in found) == 2 * len(case.stage.scans):
            scanned.set()

    def config(name):
        return MqttConfig(host="127.0.0.1", port=port, client_id=name, protocol=4, clean=True)

    async with embedded_broker(port):
        topic = f"shelfgate/v1/{case.store.name}/#"
        async with connect(config("ear"), subscriptions=[(topic, 1)], on_message=take) as ear:
            for _ in range(2):
                player = Player(
                    case,
                    PlayConfig(
                        broker=config("set by each device"),
                        keys=folder / "keys",
                        truth=folder / "truth.json",
                        say=lines.append,
                        pace=PACE,
                    ),
                )
                await player.run(asyncio.Event())
            # Scans are sure to come, and on a busy machine some time after they were sent.
            async with asyncio.timeout(20):
                await scanned.wait()
            ear.raise_if_gone()
    return found


def is_part(some, whole):
    """Tell whether a list is another one with some of it left out."""
    rest = iter(whole)
    return all(one in rest for one in some)


def test_a_case_is_heard_as_it_was_made(tmp_path):
    case = make_case("bag", HARSH, 2)
    lines = []
    heard = asyncio.run(played(case, tmp_path, lines))
    refused = [item for item in heard if isinstance(item, Rejected)]
    assert not refused
    made = Counter(type(item) for item in case.inputs())
    kinds = Counter(type(item) for item in heard)
    # QoS 0 may be dropped when played this fast; what comes is in order.
    assert 0 < kinds[Samples] <= 2 * made[Samples]
    assert 0 < kinds[People] <= 2 * made[People]
    sent = [
        [item.seq for item in case.inputs() if isinstance(item, Samples) and item.device == device]
        for device in (f"shelf/{shelf.name}" for shelf in case.store.shelves)
    ]
    for boot in {item.boot for item in heard if isinstance(item, Samples)}:
        mine = [item for item in heard if isinstance(item, Samples) and item.boot == boot]
        assert any(is_part([item.seq for item in mine], whole) for whole in sent)
    assert kinds[Scanned] == 2 * len(case.stage.scans)
    assert kinds[DeviceStatus] >= 14
    boots = {item.boot for item in heard if isinstance(item, Samples)}
    assert len(boots) == 2 * len(case.store.shelves), "a second time is no repetition"
    assert any("takes" in line for line in lines)
    witness = read_witness(tmp_path / "truth.json")
    assert witness.baskets == case.truth.baskets
    lifts = [act.lift_ns - witness.acts[0].lift_ns for act in witness.acts]
    assert lifts == [act.lift_ns - case.truth.acts[0].lift_ns for act in case.truth.acts]


@pytest.mark.parametrize("kind", ["mixed", "misplaced-then-taken", "group", "restock"])
def test_what_has_happened_so_far_is_what_a_fold_from_the_beginning_gives(kind):
    truth = make_case(kind, HARSH, 3).truth
    so_far = SoFar(truth)
    ends_ns = [act.end_ns for act in truth.acts]
    times_ns = sorted({*ends_ns, *truth.entered_ns.values(), *truth.left_ns.values()})
    for now_ns in [0, *times_ns, times_ns[-1] + 1]:
        now = so_far.at(now_ns)
        acts = [act for act in truth.acts if act.end_ns <= now_ns]
        entered = {name for name, at_ns in truth.entered_ns.items() if at_ns <= now_ns}
        baskets = {name: Counter() for name in entered}
        for act in acts:
            if act.shopper in entered:
                sign = 1 if act.direction == "pick" else -1
                baskets[act.shopper][act.gtin] += sign * act.quantity
        assert sorted(now.acts, key=repr) == sorted(acts, key=repr)
        assert now.baskets == {name: +basket for name, basket in baskets.items()}
        assert now.entered_ns.keys() == now.scans.keys() == entered
        assert now.left_ns == {name: at for name, at in truth.left_ns.items() if at <= now_ns}
    assert now.baskets == truth.baskets


def test_a_basket_holds_what_its_shopper_took_and_did_not_put_back():
    def act(shopper, direction, quantity):
        return TrueAct(shopper, "1", quantity, direction, ("p",), 0, 1)

    truth = Truth(baskets={"anna": {}})
    for one in (act("anna", "pick", 2), act("staff", "put-back", 9), act("anna", "put-back", 1)):
        truth.note(one)
    assert truth.baskets == {"anna": {"1": 1}}
    truth.note(act("anna", "put-back", 1))
    assert truth.baskets == {"anna": {}}
    assert len(truth.acts) == 4
    with pytest.raises(AssertionError, match="nobody's bill"):
        truth.note(act("anna", "put-back", 1))


def test_a_store_file_holds_what_the_case_has(tmp_path):
    for seed in range(1, 9):
        case = make_case("one", HARSH, seed)
        path = tmp_path / f"{seed}.toml"
        write_store(path, case.store)
        assert load_store(path) == case.store
        assert load_store(path).version == case.store.version
