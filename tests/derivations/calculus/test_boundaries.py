"""Ends of a scalar diffusion: Feller's classes with parameters, explosion, stationary laws, exits, the angle."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, depth_limit, identity, relu, tanh
from derivations.calculus.angle import angle, angle_diffusion
from derivations.calculus.boundaries import classify, explosion, limits_almost_surely
from derivations.calculus.exits import hitting_probability, mean_exit_time, stationary
from derivations.calculus.finiteness import converges, tidy_condition
from derivations.calculus.intervals import moving_interval
from derivations.calculus.ito import generator
from derivations.calculus.kolmogorov import forward
from derivations.calculus.speed import scale_density, speed_density
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm, NotClosed
from tests.helpers import equal_by_sampling, equal_symbolically

x = sp.Symbol("x", real=True)
p, y = sp.symbols("p y", positive=True)
beta, delta, kappa = sp.symbols("beta delta kappa", real=True)
k = sp.Symbol("k", positive=True)
half_line = sp.Interval.open(0, sp.oo)


def on_half_line(drift, variance):
    return Diffusion((p,), [drift], [[variance]], half_line)


shaped = on_half_line(kappa * p * (p - 1), 2 * p**2)  # one input of a shaped smooth perceptron


@pytest.mark.parametrize(
    ("log_derivative", "expected"),
    [
        (-1 / (2 * y), True),
        (-2 / y, False),
        (-1 / y, False),
        (-delta / y, delta < 1),
        (delta / y**2, delta >= 0),
        (-1 / y - 2 / (y * sp.log(y)), True),  # f = 1/(y log² y)
        (-1 / y - 1 / (2 * y * sp.log(y)), False),  # f = 1/(y √|log y|)
    ],
)
def test_convergence_from_the_logarithmic_derivative(log_derivative, expected):
    assert converges(log_derivative, y) == expected


@pytest.mark.parametrize("power", [sp.Rational(-3, 2), sp.Rational(-1, 2), sp.Rational(1, 3)])
def test_convergence_agrees_with_integrals(power):
    finite = sp.integrate(y**power, (y, 0, 1)).is_finite
    assert converges(power / y, y) == sp.sympify(bool(finite))


def test_conditions_are_brought_to_intervals():
    assert tidy_condition(((kappa < 1) & ~(kappa < 0)) | sp.Eq(kappa, 1)) == (kappa >= 0) & (kappa <= 1)
    assert tidy_condition((kappa < 1) & (kappa > 2)) == sp.false
    assert tidy_condition((k > 1) | (k <= 1)) == sp.true


@pytest.mark.parametrize(
    ("process", "left", "right"),
    [
        (Diffusion((x,), [0], [[1]]), {"natural": True}, {"natural": True}),
        (Diffusion((x,), [0], [[(1 + x**2) ** 2]]), {"entrance": True}, {"entrance": True}),
        (Diffusion((x,), [x**3], [[1]]), {"exit": True}, {"exit": True}),
        (on_half_line(0, p**4), {"natural": True}, {"entrance": True}),  # inverse Bessel: a strict local martingale
        (
            on_half_line(0, p ** (2 * beta)),  # constant elasticity of variance
            {
                "regular": beta < sp.Rational(1, 2),
                "exit": (beta >= sp.Rational(1, 2)) & (beta < 1),
                "natural": beta >= 1,
            },
            {"entrance": beta > 1, "natural": beta <= 1},
        ),
        (
            on_half_line((delta - 1) / (2 * p), sp.S.One),  # Bessel
            {"regular": (delta > 0) & (delta < 2), "exit": delta <= 0, "entrance": delta >= 2},
            {"natural": True},
        ),
        (
            on_half_line(k * (delta - p), p),  # Cox, Ingersoll and Ross
            {
                "regular": (delta > 0) & (delta < 1 / (2 * k)),
                "exit": delta <= 0,
                "entrance": delta >= 1 / (2 * k),
            },
            {"natural": True},
        ),
        (Diffusion((x,), [0], [[x * (1 - x)]], sp.Interval.open(0, 1)), {"exit": True}, {"exit": True}),
        (shaped, {"natural": True}, {"exit": kappa > 0, "entrance": kappa < 0, "natural": sp.Eq(kappa, 0)}),
    ],
)
def test_feller_classes(process, left, right):
    ends = classify(process)
    assert ends[0].kinds == left
    assert ends[1].kinds == right


def test_the_class_depends_on_the_next_order_at_critical_parameters():
    # control: κ = 0 alone is natural; a test of generic parameters only would call it entrance
    _, right = classify(shaped)
    at_zero = classify(on_half_line(0, 2 * p**2))[1]
    assert at_zero.kind == "natural"
    assert right.kinds["natural"] == sp.Eq(kappa, 0)


@pytest.mark.slow
def test_explosion_with_parameters():
    assert explosion(shaped) == (kappa > 0)
    assert explosion(Diffusion((x,), [k * x], [[1]])) == sp.false
    # logarithms decide: dx = x log² x explodes, dx = x log x does not
    assert explosion(on_half_line(p * sp.log(p) ** 2, sp.S.One)) == sp.true
    assert explosion(on_half_line(p * sp.log(p), sp.S.One)) == sp.false


def test_where_the_shaped_norm_goes():
    # almost surely to 0 for −1 < κ ≤ 0; at κ = −1 it is null recurrent and goes there in probability only
    to_zero, to_infinity = limits_almost_surely(shaped).values()
    assert to_zero == (kappa > -1) & (kappa <= 0)
    assert to_infinity == sp.false


def test_classes_with_parameters_need_numbers_for_one_answer():
    with pytest.raises(DerivationError, match="depends on the parameters"):
        _ = classify(shaped)[1].kind
    assert classify(Diffusion((x,), [x**3], [[1]]))[1].boundary.reached


@pytest.mark.slow
def test_scale_is_harmonic_and_speed_stationary():
    for process in (shaped, on_half_line(k * (2 - p), p), Diffusion((x,), [-x], [[1]])):
        ends = (process.domain.inf, process.domain.sup)
        (state,) = process.states
        scale = sp.Function("S")(state)
        image = generator(process, scale).subs(sp.diff(scale, state, 2), sp.diff(scale_density(process, ends), state))
        assert sp.expand(sp.cancel(image.subs(sp.diff(scale, state), scale_density(process, ends)).doit())) == 0
        assert equal_symbolically(forward(process, speed_density(process, ends)), 0)


def test_stationary_law_of_the_shaped_norm_is_gamma():
    law = stationary(shaped)
    assert law.condition == (kappa < -1)
    shape, rate = -kappa - 1, -kappa
    gamma = rate**shape * p ** (shape - 1) * sp.exp(-rate * p) / sp.gamma(shape)
    assert equal_symbolically(sp.powsimp(law.density / gamma), 1)
    for value in (-2, -5):
        mass = mpmath.quad(sp.lambdify(p, law.density.subs(kappa, value), "mpmath"), [0, 1, 5, mpmath.inf])
        assert abs(mass - 1) < 1e-10
    with pytest.raises(NoClosedForm, match="no stationary law"):
        stationary(on_half_line(p, p**2))


def test_hitting_probabilities():
    m = sp.Symbol("mu", positive=True)
    drifted = Diffusion((x,), [m], [[1]])
    ruin = hitting_probability(drifted, x, sp.S.Zero, sp.Integer(1))
    assert equal_symbolically(ruin, (1 - sp.exp(-2 * m * x)) / (1 - sp.exp(-2 * m)))
    assert equal_symbolically(generator(drifted, ruin), 0)
    with pytest.raises(NoClosedForm, match="recurrent"):
        hitting_probability(Diffusion((x,), [0], [[1]]), x, -sp.oo, sp.oo)
    with pytest.raises(DerivationError, match="low < start < high"):
        hitting_probability(drifted, sp.Integer(3), sp.S.Zero, sp.S.One)


@pytest.mark.slow
@pytest.mark.parametrize("drift", [sp.S.Zero, sp.Rational(2, 3)])
def test_mean_exit_time_solves_its_equation(drift):
    process = Diffusion((x,), [drift], [[1]])
    u = mean_exit_time(process, x, sp.Integer(-1), sp.Integer(2))
    assert equal_by_sampling(generator(process, u), -1, {x: [sp.Rational(-1, 2), sp.Rational(1, 3), sp.Rational(7, 4)]})
    assert equal_symbolically(u.subs(x, -1), 0)
    assert equal_symbolically(u.subs(x, 2), 0)
    with pytest.raises(AssertionError):  # control
        assert equal_by_sampling(generator(Diffusion((x,), [drift], [[2]]), u), -1, {x: [sp.Rational(1, 3)]})


@pytest.mark.slow
def test_mean_exit_time_without_elementary_integrals():
    # Ornstein–Uhlenbeck from 0 out of (−a, a): 2∫₀ᵃ e^{y²} ∫₀^y e^{−v²} dv dy by symmetry
    found = mean_exit_time(Diffusion((x,), [-x], [[1]]), sp.S.Zero, -sp.S.One, sp.S.One)
    expected = mpmath.quad(lambda v: 2 * mpmath.exp(v * v) * mpmath.sqrt(mpmath.pi) / 2 * mpmath.erf(v), [0, 1])
    assert abs(complex(sp.lambdify((), found, "mpmath")()) - expected) < 1e-8


def test_moving_interval_is_between_zeros_of_the_noise():
    process = Diffusion((x,), [0], [[sp.Piecewise((0, x < 0), (x**2 * (1 - x) ** 2, True))]])
    assert moving_interval(process, sp.Rational(1, 2)) == (0, 1)
    assert moving_interval(process, sp.Integer(2)) == (1, sp.oo)
    with pytest.raises(DerivationError, match="noise vanishes"):
        moving_interval(process, sp.Integer(-1))
    with pytest.raises(DerivationError, match="outside the domain"):
        moving_interval(on_half_line(0, p), sp.Integer(-1))


def test_bad_input():
    with pytest.raises(DerivationError, match="degenerate"):
        classify(Diffusion((x,), [1], [[0]]))
    with pytest.raises(DerivationError, match="scalar"):
        classify(Diffusion((x, y), [0, 0], [[1, 0], [0, 1]]))
    t = sp.Symbol("t", positive=True)
    with pytest.raises(DerivationError, match="do not depend on t"):
        classify(Diffusion((x,), [t], [[1]]))
    with pytest.raises(DerivationError, match="kinks"):
        scale_density(Diffusion((x,), [abs(x)], [[1]]), (-sp.oo, sp.oo))


@pytest.mark.slow
def test_angle_of_two_neurons():
    theta = angle_diffusion(depth_limit(ResNet(relu, width=2)).explicit)
    assert theta.drift[0] == 0
    assert (theta.domain.inf, theta.domain.sup) == (-sp.pi / 2, sp.pi)
    (variance,) = theta.covariance
    expected = {-1: sp.cos(angle) ** 2 / 2, 1: sp.Rational(1, 2), 3: sp.sin(angle) ** 2 / 2}
    for quarter, formula in expected.items():
        at = sp.pi * quarter / 4
        assert sp.cancel(variance.subs(angle, at) - formula.subs(angle, at)) == 0
    assert [end.kind for end in classify(theta)] == ["natural", "natural"]
    # a linear layer turns at constant speed
    assert angle_diffusion(depth_limit(ResNet(identity, width=2)).explicit).covariance[0] == sp.Rational(1, 2)


def test_angle_needs_a_homogeneous_activation():
    with pytest.raises(NotClosed, match="radius"):
        angle_diffusion(depth_limit(ResNet(tanh, width=2)).explicit)


def test_a_condition_with_a_pole_in_its_parameter():
    x, c = sp.symbols("x c", positive=True)
    process = Diffusion(
        (x,), [x**3 / (4 - 4 * c**2)], [[x**4]], sp.Interval.open(0, sp.oo)
    )  # 2b/a = k/x, k = 1/(2 - 2c²)
    found = explosion(process)
    for value, explodes in ((sp.S.Half, False), (sp.Rational(4, 5), True), (sp.Rational(3, 2), False)):
        assert found.subs(c, value) == explodes
        assert explosion(process.subs(c, value)) == explodes


CUBIC = x**3 - 6 * x**2 + 11 * x - 8  # one real zero, which radicals make long


@pytest.mark.parametrize(
    ("drift", "power", "kind"),
    [
        (0, 2, "natural"),
        (0, 1, "exit"),
        (1, 1, "regular"),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in ((-1, 1, "exit"), (1, 2, "entrance"), (-1, 2, "exit"))),
    ],
)
def test_an_end_at_a_root_of_a_polynomial_is_as_one_at_a_number(drift, power, kind):
    """The rows are each other's controls: they differ by a power, and by the sign of the drift."""
    root = sp.CRootOf(CUBIC, 0)
    moved = CUBIC.subs(x, (x - 1) / 2)  # a line's image of a root is no root to SymPy
    for zero, noise in ((root, CUBIC), (2 * root + 1, moved), (sp.Integer(3), 15 * (x - 3))):
        left, _ = classify(Diffusion((x,), [drift], [[noise**power]], sp.Interval(zero, sp.oo)))
        assert left.kinds == {kind: True}


