# SPDX-License-Identifier: Apache-2.0
"""What may go wrong in a day, at random. Each mishap ends by itself, and leaves good weather."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.database import DatabaseError
from gateway.domain.inputs import AnyInput, DeviceStatus, Stamp, StoreChanged
from tests.faults.network import KEEPALIVE_S, REFUSALS
from tests.faults.world import WEIGHED_S

if TYPE_CHECKING:
    from tests.faults.simulation import Day

HOUR_S: Final = 3_600
DAY_S: Final = 24 * HOUR_S
TEN_YEARS_S: Final = 10 * 365 * DAY_S

DISK_REFUSALS: Final = (
    "database or disk is full",
    "attempt to write a readonly database",
    "disk I/O error",
)

Mishap = Callable[["Day", random.Random], Awaitable[None]]


async def run(day: "Day") -> None:
    """Let some of ``ALL`` happen, each at its time."""
    rng = random.Random(day.rng.getrandbits(64))
    names = sorted(ALL.keys() - _unfair(day))
    weights = [ALL[name][0] for name in names]
    last_s = 8.0 + 4.5 * len(day.world._coming)
    due = sorted(
        (rng.uniform(WEIGHED_S, last_s), name)
        for name in rng.choices(names, weights, k=rng.randrange(2, 10))
    )
    async with asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for at_s, name in due:
            await asyncio.sleep(max(0.0, began_s + at_s - loop.time()))
            day.tell(name)
            group.create_task(ALL[name][1](day, random.Random(rng.getrandbits(64))), name=name)


def _unfair(day: "Day") -> set[str]:
    """Return what no promise covers in such a day."""
    names = set()
    if day.broker_counts:  # The promise ends at the broker.
        names |= {"broker killed", "integrator restored"}
    if day.limits.history_rows < 1_000 or day.limits.bytes_max is not None:
        names.add("integrator restored")  # What it lacks may be kept no longer.
    return names


# The network and the broker.


async def _cut(day: "Day", _rng: random.Random) -> None:
    if day.broker.link is not None:
        day.broker.link.cut()


async def _weather(day: "Day", rng: random.Random, name: str, value: Any, good: Any) -> None:
    weather = day.broker.weather
    setattr(weather, name, value)
    await asyncio.sleep(rng.uniform(0.5, 15.0))
    setattr(weather, name, good)


async def _refuse(day: "Day", rng: random.Random) -> None:
    await _cut(day, rng)
    await _weather(day, rng, "refuse", True, False)


async def _lossy(day: "Day", rng: random.Random, name: str) -> None:
    """Nothing is lost within a connection that lives on, so this ends with the connection."""
    link = day.broker.link
    await _weather(day, rng, name, True, False)
    if rng.random() < 0.3:
        await asyncio.sleep(KEEPALIVE_S * rng.random())
    if link is not None:
        link.cut()


async def _black_hole(day: "Day", rng: random.Random) -> None:
    await _lossy(day, rng, "black_hole")


async def _no_answers(day: "Day", rng: random.Random) -> None:
    await _lossy(day, rng, "lose_answers")


async def _slow(day: "Day", rng: random.Random) -> None:
    await _weather(day, rng, "slow_s", rng.choice((0.3, 3.0)), 0.0)


async def _refusal(day: "Day", rng: random.Random) -> None:
    await _weather(day, rng, "refusal", rng.choice(REFUSALS), None)


async def _broker_kill(day: "Day", rng: random.Random) -> None:
    day.broker.kill()
    await asyncio.sleep(rng.uniform(0.2, 12.0))
    day.broker.start()


# The integrator.


async def _integrator_away(day: "Day", rng: random.Random) -> None:
    day.integrator.stop()
    await asyncio.sleep(rng.uniform(0.5, 20.0))
    day.integrator.start()


async def _integrator_restored(day: "Day", rng: random.Random) -> None:
    """The integrator's database is lost, and an older copy is put in its place."""
    day.integrator.keep()
    await asyncio.sleep(rng.uniform(0.5, 15.0))
    day.integrator.restore()


