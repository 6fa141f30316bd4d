# SPDX-License-Identifier: Apache-2.0
"""What a scene's events tell of drops and of weights."""

from collections import Counter


def told(scene):
    """Return the drops that were told, and those still to be, by device and reason."""
    counts = Counter()
    for one in scene.named("inputs.dropped"):
        counts[one["device"], one["reason"]] += one["count"]
    for key, count in scene.state.drops.items():
        device, _, reason = key.rpartition(" ")
        counts[device, reason] += count
    return +counts


def explained_g(scene, plate):
    """Return the sum of a plate's weight changes that were told, once each."""
    changes = {}
    for name in ("item.picked", "item.put-back", "review.requested", "shelf.changed-unattended"):
        for one in scene.named(name):
            for weight in one["weights"]:
                if weight["plate"] == plate:
                    changes[one["change"]] = weight["delta_g"]
    return sum(changes.values())
