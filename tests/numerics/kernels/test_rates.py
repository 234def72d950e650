"""How fast finite networks approach the doubly infinite limit, in width and in depth: slopes with their standard errors.

Each slope is fitted to the distance from a derived limit, and each has a control: the same fit with the limit of weights
whose noise is 5 % too large, which must not look like the same rate.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import ShrinkingResNet, erf, identity, relu, silu, sine
from derivations.kernels import explosion_depth
from numerics.kernels import kernel_matrix
from numerics.networks import simulate_network
from numerics.statistics import Estimate, convergence_order, richardson

pytestmark = pytest.mark.slow
INPUTS = np.array([[1.0, 0.5], [-0.4, 1.0]])
WRONG = sp.Rational(441, 400)


def grams(network, width, depth, samples, seed):
    """Second moments of both inputs' neurons, one row per network."""
    both = replace(network, width=width, inputs=2)

    def record(x):
        return np.einsum("snm,snk->smk", x, x) / width

    return simulate_network(both, depth, samples, inputs=INPUTS, seed=seed, at=[depth], record=record)[0]


def limits(network):
    """The derived kernel, and that of the control."""
    return (kernel_matrix(replace(network, weight_variance=f), INPUTS) for f in (sp.S.One, WRONG))


def test_depth_enters_as_one_over_L():
    # sine(x) = x - x³/6 outside: a layer of size h adds S h - (S h)² + …, and E K is linear: at any width the bias is of order 1/L
    network = ShrinkingResNet(sine, identity, width=sp.oo)
    right, wrong = limits(network)
    depths = (8, 16, 32, 64)
    found = [Estimate.of(grams(network, 16, L, 40_000, L)[:, 0, 0]) for L in depths]

    def fitted(limit):
        return convergence_order(depths, [f - Estimate(limit[0, 0], 0.0) for f in found]).order

    slope = fitted(right)
    assert slope.error < 0.15
    assert slope.test(1.0).p_value > 1e-3
    assert fitted(wrong).test(1.0).p_value < 1e-3  # the control


def test_width_enters_as_one_over_n():
    # erf inside: E erf(X)² is no linear function of K, so that its fluctuations, of variance 1/n, leave a bias
    network = ShrinkingResNet(identity, erf, width=sp.oo, weight_variance=2)
    right = kernel_matrix(network, INPUTS)
    wrong = kernel_matrix(replace(network, weight_variance=2 * WRONG), INPUTS)
    widths = (1, 2, 4, 8)
    found = [
        richardson(*(Estimate.of(grams(network, n, L, 200_000, 10 * n + L)[:, 0, 0]) for L in (16, 32))) for n in widths
    ]
    slope = convergence_order(widths, [f - Estimate(right[0, 0], 0.0) for f in found])
    assert slope.order.error < 0.3
    assert slope.order.test(1.0).p_value > 1e-3
    control = convergence_order(widths, [f - Estimate(wrong[0, 0], 0.0) for f in found])
    assert control.order.test(1.0).p_value < 1e-3


@pytest.mark.parametrize("inner", [relu, erf], ids=str)
def test_one_network_is_off_by_one_over_the_root_of_n(inner):
    # E (K_n - K)² falls as 1/n: a single wide network has the kernel as its Gram matrix
    network = ShrinkingResNet(sine, inner, width=sp.oo)
    right, wrong = limits(network)
    widths = (16, 64, 256, 1024)
    runs = [grams(network, n, 128, 16_000 // n + 200, n) for n in widths]

    def fitted(limit):
        return convergence_order(widths, [Estimate.of((run[:, 0, 0] - limit[0, 0]) ** 2) for run in runs]).order

    found = fitted(right)
    assert found.error < 0.2
    assert found.test(1.0).p_value > 1e-3
    assert fitted(wrong).test(1.0).p_value < 1e-3  # the control: what is left at large n is its distance


def test_swish_networks_explode_where_the_closed_form_says():
    # from K_0 = 1/4, K^(-1/2) falls on a line to 0 at the explosion: networks pass K = 4 at three quarters of it
    def derived(factor):
        network = ShrinkingResNet(silu, identity, width=sp.oo, weight_variance=factor)
        return float(explosion_depth(network).subs(sp.Symbol("K_0", positive=True), sp.Rational(1, 4))) - 4 / (
            2 * float(factor)
        )  # 1/(α √4), α = ¼ σ_w²

    def passes(size, seed):
        kept = simulate_network(
            ShrinkingResNet(silu, identity, width=size),
            6 * size,
            200,
            inputs=[[0.5]],
            t=12.0,
            seed=seed,
            at=list(range(6 * size + 1)),
            record=lambda x: np.mean(x**2, axis=(1, 2)),
        )
        found = []
        for path in 1 / np.sqrt(kept.T):
            after = int(np.argmax(path < 0.5))  # the first layer beyond; the line to it from the one before crosses
            assert after > 0
            found.append((after - (0.5 - path[after]) / (path[after - 1] - path[after])) / size * 2)
        return Estimate.of(found)

    found = richardson(passes(128, 1), passes(256, 2))
    assert found.test(derived(1)).p_value > 1e-3
    assert found.test(derived(WRONG)).p_value < 1e-3


def test_after_the_explosion_networks_grow_beyond_bounds():
    def ends(outer, size, **parameters):
        network = ShrinkingResNet(outer, identity, width=size, **parameters)
        x = simulate_network(network, 4 * size, 40, inputs=[[0.5]], t=10.0, seed=size)
        return np.mean(x**2, axis=(1, 2))

    coarse, fine = ends(silu, 64), ends(silu, 256)
    assert fine.min() > 1e3
    assert np.median(fine) > 10 * np.median(coarse)  # the deeper, the larger
    # the control: the same noise without the curvature, K = e^{t/4}/4 = 3.0 at t = 10
    flat = ends(identity, 256, weight_variance=sp.Rational(1, 4))
    assert flat.max() < 10
