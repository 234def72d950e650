"""Maps of variance and correlation of layers that are not near the identity, against integrals by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    Network,
    Weights,
    epsilon,
    gelu,
    layer_norm,
    leaky_relu,
    relu,
    rms_norm,
    scalings,
    selu,
    tanh,
)
from derivations.symbols import correlation
from derivations.symbols import width as n

A, B = Weights("A"), Weights("B", out=4 * n)
s = sp.Symbol("s", positive=True)
r = sp.Symbol("r", real=True)


def text_of(layer, width=n, **words):
    return " ".join(str(scalings(Network(layer, width=width, **words))).split())


def arc_cosine(rho):
    """E φ(u)φ(v) over E φ(u)² for ReLU."""
    return (math.sqrt(1 - rho**2) + rho * (math.pi - math.acos(rho))) / math.pi


@pytest.mark.parametrize(
    ("layer", "factor"),
    [
        (lambda x: relu(A(x)), 1 / 2),
        (lambda x: x + A(relu(B(x))) / 10, 1 + 1 / 200),
        (lambda x: Weights("W", variance=3)(leaky_relu(sp.Rational(1, 5))(x)), 3 * 0.52),
    ],
)
def test_correlations_of_homogeneous_layers_are_at_the_edge_whatever_the_variance_does(layer, factor):
    """A layer multiplies squared distances by the same factor as variances: correlations know nothing of it."""
    maps = scalings(Network(layer, width=n)).maps
    assert float(maps.factor) == pytest.approx(factor)
    (one,) = maps.correlation_rests(sp.S.One)
    assert float(one.slope) == pytest.approx(1)
    assert one.is_stable is None
    said = text_of(layer)
    assert "Relative to the variance a layer multiplies the squared distance of close inputs by 1" in said
    assert "inputs come together more slowly than geometrically" in said
    assert "in finitely many layers" not in said


def test_relu_layers_bring_inputs_together_like_a_power_of_the_depth():
    rho, gaps = 0.5, []  # 1 − ρ falls like l^-2; at a geometric rate the slope would be in the thousands
    for _ in range(4000):
        rho = arc_cosine(rho)
        gaps.append(1 - rho)
    assert math.log(gaps[999] / gaps[3999]) / math.log(4) == pytest.approx(2, abs=0.1)
    maps = scalings(Network(lambda x: relu(A(x)), width=n)).maps
    value = maps.correlations(sp.S.One)
    assert float(value.subs(correlation, sp.Rational(1, 3))) == pytest.approx(arc_cosine(1 / 3))


def test_linear_layers_keep_correlations():
    assert "correlations are kept" in text_of(lambda x: A(x))


def nodes():
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    return points, weights / weights.sum()


@pytest.mark.slow
def test_a_norm_behind_the_sum_is_at_rest_and_its_branch_gets_a_size():
    """A block of GELU with its norm behind the sum: variance 1, χ = (1 + E φ'²)/(1 + E φ²), and a correlation that rests."""
    z, w = nodes()
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])
    slope = cdf + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    square = w @ (z * cdf) ** 2

    def moved(rho):
        second = rho * z[:, None] + math.sqrt(1 - rho**2) * z[None, :]
        value = second * np.array([[0.5 * (1 + math.erf(v / math.sqrt(2))) for v in row] for row in second])
        return (rho + w @ ((z * cdf)[:, None] * value) @ w) / (1 + square)

    for layer in (lambda x: rms_norm(x + A(gelu(B(x)))), lambda x: layer_norm(x + A(gelu(B(x))))):
        for width in (n, 64):
            made = scalings(Network(layer, width=width))
            assert [sp.Eq(sp.Symbol("p", real=True), sp.Rational(1, 2))] == list(made.regimes[0].conditions)
            (rest,) = made.maps.rests
            assert rest.value == 1
            low, one = made.maps.correlation_rests(sp.S.One)
            assert float(one.slope) == pytest.approx((1 + w @ slope**2) / (1 + square), abs=1e-9)
            assert moved(float(low.value)) == pytest.approx(float(low.value), abs=1e-6)
            assert abs(moved(0.9) - 0.9) > 1e-4  # the control: it does not rest there


@pytest.mark.parametrize("norm", [rms_norm, layer_norm])
def test_a_norm_behind_two_sums_has_a_size_for_each(norm):
    def layer(x):
        y = norm(x + Weights("C")(tanh(x)))
        return norm(y + A(relu(B(y))))

    made = scalings(Network(layer, width=n))
    assert [size.of for size in made.family.sizes] == ["C", "A"]
    assert [regime.kind for regime in made.regimes] == ["drift and noise"] * 3  # both branches, or one of them
    assert made.family.introduced == 1


def test_what_is_no_skip_gets_no_size_inside():
    made = scalings(Network(lambda x: tanh(x + A(x)), width=n))
    assert made.family.introduced is None
    assert "the state goes through a function, alone or with its branch" in str(made).replace("\n   ", " ")
    product = scalings(Network(lambda x: x + x * A(tanh(x)), width=n))
    assert product.family.introduced == 1


