"""DeepNorm as it is published: a skip of (2L)^(1/4), and both matrices of the branch scaled by (8L)^(-1/4), behind one norm."""

import functools
import math

import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtr

from derivations import Network, Weights, epsilon, gelu, layer_norm, relu, rms_norm, scalings, symbols

L, A, B = symbols.depth, Weights("A"), Weights("B")
SKIP, SCALE = (2 * L) ** sp.Rational(1, 4), (8 * L) ** sp.Rational(-1, 4)
K12 = sp.Symbol("K_12", real=True)


@functools.cache
def deepnorm(norm, activation, width):
    return scalings(Network(lambda x: norm(SKIP * x + SCALE * A(activation(SCALE * B(x)))), width=width))


@pytest.mark.parametrize("norm", [layer_norm, rms_norm])
@pytest.mark.parametrize(
    ("activation", "width", "added"), [(relu, sp.oo, (2, 2)), (gelu, sp.oo, (4, 2)), (gelu, 64, (2, 2))], ids=str
)
def test_both_scales_of_the_branch_have_exponents(norm, activation, width, added):
    found = deepnorm(norm, activation, width)
    assert list(found.terms.drift) == [added]
    assert found.terms.complete
    verdict = found.at()
    assert (verdict.kind, verdict.excess) == ("identity", 1 - sp.Rational(added[0], 4) - sp.Rational(added[1], 2))


def test_a_norm_hides_how_far_neurons_move():
    """GELU is linear at small arguments, and a linear branch turns all inputs alike: neurons move by 1/√L, their correlations by 1/L."""
    said = " ".join(str(deepnorm(rms_norm, gelu, sp.oo)).split())
    assert "what all layers add to them is of size 1/L; and the network tends to the identity" in said
    assert "neurons move by the size 1/sqrt(L) in the mean square" in said
    turning = scalings(Network(lambda x: rms_norm(x + epsilon * A(x)), width=sp.oo))
    assert "variances and correlations stay as they are, while single neurons diffuse" in " ".join(str(turning).split())
    larger = scalings(Network(lambda x: rms_norm(x + sp.sqrt(epsilon) * A(x)), width=sp.oo))
    assert "single neurons forget where they started: what all layers add to them is of size sqrt(L)" in " ".join(
        str(larger).split()
    )


def _moved(activation, sizes, rho, nodes=80):
    """By how much one infinitely wide layer moves the correlation of two inputs, by a product rule of its own."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    u, v = z[:, None], rho * z[:, None] + math.sqrt(1 - rho**2) * z[None, :]
    weights = w[:, None] * w[None, :] / (2 * math.pi)
    second = {
        (a is b): (weights * activation(sizes[0] * a) * activation(sizes[0] * b)).sum() for a, b in [(u, u), (u, v)]
    }
    return sizes[1] ** 2 * (second[False] - rho * second[True]) / (1 + sizes[1] ** 2 * second[True])


def test_one_wide_layer_moves_correlations_as_derived():
    ((powers, (_, rate)),) = deepnorm(rms_norm, gelu, sp.oo).terms.drift.items()
    rho, sizes = 0.2, (0.01, 0.001)
    derived = float(rate.subs(K12, rho)) * sizes[0] ** powers[0] * sizes[1] ** powers[1]
    # the sizes stand beside what 2 and 8 leave: 8^(-1/4) inside, and 8^(-1/4)/2^(1/4) in front
    layer = _moved(lambda y: y * ndtr(y), (sizes[0] * 8**-0.25, sizes[1] / 2), rho)
    assert derived / layer == pytest.approx(1, rel=1e-3)  # what is left is of the order of the smaller size's square
    assert derived * 1.01 / layer != pytest.approx(1, rel=1e-3)


def test_drawn_networks_follow_the_flow():
    """Two inputs through 100 layers of ReLU at the size with a limit, weights drawn."""
    ((_, (_, rate)),) = deepnorm(rms_norm, relu, sp.oo).terms.drift.items()
    slope = sp.lambdify(K12, rate)
    depth, width, networks, time = 100, 200, 24, 12.0
    rho, small = 0.1, math.sqrt(time / depth)  # of both sizes together
    rng, start = np.random.default_rng(3), rng_free_pair(width, rho)
    x = np.repeat(start[None], networks, axis=0)
    for _ in range(depth):
        a, b = rng.standard_normal((2, networks, width, width)).astype(np.float32) / math.sqrt(width)
        y = x + small / 2 * 8**-0.25 * a @ np.maximum(b @ x, 0)
        x = y / np.sqrt((y**2).mean(axis=1, keepdims=True))
    ends = (x[..., 0] * x[..., 1]).mean(axis=1)
    error = ends.std(ddof=1) / math.sqrt(networks)

    def end(factor):
        k = rho
        for _ in range(2000):
            k += factor * slope(k) * time / 2000
        return k

    assert abs(ends.mean() - end(1)) < 4 * error
    assert abs(ends.mean() - end(2)) > 4 * error


def rng_free_pair(width, rho):
    """Two inputs of mean square 1 and a given correlation."""
    k = np.arange(width) + 0.5
    u, v = math.sqrt(2) * np.cos(math.pi * k / width), math.sqrt(2) * np.cos(2 * math.pi * k / width)
    return np.stack([u, rho * u + math.sqrt(1 - rho**2) * v], axis=1).astype(np.float32)
