# SPDX-License-Identifier: Apache-2.0
"""A nano-store's stretch of time: its store file, its messages, and its journal."""

import json

import msgspec

from gateway.domain.inputs import (
    EngineSettings,
    GatewayStarted,
    Stamp,
)
from gateway.journal import Header, encode_line
from gateway.simulator.messages import sent
from gateway.simulator.stores import nano_store
from gateway.simulator.virtual import START_MONO_NS, START_UTC_NS, virtual_inputs
from gateway.simulator.world import Traffic


def busy_traffic(shoppers):
    """Return a store that so many are in at once, without end."""
    return Traffic(
        shoppers=None,
        at_once=shoppers,
        first_s=2.0,
        spacing_s=(0.2, 0.6),
        picks=(6, 12),
        apart_mm=300.0,
        take_turns=False,
    )


def recorded(duration_s, *, seed=1, shoppers=10, plates=306, cameras=3):
    """Return a nano-store and its inputs: ``shoppers`` at once for ``duration_s`` seconds."""
    store = nano_store(plates, cameras)
    traffic = busy_traffic(shoppers)
    run = virtual_inputs(store, seed, traffic=traffic, duration_s=duration_s, open_doors=True)
    return store, list(run)


def started(store):
    """Return the input that begins an epoch."""
    return GatewayStarted(
        at=Stamp(START_MONO_NS, START_UTC_NS, True, 5, "sim"),
        gateway="bench",
        version="0",
        epoch="b" * 32,
        previous_epoch=None,
        previous_sequence=None,
        settings=EngineSettings(),
        store=store,
        state=[],
    )


def write_journal(path, store, inputs):
    """Write inputs as one segment of a journal, uncompressed as anyone may write it."""
    with path.open("wb") as file:
        file.write(msgspec.json.encode(Header(number=1, snapshot=None)) + b"\n")
        for number, item in enumerate([started(store), *inputs], start=1):
            file.write(encode_line(number, item))


def write_messages(path, store, inputs):
    """Write what the devices send, one line each: when in ns, topic, QoS, retained, payload.

    Entry tokens are signed when they are sent, so a scan's line holds the shopper instead.
    """
    count = 0
    with path.open("w") as file:
        for item in inputs:
            message = sent(item)
            if message is None:
                continue
            for name in ("host_boot", "host_mono_ms"):  # Of another host than the one it plays on.
                message.fields.pop(name, None)
            topic = f"shelfgate/v1/{store.name}/{message.device}/{message.leaf}"
            at_ns = item.at.mono_ns - START_MONO_NS
            line = [at_ns, topic, message.qos, message.retain, message.fields]
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
            count += 1
    return count