def test_parameters_stay_symbols():
    assert "Every variance is multiplied by s**2/2 + 1: it grows geometrically" in text_of(
        lambda x: x + s * A(relu(B(x))), parameters=[s]
    )
    assert "multiplied by s/2: above 1 it grows, and below 1 it vanishes, geometrically" in text_of(
        lambda x: Weights("W", variance=s)(relu(x)), parameters=[s]
    )
    assert "Which variances rest depends on s" in text_of(lambda x: Weights("W", variance=s)(tanh(x)), parameters=[s])
    assert "No variance above 0 rests: it grows" in text_of(
        lambda x: Weights("W", variance=2, bias_variance=s)(relu(x)), parameters=[s]
    )
    rests = scalings(
        Network(lambda x: Weights("W", variance=1, bias_variance=s)(relu(x)), width=n, parameters=[s])
    ).maps.rests
    assert [point.value for point in rests] == [2 * s]
    assert "multiplied by r**2/2 + 1: above 1 it grows" in text_of(lambda x: x + r * A(relu(B(x))), parameters=[r])


def test_norms_behind_small_branches_end():
    made = scalings(Network(lambda x: rms_norm(x + epsilon * A(relu(x))), width=n))
    assert [regime.kind for regime in made.regimes] == ["drift and noise"]


@pytest.mark.parametrize(
    ("layer", "map_by_hand", "start"),
    [
        (lambda x: A(tanh(rms_norm(x))), lambda v: 0.39429449039746, 1.0),  # a Gaussian mean without a closed form
        (
            lambda x: A(x**5 / 30 + sp.Rational(1, 5)),
            lambda v: 945 * v**5 / 900 + 1 / 25,
            0.5,
        ),  # roots without formulas
        (
            lambda x: A(x**3 / 6 + x / 3 + sp.Rational(1, 3)),  # real roots written with i
            lambda v: 15 * v**3 / 36 + v**2 / 3 + v / 9 + 1 / 9,
            0.5,
        ),
    ],
)
def test_variances_that_rest_are_found_where_no_formula_tells_their_sign(layer, map_by_hand, start):
    """ "No variance above 0 rests" was said of all three."""
    maps = scalings(Network(layer, width=sp.oo)).maps
    for _ in range(200):
        start = map_by_hand(start)
    rests = [float(one.value) for one in maps.rests]
    assert rests[0] == pytest.approx(start, rel=1e-9)
    assert all(map_by_hand(value) == pytest.approx(value, rel=1e-9) for value in rests)
    assert map_by_hand(1.01 * rests[0]) != pytest.approx(1.01 * rests[0], rel=1e-3)  # the control


def test_a_map_is_asked_no_further_than_numbers_go():
    # SELU's map is asked at ever larger variances, until an exponential in it is larger than what is computed: TooLarge came out
    (rest,) = scalings(Network(lambda x: Weights("W")(selu(x)), width=n)).maps.rests
    assert abs(float(rest.value) - 1) < 1e-6  # its constants are made so
    assert rest.is_stable


def hermite(f, degree=160):
    """A Gaussian mean by quadrature on both sides of 0, where activations have their kinks."""
    x, w = np.polynomial.legendre.leggauss(degree)
    nodes = np.concatenate([6.5 * (x - 1), 6.5 * (x + 1)])
    weights = 6.5 * np.concatenate([w, w])
    return float(np.sum(weights * f(nodes) * np.exp(-(nodes**2) / 2)) / math.sqrt(2 * math.pi))


@pytest.mark.parametrize("name", ["selu", pytest.param("elu", marks=pytest.mark.slow), "leaky_relu", "tanh"])
def test_slopes_of_perceptrons_whatever_the_length_of_their_constants(name):
    """The critical variance of SELU is a fraction of numbers with 60 digits; slopes came out as 0 where digits below 1e-15 were cut inside."""
    scale, alpha = (1.0507009873554805, 1.6732632423543772) if name == "selu" else (1.0, 1.0)
    value, slope = {
        "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
        "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    }.get(
        name,
        (
            lambda z: scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
            lambda z: scale * np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0))),
        ),
    )
    square = hermite(lambda z: value(z) ** 2)
    maps = scalings(MLP(name)).maps
    moves = hermite(lambda z: value(z) * slope(z) * z) / square
    assert float(maps.slope_at_one) == pytest.approx(moves, rel=1e-9)
    if maps.factor is None:
        (rest,) = maps.rests
        assert float(rest.value) == pytest.approx(1, rel=1e-9)
        assert float(rest.slope) == pytest.approx(moves, rel=1e-9)
        *apart, close = maps.correlation_rests(rest.value)
        assert float(close.slope) == pytest.approx(hermite(lambda z: slope(z) ** 2) / square, rel=1e-9)
        if name != "elu":  # whose mean is not 0, so that inputs rest elsewhere
            (zero,) = apart
            assert float(zero.value) == 0
            assert float(zero.slope) == pytest.approx(hermite(slope) ** 2 / square, abs=1e-3)  # of a place near 0
    assert abs(float(maps.slope_at_one) - 1.1 * moves) > 1e-2


def test_a_slope_that_is_0_is_0():
    (rest,) = scalings(Network(lambda x: rms_norm(A(gelu(B(x)))), width=n)).maps.rests
    assert rest.slope == 0
