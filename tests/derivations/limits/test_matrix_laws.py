"""Limits with matrices that are not Gaussian, and with variances that depend on depth."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import (
    DerivationError,
    Network,
    NotClosed,
    Weights,
    average,
    derive,
    dropout,
    epsilon,
    relu,
    tanh,
    width_limit,
)
from derivations.kernels import ntk
from derivations.language.entries import NAMED, matrix_law
from derivations.sums import CoordinateSum
from derivations.symbols import time
from derivations.symbols import width as n
from numerics import simulate_network
from tests.helpers import equal_symbolically

k = sp.Symbol("k", integer=True, positive=True)
V = sp.Symbol("V", positive=True)
A, H = Weights("A"), Weights("H", law="orthogonal")
LAWS = ["orthogonal", "rademacher", "uniform", "laplace", "truncated_normal", {4: sp.Rational(9, 5)}, (1, 2)]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_an_output_matrix_enters_by_its_covariance_only(law):
    plain, other = (
        derive(Network(lambda x, w=w: x + epsilon * w(relu(Weights("B", out=k)(x))), width=n, parameters=(k,)))
        for w in (Weights("W", variance=3), Weights("W", variance=3, law=law))
    )
    assert other.limit.neuron_covariance == plain.limit.neuron_covariance
    assert other.gram.covariance == plain.gram.covariance
    assert other.gram_law.name == "geometric Brownian motion"


def test_an_orthogonal_inner_matrix_is_uniform_on_the_sphere():
    # a row's coordinate h has E h² = 1/n and E h⁴ = 3/(n(n+2)); relu² is of degree 2, where Gaussians do the same
    square = derive(Network(lambda x: x + epsilon * A(H(x) ** 2), width=n))
    assert equal_symbolically(square.gram.drift[0], 3 * n * V**2 / (n + 2))
    half = derive(Network(lambda x: x + epsilon * A(relu(H(x)) ** 2), width=n))
    assert equal_symbolically(half.gram.drift[0], sp.Rational(3, 2) * n * V**2 / (n + 2))
    assert equal_symbolically(derive(Network(lambda x: x + epsilon * A(relu(H(x))), width=n)).gram.drift[0], V / 2)
    wide = Weights("H", law="orthogonal", out=2 * n)
    assert equal_symbolically(
        derive(Network(lambda x: x + epsilon * A(wide(x) ** 2), width=n)).gram.drift[0], 3 * n * V**2 / (n + 1)
    )


def test_an_odd_degree_needs_the_mean_length():
    # E |h|³ on the sphere: the mean drift of x + ε² relu(Hx)³ at n = 2 is ½ E|cos|³ = 2/(3π), times (n V)^{3/2}
    d = derive(Network(lambda x: x + epsilon**2 * relu(H(x)) ** 3, width=2))
    x1, x2 = d.limit.states
    assert equal_symbolically(d.limit.drift[0], 2 * (x1**2 + x2**2) ** sp.Rational(3, 2) / (3 * sp.pi))


def test_entries_of_an_inner_matrix_enter_by_their_moments():
    kurtosis = sp.Symbol("kappa", positive=True)
    w = Weights("W", out=k, law={4: kurtosis}, variance=2)
    d = derive(Network(lambda x: x + epsilon * A(w(x) ** 2), width=n, parameters=(k, kurtosis)))
    (row,) = d.limit.neuron_covariance
    second, fourth = sorted(row.atoms(CoordinateSum), key=str)
    # (W x)⁴ has the mean σ⁴(3 <x²>² + (κ - 3) <x⁴>/n), whatever k
    assert equal_symbolically(row, 4 * (3 * second**2 / n**2 + (kurtosis - 3) * fourth / n**2))
    assert "x_j**4" in str(fourth)
    assert d.gram is None


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_at_infinite_width_every_law_is_gaussian(law):
    w, gaussian = (Weights("W", law=given, bias_variance=2) for given in (law, "normal"))
    assert width_limit(_branch(w, inputs=2)).drift == width_limit(_branch(gaussian, inputs=2)).drift
    assert ntk(_branch(w)).drift == ntk(_branch(gaussian)).drift


def _branch(w: Weights, inputs: int = 1) -> Network:
    return Network(lambda x: x + epsilon * A(tanh(w(x))), width=sp.oo, inputs=inputs)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda x: x + epsilon * A(tanh(H(x))), "only functions are known that scale with their argument"),
        (lambda x: x + epsilon * A(relu(Weights("H", law="haar", bias_variance=1)(x))), "scale with their argument"),
        (lambda x: x + epsilon * A(tanh(Weights("U", law="uniform")(x))), "only polynomials are known by the moments"),
        (
            lambda x: x + epsilon * A(Weights("U", law=(0,))(x) ** 2),
            "moment of order 4 .* is needed, and only those up to order 3",
        ),
        (
            lambda x: x + epsilon * A(Weights("K", law="orthogonal", out=k)(x) ** 2),
            "dimension Max.* which number is larger is not known",
        ),
    ],
)
def test_what_is_not_known_of_a_law_is_refused_with_its_reason(layer, says):
    with pytest.raises(NotClosed, match=says):
        derive(Network(layer, width=n, parameters=(k,)))


@pytest.mark.parametrize(
    ("law", "says"),
    [
        ("ortogonal", "unknown law of weights 'ortogonal'; close names: orthogonal"),
        (3, "a name or its standardised moments"),
        ((), "needs a moment of order 3 or more"),
        ({2: 1}, "from order 3 on"),
        ({4: 3, 8: 105}, "moment of order 6 is left out"),
        ({4: sp.Rational(1, 2)}, "no law with mean 0 and variance 1 has the moments"),
        ((1, 1), "no law .* the fourth is at least"),
        ((0, 1, 0, 2), "no law"),
        ((0, 1, 1), "no law"),
        ((0, "x"), "moment must be a real number"),
        ((sp.I,), "moment must be a real number"),
    ],
)
def test_what_is_no_law_is_refused(law, says):
    with pytest.raises(DerivationError, match=says):
        Weights("A", law=law)


def test_named_moments_are_those_of_their_densities():
    z = sp.Symbol("z", real=True)
    densities = {
        "uniform": (1 / (2 * sp.sqrt(3)), sp.sqrt(3)),
        "laplace": (sp.exp(-sp.sqrt(2) * sp.Abs(z)) / sp.sqrt(2), sp.oo),
    }
    for name, (density, end) in densities.items():
        for r in range(3, 7):
            assert equal_symbolically(matrix_law(name).moment(r), sp.integrate(z**r * density, (z, -end, end)))
    cut = np.random.default_rng(0).standard_normal(400_000)
    cut = cut[abs(cut) < 2]
    fourth = np.mean(cut**4) / np.var(cut) ** 2
    assert abs(float(matrix_law("truncated_normal").moment(4)) - fourth) < 0.02
    assert set(NAMED) == {"uniform", "rademacher", "laplace", "truncated_normal"}
    assert matrix_law("rademacher").cumulant(4) == -2


c = sp.Symbol("c", positive=True)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda x: x + epsilon * Weights("A", variance=c)(x), "symbol c is neither .* in the matrix A"),
        (
            lambda x: x + epsilon * A(relu(Weights("B", out=k)(x))),
            "symbol k is neither .* in the number of neurons of B",
        ),
        (lambda x: x + epsilon * Weights("A", law={4: c})(x), "symbol c is neither .* in the matrix A"),
        (lambda x: x + epsilon * A(dropout(x, c)), "symbol c is neither .* in the factor d"),
        (lambda x: x + epsilon * c * A(x), "symbol c is neither"),
    ],
)
def test_symbols_that_are_not_declared_are_refused_wherever_they_stand(layer, says):
    with pytest.raises(DerivationError, match=says):
        Network(layer, width=3)


def test_a_variance_that_depends_on_depth_changes_the_clock():
    # log V gains (1/2 - 1/n)∫σ² with variance 2∫σ²/n
    layer = lambda x: x + epsilon * Weights("A", variance=1 + time)(relu(Weights("B", out=3)(x)))  # noqa: E731
    d = derive(Network(layer, width=n))
    assert equal_symbolically(d.gram.drift[0], (1 + time) * V / 2)
    assert equal_symbolically(d.gram.covariance[0], 2 * (1 + time) * V**2 / n)
    start = np.array([1.0, -0.5, 0.7, 0.3])
    after = simulate_network(Network(layer, width=4), 200, 3000, x0=start, seed=2, method="weights")
    log = np.log((after**2).sum(axis=(1, 2)) / (start**2).sum())
    error = log.std() / np.sqrt(len(log))
    assert abs(log.mean() - 0.25 * 1.5) < 4 * error
    assert abs(log.mean() - 0.25) > 4 * error  # a constant variance is seen to be another
    assert abs(log.var() - 0.75) < 0.08


def test_a_symmetric_law_gives_the_mean_of_the_even_part():
    """E relu(u)² is half of E u², whatever the fourth moment is; a step has no value at 0, which such entries can hit."""
    for law in ("uniform", "rademacher", "gaussian"):
        inner, outer = Weights("B", out=4, law=law), Weights("A", law=law)
        gram = derive(Network(lambda x, A=outer, B=inner: x + epsilon * A(relu(B(x))), width=n)).gram
        assert (gram.drift[0], gram.covariance[0]) == (V / 2, 2 * V**2 / n)
    uniform = Weights("B", law="uniform")
    for function in (tanh, lambda u: sp.Heaviside(u, 0)):
        with pytest.raises(NotClosed, match="only polynomials are known"):
            derive(Network(lambda x, f=function: x + epsilon * Weights("A")(f(uniform(x))), width=n))
    with pytest.raises(NotClosed, match="only polynomials are known"):  # odd moments that are not given may not vanish
        derive(Network(lambda x: x + epsilon * Weights("A")(relu(Weights("B", law={4: 2})(x))), width=n))


ROWS = {"row_covariance": [[1, sp.Rational(1, 2)], [sp.Rational(1, 2), 1]]}


@pytest.mark.parametrize("f", [sp.sin, relu, tanh, sp.exp], ids=str)
@pytest.mark.parametrize("out", ["alone", "read again"])
def test_functions_of_rows_that_depend_on_each_other_are_refused_by_that_cause(f, out):
    B = Weights("B", out=2, **ROWS)
    with pytest.raises(NotClosed, match=r"^rows of B depend on each other \(row_covariance\)"):
        derive(
            Network(
                lambda x: x + epsilon * (A(f(B(x))) if out == "read again" else f(B(x)) - average(f(B(x)))), width=2
            )
        )


def test_what_is_advised_for_such_rows_is_derived():
    x1, x2 = derive(Network(lambda x: x + epsilon * Weights("A", **ROWS)(relu(x)), width=2)).limit.states
    found = derive(Network(lambda x: x + epsilon * A(Weights("B", out=2, **ROWS)(x) ** 2), width=2)).limit.covariance
    assert sp.expand(found[0, 0] - 3 * (x1**2 + x2**2) ** 2 / 4) == 0  # E u⁴ = 3 s², whatever the rows' covariance
    apart = Weights("B", out=2, row_covariance=[[1, 0], [0, 2]])
    found = derive(Network(lambda x: x + epsilon * A(relu(apart(x))), width=2)).limit.covariance
    assert sp.expand(found[0, 0] - 3 * (x1**2 + x2**2) / 8) == 0


def test_averages_of_two_matrices_are_no_scores():
    """Scores are between positions; a layer without attention has none, and no keys to take to infinity."""
    B, C = Weights("B"), Weights("C")
    with pytest.raises(NotClosed, match=r"^the average <B\*C> over what a matrix puts out fluctuates") as refused:
        derive(Network(lambda x: x + epsilon * A(x) * sp.sin(average(B(x) * C(x))), width=3))
    assert "key" not in str(refused.value)
