# SPDX-License-Identifier: Apache-2.0
"""One target under libFuzzer: ``python -m tests.fuzz.child TARGET [libFuzzer's arguments]``."""

import logging
import os
import random
import sys
import warnings

import atheris

from tests.fuzz.mutate import mutate

with atheris.instrument_imports(include=["drivers", "gateway"]):
    from tests.fuzz.targets import TARGETS

PLAIN = 0.3
"""Share of libFuzzer's own changes, which know what the coverage says."""


def change(data, size_max, seed):
    """Change an input for libFuzzer."""
    chance = random.Random(seed)
    if chance.random() < PLAIN:
        return atheris.Mutate(data, size_max)
    return mutate(chance, data)[:size_max]


def main():
    """Run a target until libFuzzer's limits, or until it fails."""
    os.nice(10)
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    name, *arguments = sys.argv[1:]
    atheris.Setup([name, *arguments], TARGETS[name], custom_mutator=change)
    atheris.Fuzz()


main()
