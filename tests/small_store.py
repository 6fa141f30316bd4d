# SPDX-License-Identifier: Apache-2.0
"""A store of two shelves, a scanner, a door and a camera; and inputs of it."""

from gateway.domain.inputs import EngineSettings, GatewayStarted, Samples, Stamp
from gateway.domain.store import (
    Calibration,
    Camera,
    Facing,
    Plate,
    Product,
    Scanner,
    Shelf,
    Store,
    Zone,
)

GTIN = "09521321123453"
UTC_NS = 1_795_000_000_000_000_000


def small_store(name="corner"):
    def plates(shelf, count, calibration=None):
        return tuple(
            Plate(
                name=f"{shelf}.p{index}",
                offset_mm=index * 250.0,
                width_mm=250.0,
                calibration=calibration,
            )
            for index in range(count)
        )

    def shelf(name, y, plates):
        return Shelf(
            name=name,
            gondola=name.split(".")[0],
            front_mm=(-500.0, y, 500.0, y),
            z_mm=800.0,
            depth_mm=400.0,
            plates=plates,
        )

    calibration = Calibration(id="c1", zero_raw=1000.0, counts_per_g=100.0)
    return Store(
        name=name,
        products={GTIN: Product(gtin=GTIN, name="Crisps", unit_g=150.0, tolerance_g=3.0)},
        shelves=(
            shelf("g1.s1", -900.0, plates("g1.s1", 3)),
            shelf("g2.s1", 900.0, plates("g2.s1", 2, calibration)),
        ),
        facings=(Facing(gtin=GTIN, plates=("g1.s1.p0",)),),
        zones=(
            Zone(name="in", kind="entry", x_mm=(-2000.0, -1500.0), y_mm=(-500.0, 500.0)),
            Zone(name="out", kind="exit", x_mm=(1500.0, 2000.0), y_mm=(-500.0, 500.0)),
        ),
        scanners=(Scanner(name="gate", zone="in", door="front"),),
        doors=("front",),
        cameras=(Camera(name="over", size_px=(640, 480), floor_points=()),),
    )


def stamp(mono_ns=0, *, utc_trusted=True, utc_error_ms=1):
    return Stamp(mono_ns, UTC_NS + mono_ns, utc_trusted, utc_error_ms, "boot")


def samples(seq, *, device="shelf/g1.s1", mono_ns=0, plates=3, rows=2):
    return Samples(
        at=stamp(mono_ns),
        device=device,
        boot="b0",
        seq=seq,
        period_us=16_667,
        unit="g",
        w=[[100.0] * plates for _ in range(rows)],
    )


def started(store=None):
    return GatewayStarted(
        at=stamp(),
        gateway="gw-1",
        version="0",
        epoch="e" * 32,
        previous_epoch=None,
        previous_sequence=None,
        settings=EngineSettings(),
        store=store or small_store(),
        state=[],
    )
