"""A sketch finds quantiles to a thousandth of their value, whatever the parts it was put together from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.transform.cleanse.sketch import Sketch

NUMBERS = st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.just(0.0) | st.none(), max_size=50)


@given(NUMBERS, st.integers(0, 50))
def test_parts_make_the_same_sketch(numbers, cut):
    whole, first, second = Sketch(), Sketch(), Sketch()
    whole.add(pa.array(numbers, pa.float64()))
    first.add(pa.array(numbers[:cut], pa.float64()))
    second.add(pa.array(numbers[cut:], pa.float64()))
    second.merge(first)
    assert second.bins == whole.bins


@given(st.lists(st.floats(-1e9, 1e9).filter(lambda x: x == 0 or abs(x) > 1e-9), min_size=1), st.floats(0, 1))
def test_a_quantile_is_off_by_a_thousandth_at_most(numbers, share):
    sketch = Sketch()
    sketch.add(pa.array(numbers, pa.float64()))
    exact = np.quantile(numbers, share, method="inverted_cdf")
    assert sketch.quantile(share) == pytest.approx(exact, rel=1e-3, abs=1e-12)


def test_nothing_has_no_quantile_and_no_deviation():
    assert Sketch().quantile(0.5) is None
    assert Sketch().deviation() is None
