"""Positions that start alike: a correlation of sums of variances is 1, and rounding must not take its root below 0."""

import numpy as np
import pytest

from derivations import ConvBlock, derive, relu
from numerics import simulate_sde
from numerics.compile import compile_expression

NEURONS, LAYERS = 3, 100
PLAIN = ConvBlock(relu, width=NEURONS, positions=(3,), filter=(3,))


@pytest.mark.parametrize("norm", ["none", "rms"])
def test_the_covariance_is_finite_where_rounding_takes_a_correlation_beyond_1(norm):
    gram = derive(ConvBlock(relu, width=NEURONS, positions=(3,), filter=(3,), norm=norm)).closure
    entry = compile_expression(gram.process.states, (gram.noises[0, 1], gram.noises[0, 0]))
    alike = np.ones((400, len(gram.process.states)))
    rounded = alike * (1 + 4 * np.finfo(float).eps * np.random.default_rng(1).integers(-1, 2, size=alike.shape))
    found, variance = np.array([entry(*row) for row in rounded]).T
    assert np.abs(found - variance).max() < 1e-7
    apart = alike.copy()  # the control: where positions differ so does their covariance
    apart[:, [1, 2, 4]] = 0.5
    found, variance = np.array([entry(*row) for row in apart[:2]]).T
    assert np.all(found < 0.8 * variance)


def test_positions_that_start_alike_stay_alike_and_grow_as_derived():
    """Seven of ten paths left the range of numbers; each position has the noise V/2, so that the mean square grows by exp(t/2)."""
    x = simulate_sde(derive(PLAIN).limit, x0=1.0, t=1.0, steps=LAYERS, samples=4000, seed=3)
    assert np.all(np.isfinite(x))
    assert np.ptp(x.reshape(-1, NEURONS, 3), axis=2).max() < 1e-5 * np.abs(x).max()
    square = (x**2).mean(axis=1)
    error = square.std(ddof=1) / np.sqrt(len(square))
    derived = (1 + 0.5 / LAYERS) ** LAYERS  # of Euler's scheme, exactly
    assert abs(square.mean() - derived) < 4 * error
    assert abs(square.mean() - (1 + 0.6 / LAYERS) ** LAYERS) > 4 * error  # the control
