# SPDX-License-Identifier: Apache-2.0
"""What every test shares: reproducible properties, and skips that are never silent in CI."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Machines differ in speed and a test may not: no deadline. CI draws the same examples each time.
settings.register_profile(
    "default",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("default")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Fail a skipped test in CI: there, everything that a test needs is installed."""
    report = yield
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
