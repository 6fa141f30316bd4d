# SPDX-License-Identifier: Apache-2.0
"""Our median says what NumPy's does, without what that imports."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gateway.domain.middle import median

GRAMS = st.floats(-1e6, 1e6) | st.just(np.nan)
BLOCKS = arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=GRAMS)


@given(BLOCKS, st.sampled_from((0, 1)))
def test_it_is_the_median(values, axis):
    np.testing.assert_array_equal(median(values, axis), np.median(values, axis=axis))


def test_a_list_has_one():
    assert float(median([3.0, 1.0, 2.0])) == 2.0
    assert float(median([4.0, 1.0])) == 2.5
    assert np.isnan(median([4.0, np.nan, 1.0]))


def test_no_step_imports_masked_arrays():
    """They take 20 ms, which the first weights of a day would wait for."""
    script = (
        "import sys; from tests.bench import busy; busy.costs(3.0);"
        "sys.exit('numpy.ma' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
