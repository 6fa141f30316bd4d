# SPDX-License-Identifier: Apache-2.0
"""Zero and tare of an emulated scale by command: pressed, answered, and told to the engine."""

import asyncio
from decimal import Decimal

import pytest

from drivers.scale.keys import KeyPress
from drivers.scale.protocols import PROTOCOLS
from gateway.domain.inputs import Rezeroed, Samples
from tests.drivers.scale.rig import with_rig


def press(rig, key="zero"):
    """Press a key; return where the answers come."""
    answers = []
    rig.driver.press(KeyPress(key, answers.append))
    return answers


def order_of(rig):
    """Return the weights that came, in order, and None for each new zero."""
    found = []
    for item in rig.items:
        if isinstance(item, Rezeroed):
            found.append(None)
        elif isinstance(item, Samples):
            found += item.w
    return found


@pytest.mark.parametrize(("key", "command"), [("zero", b"ZI\r\n"), ("tare", b"TI\r\n")])
def test_a_key_is_pressed_and_weights_before_and_after_are_told_apart(key, command):
    async def scene(rig):
        await rig.goes_on(3)
        rig.modem.sent.clear()
        answers = press(rig, key)
        assert answers == []
        await rig.goes_on(3)
        return answers, rig

    answers, rig = with_rig("mt-sics", scene)
    assert answers == [None]
    assert rig.modem.sent == [command, b"SIR\r\n"]
    order = order_of(rig)
    at = order.index(None)
    assert {row[0] for row in order[:at]} == {412.0}
    assert {row[0] for row in order[at + 1 :]} == {0.0}
    assert len(order) > 40
    assert rig.drops == {}
    assert rig.states == [("online", None)]
    blocks = [item for item in rig.items if isinstance(item, Samples)]
    assert [block.seq for block in blocks] == list(range(len(blocks)))
    assert {block.period_us for block in blocks} == {100_000}


def test_weights_right_behind_the_answer_are_by_the_new_zero():
    """All in one piece, and then nothing for a while."""

    async def scene(rig):
        await rig.goes_on(3.02)
        answer = b"ZI S\r\n" + 3 * b"S S      0.000 kg\r\n"
        rig.player.received = lambda _data: rig.modem.write(answer)
        rig.player._repeats = False
        answers = press(rig)
        await rig.goes_on(0.9)
        return answers, rig

    answers, rig = with_rig("mt-sics", scene, rate=20.0, block_ms=20)
    assert answers == [None]
    order = order_of(rig)
    at = order.index(None)
    assert {row[0] for row in order[:at]} == {412.0}
    assert order[at + 1] == [0.0]


def test_a_scale_that_moves_is_not_touched():
    async def scene(rig):
        rig.player.plate.moves = True
        await rig.goes_on(3)
        rig.modem.sent.clear()
        answers = press(rig)
        await rig.goes_on(1)
        return answers, rig

    answers, rig = with_rig("mt-sics", scene)
    assert answers == ["the scale is not at rest. Try again when nobody is there"]
    assert rig.modem.sent == []
    assert None not in order_of(rig)


@pytest.mark.parametrize("reply", [b"ZI I\r\n", b"ZI +\r\n", b"EL\r\n"])
def test_a_refusal_is_told_and_the_scale_goes_on(reply):
    async def scene(rig):
        await rig.goes_on(3)
        real = rig.player.received
        rig.player.received = lambda data: (
            rig.modem.write(reply) if data == b"ZI\r\n" else real(data)
        )
        answers = press(rig)
        samples = await rig.goes_on(3)
        return answers, samples, rig

    answers, samples, rig = with_rig("mt-sics", scene)
    [told] = answers
    assert told.startswith("the scale refused: ")
    assert samples[-1] == 412.0
    assert None not in order_of(rig)


def test_without_an_answer_it_may_have_been_done():
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.order("silence")
        answers = press(rig)
        await rig.goes_on(3)
        rig.player.order("silence")
        samples = await rig.goes_on(5)
        return answers, samples, rig

    answers, samples, rig = with_rig("mt-sics", scene)
    assert answers == ["the scale did not say whether it was done. Compare its display"]
    assert samples[-1] == 0.0
    order = order_of(rig)
    at = order.index(None)
    assert {row[0] for row in order[:at]} <= {412.0, None}
    assert {row[0] for row in order[at + 1 :]} <= {0.0, None}


def test_a_plug_that_is_pulled_meanwhile_answers_and_counts_as_done():
    async def scene(rig):
        await rig.goes_on(3)
        rig.player.received = lambda _data: None
        answers = press(rig)
        await rig.goes_on(0.5)
        rig.modem.unplug()
        await rig.goes_on(0.1)
        return answers, press(rig), rig

    answers, later, rig = with_rig("mt-sics", scene)
    assert answers == ["the scale did not say whether it was done. Compare its display"]
    assert later == ["shelf/g3.s1 is not connected. Try again when it is"]
    assert order_of(rig).count(None) == 1


def test_a_second_key_waits_for_the_first_ones_answer():
    async def scene(rig):
        await rig.goes_on(3)
        first, second = press(rig), press(rig, "tare")
        await rig.goes_on(1)
        return first, second

    assert with_rig("mt-sics", scene) == (
        [None],
        ["another key is being pressed. Try again"],
    )


def test_a_key_that_nobody_took_before_the_end_is_answered():
    async def scene(rig):
        await rig.goes_on(3)
        answers = press(rig)
        rig.tasks[1].cancel()
        await asyncio.sleep(0)
        return answers

    assert with_rig("mt-sics", scene) == ["shelf/g3.s1 is not connected. Try again when it is"]


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "mt-sics"])
def test_other_protocols_do_not_say_what_became_of_a_key(protocol):
    async def scene(rig):
        await rig.goes_on(1)
        return press(rig)

    assert with_rig(protocol, scene) == [
        f"protocol {protocol} answers no keys. Press it at the scale"
    ]


def test_weights_go_on_from_the_new_zero():
    async def scene(rig):
        await rig.goes_on(3)
        press(rig)
        await rig.goes_on(2)
        rig.player.put(Decimal(262))
        return await rig.goes_on(3)

    assert with_rig("mt-sics", scene)[-1] == -150.0