def test_a_level_at_which_the_noise_does_not_vanish_is_regular_without_algebra():
    # leading terms of this quotient at 1/2 and 3/2 took longer than 15 s
    logistic = Diffusion((x,), [-(x**3)], [[1 / (1 + sp.exp(-x)) ** 2]])
    for end in classify(logistic, (-sp.S.Half, sp.Rational(3, 2))):
        assert (end.attracting, end.attainable, end.enterable, end.light, end.near) == (True,) * 5
        assert not end.returns
        assert end.kind == "regular"
    left, right = classify(Diffusion((x,), [0], [[sp.sin(x) ** 2]]), (sp.S.Zero, sp.S.One))
    assert (left.kind, right.kind) == ("natural", "regular")


@pytest.mark.parametrize("inside", [0.0, 1.0, -3.0, 5.0, 10.0])
def test_the_zeros_beside_a_point_are_found_among_infinitely_many(inside):
    """They were -31.93 and ∞ for cos x³ from 1: the search had listed the leftmost 64 zeros of its window."""
    process = Diffusion((x,), [0], [[sp.cos(x**3) ** 2]])
    low, high = (float(end) for end in moving_interval(process, inside))
    turn = np.floor(inside**3 / np.pi - 0.5)
    expected = np.cbrt((turn + np.array([0.5, 1.5])) * np.pi)
    np.testing.assert_allclose([low, high], expected, rtol=1e-14)


