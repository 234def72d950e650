"""Guards and edges: what must be refused, and what is right only on one side of a condition."""

import random

import mpmath as mp
import pytest
import sympy as sp

from derivations import ResNet, depth_limit, identity, tanh
from derivations.calculus.ito import generator
from derivations.calculus.lamperti import LampertiForm
from derivations.calculus.logs import log_of_positive, real_logs
from derivations.calculus.noise import classify_noise, noise_factor
from derivations.calculus.reduction import reduce_to_linear
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.gaussian import expect, single
from derivations.gaussian.node import GaussianMean
from derivations.laws.chart import finite_length
from derivations.laws.initial import Normal
from derivations.laws.proofs import draw_inside
from derivations.steps.base import written_out

x, y = sp.symbols("x y", real=True)
c, d = sp.symbols("c d", real=True)
HALF = sp.Interval.open(0, sp.oo)


# --- logarithms of products ---


def test_factors_of_unknown_sign_stay_together():
    form = LampertiForm(x, (sp.S.Zero, sp.oo), sp.S.Zero, x)
    opened = log_of_positive(c * d * x**2, form)
    assert opened.subs({c: -2, d: -3}) == sp.log(6) + 2 * sp.log(x)  # apart, they would be log 6 + 2πi
    assert opened.subs({c: 2, d: 3}) == sp.log(6) + 2 * sp.log(x)
    left = LampertiForm(x, (-sp.oo, sp.S.Zero), sp.S.Zero, -x)
    assert log_of_positive(-c * x, left).subs({c: 5, x: -2}) == sp.log(2) + sp.log(5)
    assert real_logs(sp.log(c * x), form) == sp.log(c * x)  # not known to be negative


# --- charts ---


@pytest.mark.parametrize(
    ("interval", "end"),
    [((1, 3), 3), ((-1, 1), -1), ((1, sp.oo), sp.oo), ((-sp.oo, 1), -sp.oo), ((2, 5), 2)],
    ids=str,
)
def test_the_distance_from_an_end_beside_a_double_zero(interval, end):
    # φ = (x − 1)²: ∫ dx/φ = −1/(x − 1) is infinite at the zero and finite at the other end
    form = LampertiForm(x, tuple(map(sp.sympify, interval)), sp.S.Zero, (x - 1) ** 2)
    chart = finite_length(form)
    assert sp.limit(chart.coordinate, x, end, "-" if end in (3, sp.oo) else "+") == 0
    inside = sp.Rational(5, 2) if interval[1] in (3, sp.oo, 5) else -sp.S.Half
    slope = sp.diff(chart.coordinate, x).subs(x, inside) * form.scale.subs(x, inside)
    assert slope == chart.direction
    assert sp.expand(chart.back(chart.coordinate.subs(x, inside)) - inside) == 0
    assert chart.coordinate.subs(x, inside) > 0


# --- starts, points ---


@pytest.mark.parametrize(("mean", "variance"), [(0, 0), (0, -1), (sp.oo, 1), (sp.nan, 1), (0, sp.oo), (-sp.oo, 1)])
def test_a_start_needs_a_finite_mean_and_a_positive_variance(mean, variance):
    with pytest.raises(DerivationError, match="finite mean and a positive variance"):
        Normal(mean, variance)


@pytest.mark.parametrize("interval", [(2, 3), (5, sp.oo), (-sp.oo, -4), (-sp.oo, sp.oo)], ids=str)
def test_sampling_points_are_inside(interval):
    low, high = map(sp.sympify, interval)
    draw = random.Random(1)
    points = [draw_inside((low, high), draw) for _ in range(50)]
    assert all(low < point < high and point.is_Rational for point in points)
    assert len(set(points)) > 40


# --- Gaussian means at the edge of divergence ---


@pytest.mark.parametrize(
    ("function", "finite"),
    [
        (sp.erfi(sp.Rational(7, 10) * x), True),
        (sp.erfi(x / sp.sqrt(2)), False),  # ~ 1/x against the density: neither half converges
        (x * sp.erfi(x / sp.sqrt(2)), False),
        (sp.erfi(sp.Rational(3, 4) * x), False),
        (sp.erfi(x / 2) ** 2, True),  # ~ 1/x²
        (x * sp.erfi(x / 2) ** 2, False),
        (sp.erfi(x) * sp.exp(-(x**2)), True),  # damped
        (x * sp.erfi(x) * sp.exp(-(x**2)), True),
    ],
    ids=str,
)
def test_growth_of_erfi(function, finite):
    if finite:
        assert expect(function, x, 1) is not sp.nan
    else:
        with pytest.raises(DerivationError, match="diverges"):
            expect(function, x, 1)


