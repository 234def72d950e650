"""The compiled density of every family against 40 digits: in the bulk, and its logarithm in the tails; no clock."""

import pytest

from tests.benchmarks.bench_laws import ERROR, cases, measure


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_density_has_ten_digits(case):
    _, _, _, bulk, tail = measure(case)
    assert bulk + tail > 0  # something was compared
    assert bulk < ERROR
    assert tail < ERROR
