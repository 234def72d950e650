"""Gaussian means beside singular points: closed powers and logarithms, odd functions, and means that do not exist."""

import mpmath as mp
import pytest
import sympy as sp

from derivations import Network, Weights, depth_limit, relu
from derivations.errors import DerivationError, NoLimit
from derivations.gaussian import GaussianExpectation, expect, expect_pair
from derivations.gaussian.corners import corners
from derivations.symbols import noise, state, step

x = sp.Symbol("x", real=True)
s, q = sp.symbols("s q", positive=True)
half = sp.S.Half
modulus = abs(x)


def name_of(value: object) -> str:
    """What a parameter is called: formulas by themselves, functions by nothing, since their text holds an address."""
    return "by hand" if callable(value) and not isinstance(value, sp.Basic) else str(value)


def by_mpmath(f, variance=1, cuts=(0,)):
    """The mean by tanh-sinh between the cuts, to 25 digits; shares no code with the engine."""
    with mp.workdps(30):
        sd = mp.sqrt(variance)
        ends = sorted({-40 * sd, -5 * sd, *map(mp.mpf, cuts), 5 * sd, 40 * sd})
        return sp.Float(mp.quad(lambda z: f(z) * mp.npdf(z, 0, sd), ends), 28)


def test_the_modulus_has_its_moments():
    assert expect(sp.log(modulus), x) == -(sp.EulerGamma + sp.log(2)) / 2
    assert sp.expand(expect(modulus**q, x) - 2 ** (q / 2) * sp.gamma((q + 1) / 2) / sp.sqrt(sp.pi)) == 0
    assert expect(modulus ** (q - half), x, s).has(sp.gamma)  # the exponent is known to be above -1/2
    assert expect(modulus**2, x, s) == s
    assert expect(sp.log(modulus) ** 2, x, s).subs(s, 1).equals((sp.EulerGamma + sp.log(2)) ** 2 / 4 + sp.pi**2 / 8)


@pytest.mark.parametrize("variance", [1, 3])
@pytest.mark.parametrize(
    ("symbolic", "numeric"),
    [
        (sp.sqrt(modulus), lambda z: mp.sqrt(abs(z))),
        (sp.sqrt(modulus) * sp.log(modulus) ** 2, lambda z: mp.sqrt(abs(z)) * mp.log(abs(z)) ** 2),
        (sp.Max(x, 0) ** sp.Rational(1, 3), lambda z: mp.cbrt(z) if z > 0 else mp.mpf(0)),
        (x * sp.log(x**2) + sp.log(modulus) * modulus, lambda z: z * mp.log(z**2) + abs(z) * mp.log(abs(z))),
    ],
    ids=name_of,
)
def test_powers_and_logarithms_are_closed(symbolic, numeric, variance):
    closed = expect(symbolic, x, s)
    assert not closed.has(GaussianExpectation)
    found, exact = closed.subs(s, variance).evalf(22), by_mpmath(numeric, variance)
    assert abs(found - exact) < 1e-18
    assert abs(found * sp.Rational(1000001, 1000000) - exact) > 1e-12 or exact == 0  # the control


def test_a_power_near_the_end_of_the_range():
    """E|Z|^(-9/10) = 2^(-9/20) Γ(1/20)/√π, in closed form and through the node of the same function elsewhere."""
    assert expect(modulus ** sp.Rational(-9, 10), x).equals(
        2 ** sp.Rational(-9, 20) * sp.gamma(sp.Rational(1, 20)) / sp.sqrt(sp.pi)
    )
    node = GaussianExpectation(sp.Lambda(x, modulus ** sp.Rational(-9, 10)), sp.S.Zero, sp.S.One)
    assert abs((node.evalf(20) / expect(modulus ** sp.Rational(-9, 10), x)).evalf(20) - 1) < 1e-18