CROWDED = (
    (lambda m, y: m.sin(40 / y), 0.3),  # (1.7e-11, ∞) before
    (lambda m, y: m.cos(sp.Rational(11, 5) - sp.Rational(17, 5) / y), 0.05),
    (lambda m, y: m.cos(1 - 27 / m.sin(y)), 1.0),
    (lambda m, y: m.cos(1 - 27 / m.sin(y)), 2.0),
    (lambda m, y: m.sin(1 / (y - 1)), 1.09),
    (lambda m, y: m.sin(y) * m.sin(1 / (y - 5)), 5.07),
    (lambda m, y: m.sin(1 / (y - 100)), 100.02),
)


@pytest.mark.parametrize(
    ("noise", "inside"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (k == 2)) for k, case in enumerate(CROWDED)],  # 2 takes longest
    ids=[str(f(sp, x)) + f" {at}" for f, at in CROWDED],
)
def test_the_zeros_beside_a_point_are_found_where_others_crowd_elsewhere(noise, inside):
    """Those closest to 0 or to a pole had been listed, with none beside the point between them."""
    low, high = (float(end) for end in moving_interval(Diffusion((x,), [0], [[noise(sp, x) ** 2]]), inside))
    assert low < inside < high
    between = np.linspace(low, high, 2003)[1:-1]
    signs = np.sign([float(noise(math, y)) for y in between])
    assert (signs == signs[0]).all()
    step = (high - low) * 1e-6
    for end, way in ((low, -1), (high, 1)):
        assert float(noise(math, end - way * step)) * signs[0] > 0 > float(noise(math, end + way * step)) * signs[0]


@pytest.mark.parametrize(
    ("variance", "inside", "interval"),
    [
        (
            sp.log(abs(x)) ** 2,
            sp.Rational(1, 2),
            (-1, 1),
        ),  # (-∞, 1) before: the other side of the pole was not searched
        (sp.log(abs(x)) ** 2, -sp.Rational(1, 2), (-1, 1)),
        ((x**2 - 4) ** 2 / sp.sqrt(abs(x)), sp.S.One, (-2, 2)),
        (sp.Piecewise((x - 3, x > 1), (x + 5, True)) ** 2, sp.S.Zero, (-5, 3)),
        (sp.Piecewise((x - 3, x > 1), (x + 5, True)) ** 2, sp.Integer(2), (-5, 3)),
        (
            abs(x) ** sp.Rational(1, 3) * abs(x - 1) ** sp.Rational(1, 3) * (x + 2) ** 2 * (x - 5) ** 2,
            -sp.S.One,
            (-2, 5),
        ),
    ],
)
def test_zeros_beyond_what_is_crossed_are_found(variance, inside, interval):
    assert moving_interval(Diffusion((x,), [0], [[variance]]), inside) == interval
