# SPDX-License-Identifier: Apache-2.0
"""Databases of every schema there has been, made by the code of their time.

``python -m tests.databases`` writes the one of the current schema under fixtures/databases/, once:
a database that is checked in is never written again, since what later versions must be able to
open is what earlier versions made.
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import msgspec

from gateway import outbox
from gateway.domain.state import Decided, encode_row
from gateway.envelope import Source
from gateway.mending import APPLICATION_ID
from gateway.outbox import Acknowledged, Batch, run_sync
from gateway.pipeline import alive_row
from tests.gateway.domain.scene import DOUBT_S, JAM, TEA, Scene

FOLDER = Path(__file__).parents[1] / "fixtures" / "databases"
SOURCE = Source("corner", "gw")


class Recorded(Scene):
    """A scene whose every step is committed, as the daemon would."""

    def __init__(self, connection, **wanted):
        self.connection = connection
        super().__init__(**wanted)

    def start(self, previous=None, **options):
        self.epoch = run_sync(
            self.connection, outbox.begin_epoch(f"{self.epochs + 1:08x}" * 4, self.stamp().utc_ns)
        ).epoch
        return super().start(previous, **options)

    def give(self, item):
        before = dict(self.rows)
        made = super().give(item)
        rows = [row for key, row in self.rows.items() if before.get(key) != row]
        gone = [encode_row(*key, None) for key in before.keys() - self.rows.keys()]
        if made or rows or gone:
            self.commit([one.event for one in made], [*rows, *gone])
        return made

    def commit(self, events, rows):
        batch = Batch(
            events=events,
            rows=[*rows, alive_row(self.stamp())],
            online=True,
            utc_ns=self.stamp().utc_ns,
        )
        run_sync(self.connection, outbox.commit(SOURCE, self.epoch, batch))


def tell(connection):
    """Tell a story that leaves behind durable state of every kind and events in every state."""
    scene = Recorded(connection)
    scene.run(2.0)
    anna, bert = scene.enter("anna"), scene.enter("bert")
    scene.command(
        "prices",
        {"version": "p1", "prices": [{"gtin": TEA, "unit_price_minor": 250, "currency": "EUR"}]},
    )
    scene.act("anna", {"g1.s1.p3": -780.0})
    scene.act("anna", {"g2.s1.p0": +390.0})  # A jam among the oils.
    scene.reach("bert", "g1.s1.p2")
    scene.act("anna", {"g1.s1.p2": -240.0})  # Both stand there: a review.
    scene.leave("anna", DOUBT_S)
    [acted] = [one for one in scene.named("item.picked") if one["acts"][0]["gtin"] == JAM]
    decided = msgspec.convert({"acts": acted["acts"], "revision": 1}, Decided)
    scene.commit([], [encode_row("decided", acted["change"], decided)])
    run_sync(connection, outbox.acknowledge([Acknowledged(scene.epoch, 4)]))
    scene.restart()
    scene.run(2.0)
    scene.act("bert", {"g1.s1.p0": -150.0})
    assert scene.receipt(anna)[JAM] == 1
    assert set(scene.state.sessions) == {bert}
    assert set(scene.state.closed) == {anna}
    return scene


def make(path):
    """Make a database of the current schema."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY) STRICT")
        for number, migrate in enumerate(outbox.MIGRATIONS, 1):
            run_sync(connection, migrate())
            connection.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))
        for key in ("store", "gateway"):
            connection.execute("INSERT INTO meta VALUES (?, ?)", (key, getattr(SOURCE, key)))
        tell(connection)


def main():
    path = FOLDER / f"schema-{len(outbox.MIGRATIONS)}.db"
    if path.exists():
        sys.exit(f"{path}: is checked in. It is never written again")
    FOLDER.mkdir(exist_ok=True)
    make(path)
    sys.stderr.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