@pytest.mark.parametrize(
    ("f", "exact"),
    [
        # substitute d = u² (u⁵, and none): smooth integrals, by mpmath to 30 digits
        (
            1 / sp.sqrt(abs(x - 1)),
            lambda: mp.quad(lambda u: 2 * (mp.npdf(1 + u**2) + mp.npdf(1 - u**2)), [0, 1, 2, 3, 4]),
        ),
        (
            abs(x - 1) ** sp.Rational(-4, 5),
            lambda: mp.quad(lambda u: 5 * (mp.npdf(1 + u**5) + mp.npdf(1 - u**5)), [0, 0.5, 1, 1.3, 1.6, 2]),
        ),
        (sp.log(abs(x - 1)), lambda: mp.quad(lambda d: mp.log(d) * (mp.npdf(1 + d) + mp.npdf(1 - d)), [0, 1, 4, 12])),
    ],
    ids=name_of,
)
def test_a_singular_point_elsewhere_is_integrated_to_the_last_digit(f, exact):
    with mp.workdps(30):
        reference = sp.Float(exact(), 28)
    assert abs(expect(f, x).evalf(20) - reference) < 1e-17 * abs(reference) + 1e-18


@pytest.mark.parametrize(
    "f",
    [
        1 / x,
        1 / modulus,
        sp.sign(x) / modulus,
        1 / (x - 1),
        1 / (x**2 - 3),
        x**-3,
        sp.tan(x),
        1 / sp.sin(x),
        1 / sp.tanh(x),
    ],
    ids=name_of,
)
def test_poles_have_no_mean_and_a_principal_value_is_none(f):
    with pytest.raises(DerivationError, match=r"diverges.*principal value"):
        expect(f, x)
    with pytest.raises(DerivationError, match="diverges"):
        expect_pair(f, x**2 + 1, x, [[1, half], [half, 1]])


@pytest.mark.parametrize(
    "f",
    [sp.exp(x**2 / 2), sp.exp(x**4), sp.sinh(x**3), sp.exp(sp.exp(x)), x * sp.exp(x**2), sp.exp(modulus**3)],
    ids=name_of,
)
def test_growth_beyond_the_density_has_no_mean(f):
    with pytest.raises(DerivationError, match="diverges"):
        expect(f, x)
    assert expect(sp.exp(x**2 / 5), x) == sp.sqrt(sp.Rational(5, 3))  # the control


@pytest.mark.parametrize(
    "f",
    [
        sp.tanh(x),
        sp.atan(x),
        x / (1 + x**2),
        x / (1 + modulus),
        x**3 * sp.cos(x),
        sp.tanh(q * x),
        sp.asinh(x),
        1 / (1 + sp.exp(-x)) - half,
        sp.sign(x) * sp.sqrt(modulus),
        sp.Piecewise((-1, x < -1), (1, x > 1), (sp.tanh(x), True)),
    ],
    ids=name_of,
)
def test_an_odd_function_has_mean_0(f):
    assert expect(f, x, s) == 0
    assert expect(f, x, s, 1) != 0
    assert expect(f + sp.exp(-(x**2)), x, s) != 0


@pytest.mark.slow
@pytest.mark.parametrize("branch", [sp.tanh(noise), sp.atan(noise), noise / (1 + noise**2)], ids=str)
def test_layers_of_odd_branches_have_a_limit(branch):
    """x + ε φ(u) with u ~ N(0, G): mean 0, covariance δ_ij E φ(z)²."""

    put_out = Weights("W")(relu(state))

    def limit(update):
        return depth_limit(Network(update.xreplace({noise: put_out}), width=2))

    found = limit(state + step * branch)
    assert found.drift == sp.zeros(2, 1)
    assert found.covariance[0, 1] == 0
    variance = sum(relu(s) ** 2 for s in found.states) / 2
    rule = dict(zip(found.states, (sp.Rational(2, 3), sp.Rational(1, 5)), strict=True))
    expected = expect(branch.xreplace({noise: x}) ** 2, x, variance.xreplace(rule))
    assert abs(sp.N(found.covariance[0, 0].xreplace(rule) - expected, 20)) < sp.Float("1e-15")
    with pytest.raises(NoLimit, match="must vanish"):
        limit(state + step * (branch + sp.exp(-(noise**2))))


def test_a_corner_knows_both_sides():
    found = corners(sp.Max(x, 0) ** sp.Rational(3, 5) + sp.log(abs(x - 2)) / abs(x - 2) ** sp.Rational(1, 3), x)
    assert [(c.point, c.left.smooth, c.right.smooth) for c in found] == [(0, True, False), (2, False, False)]
    assert (found[0].right.exponent, found[1].left.exponent, found[1].right.logarithms) == (0, -sp.Rational(1, 3), 1)