def test_a_damped_erfi_has_its_value():
    # E x erfi(x) e^{−x²} = ∫ x erfi(x) e^{−3x²/2} dx/√(2π): by parts, (1/3)(2/√π) ∫ e^{−x²/2} dx/√(2π)
    assert sp.expand(expect(x * sp.erfi(x) * sp.exp(-(x**2)), x, 1) - 2 / (3 * sp.sqrt(sp.pi))) == 0


# --- formulas in all coordinates ---


@pytest.mark.parametrize(("width", "inputs"), [(8, 1), (4, 2)])
def test_up_to_eight_coordinates_are_written_out(width, inputs):
    limit = depth_limit(ResNet(identity, width=width, inputs=inputs))
    assert len(written_out(limit).states) == 8


@pytest.mark.parametrize(("width", "inputs"), [(9, 1), (3, 3)])
def test_more_are_refused(width, inputs):
    with pytest.raises(DerivationError, match=f"up to 8 of them, got width {width} and {inputs}"):
        written_out(depth_limit(ResNet(identity, width=width, inputs=inputs)))


# --- roots of covariances with kinks ---


def test_a_root_of_a_covariance_with_kinks():
    z = sp.Symbol("z", real=True)
    positive, other = sp.Max(x, 0) ** 2 + 1, sp.Piecewise((y, y > 0), (-2 * y, True)) + 1
    covariance = sp.Matrix([[positive, x * y, y], [x * y, other**2 + x**2 * y**2, 0], [y, 0, 5 + y**4 + x**2]])
    process = Diffusion((x, y, z), [0, 0, 0], covariance)
    assert process.covariance.has(sp.Piecewise)
    factor = noise_factor(process)
    assert factor.is_lower
    for point in ({x: 2, y: sp.Rational(1, 3)}, {x: -1, y: -sp.Rational(1, 2)}, {x: sp.S.Half, y: -sp.Rational(1, 4)}):
        gap = (factor * factor.T - covariance).subs(point)
        assert max(abs(sp.N(entry, 20)) for entry in gap) < 1e-15
        assert abs(sp.N((factor.T * factor - covariance).subs(point)[0], 20)) > 1e-3  # the control
    assert classify_noise(process).kind.value == "general"
    degenerate = Diffusion((x, y), [0, 0], sp.Piecewise((x**2, x > 0), (4 * x**2, True)) * sp.ones(2, 2))
    with pytest.raises(DerivationError, match=r"degenerate \(pivot 2"):
        noise_factor(degenerate)


# --- the identity that a linear reduction rests on ---


@pytest.mark.parametrize("first", [1, 0])
def test_a_time_dependent_noise_is_linear_for_one_sign_only(first):
    # Y = 1/X with dY = (2 − Y)dt + (first + t)Y dB, carried to X by Itô's formula; without first the factor of time in the
    # map that the condition gives is infinite at the start
    q, t = sp.symbols("q t", positive=True)
    noise = first + t
    drift = -(2 - 1 / q) * q**2 + noise**2 * q
    found = reduce_to_linear(Diffusion((q,), [drift], [[noise**2 * q**2]], HALF, t))
    w = found.equation
    process = found.process
    assert sp.cancel(found.map * q) == (1 / (1 + t) if first else 1)
    assert sp.cancel(generator(process, found.map) - w.alpha - w.beta * found.map) == 0
    assert sp.cancel(w.delta**2 - noise**2) == 0
    assert w.gamma == 0
    # the control: with another power in the drift it is not
    with pytest.raises(NoClosedForm):
        reduce_to_linear(Diffusion((q,), [drift + q**3], [[noise**2 * q**2]], HALF, t))


# --- values that would take minutes ---


def test_a_mean_of_a_mean_is_not_integrated_to_see_its_sign(monkeypatch):
    class Often(Exception):
        pass

    calls, numeric = [], single.numeric_mean

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) > 40:  # each value of the mean outside takes hundreds of the one inside
            raise Often
        # the values inside do not matter, and forty of them to 40 digits take a minute
        return numeric(*arguments) if arguments[0].has(GaussianMean) else mp.mpf(1)

    monkeypatch.setattr(single, "numeric_mean", counted)
    v, (w, z) = sp.Symbol("v", positive=True), sp.symbols("w z", real=True)
    inside = expect(tanh(sp.Abs(w * z)) ** 2, w, v)
    noise = Diffusion((v,), [v], [[v * expect(inside, z, v)]]).covariance[0]
    assert any(mean.args[0].has(GaussianMean) for mean in noise.atoms(GaussianMean))
    with pytest.raises(Often):  # the control: its value
        noise.subs(dict.fromkeys(noise.free_symbols, 1)).evalf(40)
