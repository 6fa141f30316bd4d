# SPDX-License-Identifier: Apache-2.0
"""Plays recorded messages to a broker in real time, in a process that is not measured.

Example: python -m tests.bench.player --messages m.jsonl --broker-port 1883 --keys keys --store nano
"""

import argparse
import json
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho

from gateway.simulator.keys import TokenMaker


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=Path, required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--store", required=True)
    options = parser.parse_args()
    tokens = TokenMaker.in_directory(options.store, options.keys)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", options.broker_port)
    client.loop_start()
    worst_s, began_s = 0.0, time.monotonic()
    with options.messages.open() as file:
        for line in file:
            at_ns, topic, qos, retain, payload = json.loads(line)
            if "shopper" in payload:
                payload["text"] = tokens.token(payload.pop("shopper"))
            body = json.dumps(payload, separators=(",", ":"))
            wait_s = began_s + at_ns / 1e9 - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            worst_s = max(worst_s, -wait_s)
            info = client.publish(topic, body, qos=qos, retain=retain)
    info.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    sys.stdout.write(f"played; at worst {worst_s * 1e3:.0f} ms late\n")


if __name__ == "__main__":
    main()