async def _command(day: "Day", rng: random.Random) -> None:
    """A head office sends something, often twice."""
    gtins = [facing.gtin for facing in day.store.facings]
    products = list(day.store.products.values())
    name, data = rng.choice(
        (
            (
                "prices",
                {
                    "version": f"p{rng.randrange(9)}",
                    "prices": [
                        {
                            "gtin": gtins[0],
                            "unit_price_minor": rng.randrange(1, 999),
                            "currency": "EUR",
                        }
                    ],
                },
            ),
            (
                "planogram",
                {
                    "facings": [
                        {"gtin": facing.gtin, "plates": list(facing.plates)}
                        for facing in day.store.facings
                    ],
                    "products": [
                        {"gtin": products[0].gtin, "name": "Renamed", "unit_g": products[0].unit_g}
                    ],
                },
            ),
            ("planogram", {"facings": [{"gtin": "1", "plates": ["nowhere"]}]}),
            ("backfill", {"epoch": "0" * 32, "from": "0", "to": "5"}),
            ("review", {"review": "unknown", "acts": [], "by": "x"}),
            ("erase", {"shopper": "nobody"}),
            ("nonsense", {"deep": [[[[]]]]}),
        )
    )
    payload = msgspec.json.encode({"id": f"c{rng.getrandbits(32)}", **data})
    for _ in range(rng.choice((1, 2))):
        day.broker.publish(f"{day.root}/commands/{name}", payload)
        await asyncio.sleep(rng.uniform(0.0, 3.0))


async def _review(day: "Day", rng: random.Random) -> None:
    """A person decides every review that the integrator knows of."""
    for payload in day.integrator.events_named("review.requested"):
        data = payload["data"]
        acts = data["candidates"][0]["acts"] if data["candidates"] else []
        if rng.random() < 0.3:
            acts = []
        command = {"id": f"r-{data['review']}", "review": data["review"], "acts": acts, "by": "eve"}
        day.broker.publish(f"{day.root}/commands/review", msgspec.json.encode(command))


async def _nonsense_acknowledged(day: "Day", rng: random.Random) -> None:
    """Somebody with the integrator's rights says what cannot be true."""
    epoch, last = day.promises.epoch, day.promises.last_sequence
    claims = (
        {epoch: str(10**20 - 1)},
        {epoch: str(last + rng.randrange(1, 40))},
        {epoch: str(last + rng.randrange(1, 40))},
        {epoch: "-1", "x": "1"},
    )
    payload = rng.choice((b"{", *(msgspec.json.encode({"acknowledged": one}) for one in claims)))
    day.broker.publish(f"{day.root}/ack", payload)


# The daemon and its machine.


async def _kill(day: "Day", rng: random.Random) -> None:
    """The process is killed, at once or in the midst of a transaction."""
    day.down_s = rng.choice((0.0, 0.5, 5.0, 30.0))
    if rng.random() < 0.3:
        day.disk.die()
    else:
        day.disk.cut_in = rng.randrange(1, 12)


async def _power_cut(day: "Day", rng: random.Random) -> None:
    """The machine loses power, at rest or while it writes, and boots again."""
    day.down_s = rng.choice((5.0, 20.0))
    away_s = rng.choice((0.0, 0.0, 3.0 * DAY_S))  # Skipped: nobody shops in the dark.
    if rng.random() < 0.3:
        day.disk.die(power=True)
    else:
        day.disk.torn = True
        day.disk.cut_in = rng.randrange(1, 12)
        with suppress(TimeoutError):
            async with asyncio.timeout(10.0):
                await day.disk.died.wait()
        day.disk.die(power=True)
    day.clock.reboot()
    if rng.random() < 0.4:
        day.clock.trusted = False  # No NTP yet: it goes on where a saved clock stood.
        away_s = -day.down_s
    day.clock.utc_shift_ns += int(away_s * 1e9)


async def _stop(day: "Day", rng: random.Random) -> None:
    """An operator restarts the daemon."""
    day.down_s = rng.choice((0.0, 3.0))
    if day.stop is not None and not day.stop.done():
        day.stop.set_result("SIGTERM")


async def _damage(day: "Day", _rng: random.Random) -> None:
    """The card wears out: sectors of the database read as something else after a restart."""
    day.disk.damage = True
    day.promises.disturbed = True
    day.disk.die(power=True)


async def _restore(day: "Day", rng: random.Random) -> None:
    """Somebody puts an older copy of the database in its place."""
    if day.disk.dead or not day.disk.path.exists():
        return
    try:
        day.disk.keep("copy.db")
    except DatabaseError:
        return  # It is damaged, and nobody restores from that.
    await asyncio.sleep(rng.uniform(0.5, 15.0))
    day.promises.disturbed = day.promises.replaced = True
    day.disk.replacement = "copy.db"
    day.disk.die()


async def _disk_refuses(day: "Day", rng: random.Random) -> None:
    day.disk.refusal = rng.choice(DISK_REFUSALS)
    day.disk.full = day.disk.was_full = True
    await asyncio.sleep(rng.uniform(0.5, 8.0))
    day.disk.full = False


