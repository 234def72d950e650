"""Every family: its proof, and its compiled density against 40 digits, in the bulk and as a logarithm in the tails; no clock."""

import pytest

from derivations import recognise
from tests.benchmarks.bench_laws import ERROR, cases, measure


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_family_is_proved_on_every_interval(case):
    proof = recognise(case.process).prove()
    assert proof, str(proof)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_density_has_ten_digits(case):
    _, _, _, bulk, tail = measure(case)
    assert bulk + tail > 0  # something was compared
    assert bulk < ERROR
    assert tail < ERROR
