"""The variable that means are taken over is the same each time: what holds it already is not mixed up with it."""

import pytest
import sympy as sp

from derivations.gaussian import expect, expect_pair
from derivations.gaussian.single import _SCALE, on_dummy

x, k = sp.Symbol("x", real=True), sp.Symbol("k", positive=True)
_, INSIDE = on_dummy(x, x)  # as a mean that is being taken has it

MEANS = {
    "factor": lambda a: expect(a * sp.Max(x, 0) ** 2, x, 2),
    "variance": lambda a: expect(x**2, x, a**2),
    "mean": lambda a: expect(x**3, x, 2, a),
    "shift": lambda a: expect(sp.erf(x + a), x),
    "first of two": lambda a: expect_pair(a * sp.Max(x, 0), x**2, x, [[1, k / 2], [k / 2, 2]]),
    "second of two": lambda a: expect_pair(sp.Max(x, 0), a * x**2, x, [[1, k / 2], [k / 2, 2]]),
    "both": lambda a: expect_pair(x + a, a * x**2 + x, x, [[1, k / 2], [k / 2, 2]]),
    "correlation": lambda a: expect_pair(sp.sign(x), sp.sign(x), x, [[1, a], [a, 1]]),
}


@pytest.mark.parametrize("place", MEANS)
def test_a_parameter_may_be_the_variable_of_another_mean(place):
    other = sp.Symbol("a", real=True)
    mean = MEANS[place](INSIDE)
    assert mean.has_free(INSIDE)
    assert mean.xreplace({INSIDE: other}) == MEANS[place](other)


def test_the_variable_of_a_mean_that_is_being_taken_may_be_taken_over():
    assert expect(k * INSIDE**2, INSIDE, 3) == 3 * k
    assert expect(x * INSIDE**2, INSIDE, 3) == 3 * x
    assert expect_pair(INSIDE, INSIDE, INSIDE, [[2, 1], [1, 2]]) == 1


def test_a_variance_may_hold_the_letter_that_stands_for_variances():
    assert expect(sp.exp(_SCALE * x), x, _SCALE / 2) == sp.exp(_SCALE**3 / 4)
    assert expect(x**2 + _SCALE, x, k) == k + _SCALE