async def _clock_step(day: "Day", rng: random.Random) -> None:
    seconds = rng.choice((1, HOUR_S, TEN_YEARS_S)) * rng.choice((1, -1))
    day.clock.utc_shift_ns += seconds * 1_000_000_000
    if rng.random() < 0.5:
        await asyncio.sleep(rng.uniform(0.5, 10.0))
        day.clock.utc_shift_ns -= seconds * 1_000_000_000


async def _trust(day: "Day", _rng: random.Random) -> None:
    day.clock.trusted = not day.clock.trusted


# Devices.


def _source(day: "Day", rng: random.Random) -> str:
    return rng.choice(sorted(day.world.sources))


async def _device_restart(day: "Day", rng: random.Random) -> None:
    day.world.restart(_source(day, rng))


async def _device_state(day: "Day", rng: random.Random, field: str) -> None:
    source = day.world.sources[_source(day, rng)]
    until_s = asyncio.get_running_loop().time() + rng.uniform(0.3, 9.0)
    setattr(source, field, int(until_s * 1e9))


async def _device_silent(day: "Day", rng: random.Random) -> None:
    await _device_state(day, rng, "silent_until_ns")


async def _device_repeats(day: "Day", rng: random.Random) -> None:
    await _device_state(day, rng, "repeats_until_ns")


async def _device_stalls(day: "Day", rng: random.Random) -> None:
    await _device_state(day, rng, "stalls_until_ns")


async def _device_will(day: "Day", rng: random.Random) -> None:
    device = _source(day, rng)
    day.put(day.world.status(device, "offline"), False)
    await asyncio.sleep(rng.uniform(0.0, 6.0))
    day.put(day.world.status(device, "online"), False)


async def _device_future(day: "Day", rng: random.Random) -> None:
    source = day.world.sources[_source(day, rng)]
    source.future_ms += rng.choice((500, 60_000, 2**31, -700))


def _birth(device: str, boot: str) -> Callable[[Stamp], AnyInput]:
    return lambda at: DeviceStatus(at=at, device=device, state="online", boot=boot)


async def _flood(day: "Day", rng: random.Random) -> None:
    """Somebody in-store sends without end what nobody asked for."""
    name = rng.choice(("shelf/strange", "camera/over", "scanner/gate"))
    for number in range(rng.choice((10, 3_000))):
        device = name if number % 2 else f"shelf/x{number}"
        day.put(_birth(device, f"{number:x}"), False)


# The store.


async def _store_changed(day: "Day", rng: random.Random) -> None:
    """Somebody writes the store file anew: other facings, under open carts."""
    facings = list(day.store.facings)
    if rng.random() < 0.5:
        facings.append(facings.pop(0))
    weight = rng.choice((1.0, 1.01))
    products = {
        gtin: msgspec.structs.replace(product, unit_g=product.unit_g * weight)
        for gtin, product in day.store.products.items()
    }
    store = msgspec.structs.replace(day.store, facings=tuple(facings), products=products)
    day.put(lambda at: StoreChanged(at=at, store=store), False)


ALL: Final[dict[str, tuple[float, Mishap]]] = {
    "link cut": (3.0, _cut),
    "broker refuses": (1.0, _refuse),
    "black hole": (1.5, _black_hole),
    "no answers": (1.5, _no_answers),
    "slow": (1.0, _slow),
    "refusals": (1.0, _refusal),
    "broker killed": (2.5, _broker_kill),
    "integrator away": (1.5, _integrator_away),
    "integrator restored": (0.7, _integrator_restored),
    "command": (2.0, _command),
    "reviews decided": (1.5, _review),
    "nonsense acknowledged": (1.5, _nonsense_acknowledged),
    "daemon killed": (4.0, _kill),
    "power cut": (3.0, _power_cut),
    "daemon stopped": (1.0, _stop),
    "database damaged": (0.3, _damage),
    "database restored": (0.3, _restore),
    "disk refuses": (1.0, _disk_refuses),
    "clock step": (1.5, _clock_step),
    "trust": (1.0, _trust),
    "device restarts": (1.0, _device_restart),
    "device silent": (1.5, _device_silent),
    "device repeats": (1.0, _device_repeats),
    "device stalls": (1.0, _device_stalls),
    "device will": (1.0, _device_will),
    "device future": (1.0, _device_future),
    "flood": (0.7, _flood),
    "store changed": (1.0, _store_changed),
}
"""How often each happens against the others, and what it is."""
