"""Exponents of the first step in the width against networks differentiated by JAX: filters, and weights with biases.

Widths are doubled thrice, and slopes are fitted as in ``test_first_steps``: a line in the logarithms and one term in 1/width.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, epsilon, scalings, symbols, tanh

jax = pytest.importorskip("jax", reason="networks are differentiated by the extra jax")
jnp = jax.numpy

n = symbols.width
WIDTHS, DEPTH, SAMPLES, ERRORS = (8, 16, 32, 64), 4, 400, 4.0


def filtered(w, x):
    """Three taps on a ring."""
    h = jnp.tanh(x)
    return sum(w[f"tap {s}"] @ jnp.roll(h, s, axis=1) for s in (-1, 0, 1)) / np.sqrt(3)


def biased(w, x):
    return w["A"] @ jnp.tanh(x) + w["bias"]


#: The layer, its branch in JAX, the matrices that a derived one stands for, positions of an input, and shapes of what is no square matrix.
CASES = {
    "filter": (
        Network(lambda x: x + epsilon * Weights("A", filter=3)(tanh(x)), width=n, positions=4),
        filtered,
        {"A": ["tap -1", "tap 0", "tap 1"]},
        4,
        {},
    ),
    "bias": (
        Network(lambda x: x + epsilon * Weights("A", bias_variance=1)(tanh(x)), width=n),
        biased,
        {"A": ["A"], "A bias": ["bias"]},
        1,
        {"bias": 1},
    ),
}


def measured(case, rule, width):
    """Mean squares, one row a network, by which the step of each matrix moves the state and the output; r = 1."""
    _, branch, groups, positions, columns = CASES[case]
    rng, size = np.random.default_rng(width), DEPTH**-0.5
    names = [name for group in groups.values() for name in group]
    draws = {name: rng.standard_normal((SAMPLES, DEPTH, width, columns.get(name, width))) for name in names}
    weights = {name: w if name in columns else w / np.sqrt(width) for name, w in draws.items()}
    x = rng.standard_normal((SAMPLES, width, positions))
    v = rng.standard_normal((SAMPLES, width)) / width

    @jax.jit
    @jax.vmap
    def moves(weights, x, v):
        def last(weights):
            return jax.lax.scan(lambda x, w: (x + size * branch(w, x), None), x, weights)[0]

        def output(weights):
            return v @ last(weights).mean(axis=1)

        gradient = jax.grad(output)(weights)
        step = gradient if rule == "sgd" else jax.tree.map(jnp.sign, gradient)
        found = []
        for group in groups.values():
            along = {name: step[name] * (name in group) for name in names}
            state = jax.jvp(last, (weights,), (along,))[1]
            found += [(state**2).mean(), (v @ state.mean(axis=1)) ** 2]
        return jnp.stack(found)

    return np.asarray(moves(weights, x, v))


def exponents(tables):
    """Slopes of the roots of mean squares, and their standard errors."""
    x = np.array(WIDTHS, float)
    design = np.stack([np.ones_like(x), np.log(x), x[0] / x], axis=1)
    found = []
    for column in range(tables[0].shape[1]):
        values = [t[:, column] for t in tables]
        error = np.array([v.std(ddof=1) / np.sqrt(len(v)) / v.mean() / 2 for v in values])
        weighted, seen = design / error[:, None], np.log([v.mean() for v in values]) / 2 / error
        covariance = np.linalg.inv(weighted.T @ weighted)
        found.append((float((covariance @ weighted.T @ seen)[1]), float(np.sqrt(covariance[1, 1]))))
    return found


def derived(case, rule):
    net, _, groups, *_ = CASES[case]
    found = scalings(net, training=True)
    point = {e: sp.Rational(v.numerator, v.denominator) for e, v in found.point({}, 1).items()}
    rows = [row for row in found.moved(rule, {}, readout=1) if row.name not in ("input", "readout")]
    powers = [getattr(row, word) for row in rows for word in ("state", "output")]
    assert len(rows) == len(groups)
    return [float(p.width.subs(point)) for p in powers]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sgd", "sign"])
@pytest.mark.parametrize("case", CASES)
def test_networks_of_doubled_widths_have_the_exponents(case, rule):
    with jax.enable_x64(True):
        tables = [measured(case, rule, width) for width in WIDTHS]
    for (slope, error), right in zip(exponents(tables), derived(case, rule), strict=True):
        assert abs(slope - right) < ERRORS * error
        for wrong in (-0.5, 0.5):
            assert abs(slope - right - wrong) > ERRORS * error
