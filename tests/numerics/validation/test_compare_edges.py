"""Samples of networks on which a test could lose its sight."""

from __future__ import annotations

import numpy as np
import pytest

from derivations import ResNet, derive, jacobian, relu
from numerics import compare, simulate_network, validate
from numerics.statistics import ks_samples


@pytest.mark.parametrize("t", [1.0, 100.0, 1e9])
def test_samples_on_both_sides_of_a_law_that_is_a_point_for_doubles_differ(t):
    """Their ranks are ±1, so that even scores do not vary: these were left out, and the odd ones are 0 in the mean."""
    d = derive(ResNet(relu, width=1))
    mine = np.random.default_rng(0).standard_normal((200, 1, 1))
    assert not compare(d, mine, t=t)
    assert not compare(d, np.ones((200, 1, 1)), t=t)  # samples that do not vary at all


def test_right_samples_agree():
    net = ResNet(relu, width=1)
    assert compare(derive(net), simulate_network(net, 500, 2000, x0=1.0, seed=1))


def test_a_control_that_is_not_seen_is_an_error():
    with pytest.raises(ValueError, match="a distance of 0 is not seen with fewer than"):
        ks_samples(0.0, level=1e-3)
    with pytest.raises(ValueError, match="the control is not seen from"):
        validate(jacobian(ResNet(relu, width=2)), x0=0.0)


@pytest.mark.parametrize(
    ("samples", "depth", "said"),
    [
        (np.ones((300, 2)), 0, "depth must be the number of layers of your networks, at least 1, got 0"),
        (np.ones((0, 2)), None, "0 samples are too few"),
        (np.where(np.arange(300)[:, None] == 3, np.nan, np.ones((300, 2))), None, "1 sample is nan; leave it out"),
    ],
)
def test_samples_that_say_nothing_are_refused_in_the_users_words(samples, depth, said):
    with pytest.raises(ValueError, match=said):
        compare(derive(ResNet(relu, width=2)), samples, x0=1.0, depth=depth)
