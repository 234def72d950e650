"""No monomial is missed: exponents of what all layers add, against the layer's own mean and variance at depths up to 10^60."""

from __future__ import annotations

import random
import time

import mpmath
import pytest
import sympy as sp

from derivations import Network, Weights, average, epsilon, scalings
from derivations.symbols import state

c, m, s = sp.symbols("c m s", positive=True)
A, B, C = (Weights(name) for name in "ABC")
X0 = mpmath.mpf("0.7")


def random_layer(rng):
    """Drift and noise in closed form, of sizes that stand inside functions, alone and in products."""

    def term():
        u = rng.choice((state, m * state, s * state, m * s * state))
        f = rng.choice((sp.sin, sp.tanh, sp.atan))(u) ** rng.choice((1, 2, 3))
        return rng.choice((c, c, c * s, c**2, c * m)), f

    drift = sum((rng.choice((1, -2, 3)) * sp.Mul(*term()) for _ in range(rng.randrange(3))), sp.S.Zero)
    return drift, term()


FOUND = {
    "drift inside a function": (c * sp.tanh(m * state) ** 2, (c, state)),
    "third power beside the noise's square": (c * s * sp.tanh(m * state) ** 3, (c, sp.tanh(m * state))),
    **{f"seed {k}": random_layer(random.Random(k)) for k in (0, 1, 2, 4, 5)},
}
HEAVY = ("seed 1", "seed 5")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(k, marks=pytest.mark.slow) if k in HEAVY else k for k in FOUND])
def test_what_all_layers_add_has_the_exponent_of_the_layer_itself(name):
    drift, (factor, body) = FOUND[name]
    noise = factor * body
    used = tuple(p for p in (c, m, s) if (drift + noise).has(p))
    found = scalings(Network(lambda x: x + drift + factor * Weights("A")(body), width=2, parameters=used), small=used)
    assert found.terms.complete
    values = [sp.lambdify((state, *used), part, "mpmath") for part in (drift, noise**2)]
    rng, differs = random.Random(1), False
    for _ in range(20):
        exponents = {size.exponent: sp.Rational(rng.randrange(0, 9), 8) for size in found.family.sizes}

        def added(depth, exponents=exponents):
            sizes = [depth ** -mpmath.mpf(float(exponents[size.exponent])) for size in found.family.sizes]
            return max(depth * abs(value(X0, *sizes)) for value in values)

        with mpmath.workdps(200):
            large, larger = mpmath.mpf(10) ** 50, mpmath.mpf(10) ** 60
            measured = float(mpmath.log(added(larger) / added(large)) / mpmath.log(larger / large))
        # exponents are multiples of 1/8, so smaller terms are a share of 10^(-50/8) at most, times numbers of order 1
        derived = float(found.at(exponents).excess)
        assert abs(measured - derived) < 1e-4, exponents
        differs |= abs(derived) > 0.1
    assert differs


def test_rates_at_infinite_width_wait_until_words_need_them():
    layer = Network(
        lambda x: x + epsilon * A(B(x**2 * average(x**2) ** 2) ** 2 * C(sp.Abs(x) * average(sp.Abs(x)))), width=4
    )
    start = time.process_time()
    found = scalings(layer)
    assert time.process_time() - start < 8  # 0.5 by itself; with both rates at infinite width more than 45
    assert set(found.terms.noise) == {(2, 0)}
    assert "_norm_rates" not in vars(found)
    assert found.long_run(tuple(found.terms.noise)).kind == "explodes"
    assert "_norm_rates" in vars(found)
