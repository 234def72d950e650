"""Random layers: weights drawn, in law and in machine code have one law; a wrong variance is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import Network
from derivations.language import Weights, average, drop_branch, dropout, layer_norm, rms_norm
from derivations.language.nodes import Factor
from derivations.symbols import state as x
from derivations.symbols import step as eps
from numerics import simulate_network

FUNCTIONS = (
    lambda v: sp.Max(v, 0),
    sp.tanh,
    lambda v: v / (1 + sp.exp(-v)),
    lambda v: v + sp.Abs(v - sp.Rational(1, 2)) / 2,
    lambda v: v,
)


class Maker:
    """A random layer of two to five statements; ``scale`` multiplies the variance of its first matrix."""

    def __init__(self, seed: int, scale: object = 1) -> None:
        self.rng, self.scale, self.made = np.random.default_rng(seed), sp.sympify(scale), []

    def pick(self, *what):
        return what[self.rng.integers(len(what))]

    def matrix(self, out):
        """A new matrix, or one more application of an old one of the same shape."""
        old = [w for w, rows in self.made if rows == out and out is None]
        if old and self.rng.random() < 0.3:
            return old[0]
        numbers = {
            "variance": sp.Rational(int(self.rng.integers(1, 4)), 2) * (self.scale if not self.made else 1),
            "mean": self.pick(0, 0, sp.Rational(1, 2)),
            "bias_variance": self.pick(0, 0, sp.Rational(1, 4)),
            "bias_mean": self.pick(0, 0, sp.Rational(-1, 3)),
        }
        size = {} if out is None else {"out": out}
        made = Weights(f"W{len(self.made)}", **size, **numbers)
        self.made.append((made, out))
        return made

    def read(self):
        """A body in the state's neurons."""
        body = self.pick(x, x, rms_norm(x), layer_norm(x), x - average(x), x * average(x**2) / 2)
        return self.pick(*FUNCTIONS)(body)

    def layer(self):
        """The new state."""
        hidden = self.pick(None, 3, 5, 7)
        if hidden is None:
            branch = self.matrix(None)(self.read())
        else:
            inside = self.pick(*FUNCTIONS)(self.matrix(hidden)(self.read()))
            if self.rng.random() < 0.4:
                inside = inside * self.matrix(hidden)(self.read())
            if self.rng.random() < 0.4:
                inside = dropout(inside, sp.Rational(3, 4), shared=bool(self.rng.integers(2)))
            branch = self.matrix(None)(inside)
        if self.rng.random() < 0.3:
            branch = drop_branch(branch, sp.Rational(4, 5), name="e")
        if self.rng.random() < 0.3:
            branch = branch * average(x**2)
        alone = branch if not branch.atoms(Factor) else x + branch  # a layer of zeros has no norm
        return self.pick(x + eps * branch, x + eps * branch, x / 2 + branch / 2, rms_norm(x + eps * branch), alone)


START = np.random.default_rng(0).normal(size=(4, 3))


def network(seed, scale=1):
    inputs = int(np.random.default_rng(seed).integers(1, 4))
    return Network(Maker(seed, scale).layer(), width=4, inputs=inputs)


def moments(sample):
    """Means and products of all coordinates, with their standard errors."""
    flat = sample.reshape(len(sample), -1)
    values = np.concatenate([flat, np.tanh(flat[:, :, None] * flat[:, None, :]).reshape(len(flat), -1)], axis=1)
    return values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))


def distance(one, other):
    """The largest distance of moments in standard errors, and how many there are."""
    (a, s), (b, r) = moments(one), moments(other)
    error = np.sqrt(s**2 + r**2)
    known = error > 1e-12
    return float(np.max(np.abs(a - b)[known] / error[known]))


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[pytest.mark.slow] if k > 3 else []) for k in range(12)])
def test_in_law_has_the_law_of_all_weights(seed):
    net, more = network(seed), {"x0": START[:, : network(seed).inputs], "depth": 2, "samples": 20_000}
    drawn = simulate_network(net, method="weights", seed=1, **more)
    assert np.isfinite(drawn).all()
    # 12 × at most 156 comparisons of two samples: 4.8 errors has a probability of about 3e-3 in all
    assert distance(simulate_network(net, seed=2, **more), drawn) < 4.8
    assert distance(simulate_network(network(seed, sp.Rational(7, 4)), seed=3, **more), drawn) > 4.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_machine_code_gives_the_numbers_of_the_arrays(seed):
    pytest.importorskip("numba", reason="machine-code kernels need the extra fast")
    net = network(seed)
    more = {"x0": START[:, : net.inputs], "depth": 3, "samples": 200, "seed": 1}
    arrays, kernel = (simulate_network(net, backend=b, **more) for b in ("numpy", "numba"))
    off = np.max(np.abs(kernel - arrays), axis=(1, 2)) / np.max(np.abs(arrays), axis=(1, 2))
    assert np.median(off) < 1e-12
    # fewer active neurons than inputs make a singular Gram matrix G: a pivot that should be 0 is rounding over the pivots before it,
    # and enters by its root
    assert np.max(off) < 1e-4
    assert np.max(np.abs(kernel - simulate_network(net, backend="numba", **(more | {"seed": 2})))) > 0.01


@pytest.mark.parametrize("seed", range(6))
def test_gaps_of_random_layers_are_those_of_their_states(seed):
    net = replace(network(seed), inputs=2)
    more = {"x0": START[:, :2], "depth": 2, "samples": 3, "seed": 1, "method": "weights"}
    states = simulate_network(net, **more)
    cosine = np.einsum("si,si->s", states[..., 0], states[..., 1]) / np.prod(np.linalg.norm(states, axis=1), axis=1)
    assert np.allclose(simulate_network(net, record="gap", **more)[:, 0, 1], 1 - cosine, rtol=1e-9)
