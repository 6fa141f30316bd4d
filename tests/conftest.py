# SPDX-License-Identifier: Apache-2.0
"""What every test shares: reproducible properties, and skips that are never silent in CI."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from gateway.domain.output import Step
from tests.schema_check import check_data

# Machines differ in speed and a test may not: no deadline. CI draws the same examples each time.
settings.register_profile(
    "default",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("default")

# A suite that a shell runs in the background is deaf to interrupts, and so is all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

LACKING = ("not installed", "could not import")
"""What the reason of a skip says when the machine lacks a package."""


def pytest_collection_modifyitems(items):
    """Begin with files that take long, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Fail in CI what was skipped for want of a package: there, all of them are installed.

    A skip for want of data that the repository may not hold (a model of real people) stays one.
    """
    report = yield
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if any(word in reason for word in LACKING):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI: {reason}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _every_event_fits_its_schema():
    """Hold whatever any engine in these tests makes against the event's schema."""
    make = Step.emit

    def emit(step, kind, subject, at_ns=None, **fields):
        make(step, kind, subject, at_ns, **fields)
        check_data(kind.NAME, bytes(step.events[-1].data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "emit", emit)
        yield
