"""What processes do at their ends, by local exponents as numbers, against Feller's tables and against the limits that algebra takes."""

import mpmath
import pytest
import sympy as sp

from derivations import erf, gelu, softplus, tanh
from derivations.activations import identity, relu
from derivations.architectures.perceptron import MLP, ShapedMLP
from derivations.architectures.residual import ResNet
from derivations.calculus.boundaries import classify
from derivations.calculus.gram import pair_correlation
from derivations.diffusion import Diffusion
from derivations.errors import NoClosedForm
from derivations.gaussian import expect
from derivations.gaussian.node import _kept
from derivations.laws.approach import approach, limit_sign
from derivations.laws.behaviour import end_behaviour
from derivations.limits import depth_limit, joint_limit

x = sp.Symbol("x", real=True)
p = sp.Symbol("p", positive=True)
half_line, unit = sp.Interval.open(0, sp.oo), sp.Interval.open(0, 1)
R = sp.Rational


def line(drift, variance):
    return Diffusion((x,), [drift], [[variance]])


def on_half_line(drift, variance):
    return Diffusion((p,), [drift], [[variance]], half_line)


def on_unit(drift, variance):
    return Diffusion((x,), [drift], [[variance]], unit)


def bessel(dimension):
    return on_half_line(R(dimension - 1) / (2 * p), sp.S.One)


def ingersoll(drift):
    return on_half_line(drift - p, p)


#: (process, a point inside, Feller's classes left and right, which ends keep what reaches them)
TABLE = [
    (line(0, 1), 0, "natural", "natural", ()),
    (line(-x, 1), 0, "natural", "natural", ()),
    (line(x**3, 1), 0, "exit", "exit", (0, 1)),
    (line(-(x**3), 1), 0, "entrance", "entrance", ()),
    (line(sp.exp(x), 1), 0, "natural", "exit", (1,)),
    (line(-sp.exp(x), 1), 0, "natural", "entrance", ()),
    (line(0, sp.cosh(x) ** 2), 0, "entrance", "entrance", ()),
    (on_half_line(0, p ** R(1, 2)), 1, "regular", "natural", (0,)),  # constant elasticity of variance
    (on_half_line(0, p), 1, "exit", "natural", (0,)),
    (on_half_line(0, p ** R(3, 2)), 1, "exit", "natural", (0,)),
    (on_half_line(0, p**2), 1, "natural", "natural", ()),
    (on_half_line(0, p**3), 1, "natural", "entrance", ()),
    (bessel(R(-1)), 1, "exit", "natural", (0,)),
    (bessel(R(0)), 1, "exit", "natural", (0,)),
    (bessel(R(1, 2)), 1, "regular", "natural", (0,)),
    (bessel(R(3, 2)), 1, "regular", "natural", ()),
    (bessel(R(2)), 1, "entrance", "natural", ()),
    (bessel(R(3)), 1, "entrance", "natural", ()),
    (ingersoll(R(0)), 1, "exit", "natural", (0,)),
    (ingersoll(R(1, 25)), 1, "regular", "natural", ()),
    (ingersoll(R(1, 2)), 1, "entrance", "natural", ()),
    (on_unit(0, x * (1 - x)), R(1, 2), "exit", "exit", (0, 1)),  # Wright and Fisher
    (on_unit(R(1, 10) - x / 5, x * (1 - x)), R(1, 2), "regular", "regular", ()),  # with mutation
    (on_unit(R(1, 4) - x / 3, x * (1 - x)), R(1, 2), "regular", "regular", ()),
    (on_unit(1 - 2 * x, x * (1 - x)), R(1, 2), "entrance", "entrance", ()),
    (on_unit(0, 1), R(1, 3), "regular", "regular", (0, 1)),  # stopped at two walls
    (on_half_line(p * (1 - p), 2 * p**2), 1, "natural", "entrance", ()),  # logistic growth
    (on_half_line(-p * (1 - p), 2 * p**2), 1, "natural", "exit", (1,)),
]


@pytest.mark.parametrize(("process", "inside", "left", "right", "keep"), TABLE, ids=lambda v: str(v)[:40])
def test_numbers_know_fellers_table(process, inside, left, right, keep):
    ends = process.domain.inf, process.domain.sup
    ways = [approach(process, end, sp.sympify(inside)) for end in ends]
    assert [way.kind for way in ways] == [left, right]
    assert tuple(k for k, way in enumerate(ways) if way.attainable and not way.returns) == keep


@pytest.mark.slow
@pytest.mark.parametrize("case", [k for k, row in enumerate(TABLE) if not row[0].drift[0].has(sp.exp)])
def test_numbers_agree_with_algebra(case):
    process, inside, *_, keep = TABLE[case]
    decided = end_behaviour(process, (process.domain.inf, process.domain.sup), sp.sympify(inside))
    assert tuple(k for k, end in enumerate(decided) if end.keeps) == keep
    for end, way in ((e, approach(process, e.point, sp.sympify(inside))) for e in classify(process)):
        proved = tuple(bool(v) for v in (end.attracting, end.attainable, end.enterable, end.light, end.returns))
        assert (way.attracting, way.attainable, way.enterable, way.light, way.returns) == proved


def test_a_wrong_exponent_changes_the_class():
    # control: at 2β = 1.999 the end is an exit, at 2 natural; 10⁻⁹ below 2 is critical to the numbers
    assert approach(on_half_line(0, p ** R(1999, 1000)), sp.S.Zero, sp.S.One).kind == "exit"
    assert approach(on_half_line(0, p ** (2 - R(1, 10**9))), sp.S.Zero, sp.S.One).kind == "natural"


@pytest.mark.parametrize("activation", [tanh, erf, gelu])
def test_zeros_of_smooth_activations_are_natural(activation):
    process = depth_limit(ResNet(activation, width=1))
    left, right = end_behaviour(process, (sp.S.Zero, sp.oo), sp.S.One)
    assert (left.kind, left.reached, left.ground) == ("natural", False, "local exponents")
    assert not right.reached
    # control: a square root of the noise is reached
    rooted = Diffusion(process.states, process.drift, process.covariance.applyfunc(sp.sqrt))
    assert end_behaviour(rooted, (sp.S.Zero, sp.oo), sp.S.One)[0].keeps


def test_tails_that_vanish_like_an_exponential():
    process = depth_limit(ResNet(softplus, width=1))
    assert approach(process, -sp.oo, sp.S.Zero).kind == "natural"
    assert approach(process, sp.oo, sp.S.Zero).kind == "natural"


def correlation(network):
    limit = joint_limit(network)
    return pair_correlation(limit, limit.states).process()


@pytest.mark.slow
@pytest.mark.parametrize(("up", "down"), [(0, -1), pytest.param(R(1, 2), -3, marks=pytest.mark.slow)])
def test_the_correlation_of_shaped_relu(up, down):
    process = correlation(ShapedMLP(relu, inputs=2, c_plus=up, c_minus=down))
    left, right = end_behaviour(process, (-sp.S.One, sp.S.One), R(3, 10))
    assert (left.kind, right.kind) == ("entrance", "natural")
    linear = end_behaviour(correlation(MLP(identity, inputs=2)), (-sp.S.One, sp.S.One), R(3, 10))
    assert [end.kind for end in linear] == ["natural", "natural"]  # control


@pytest.mark.slow
def test_logarithms_are_left_to_algebra():
    # dX = X log² X dt + dB explodes, dX = X log X dt + dB does not; exponents alone do not decide it
    wild, tame = on_half_line(p * sp.log(p) ** 2, 1), on_half_line(p * sp.log(p), 1)
    assert approach(wild, sp.oo, sp.S.One).kind is None
    assert [end_behaviour(w, (sp.S.Zero, sp.oo), sp.S.One)[1].reached for w in (wild, tame)] == [True, False]


def test_oscillation_is_refused():
    process = line(x * sp.sin(x) ** 5 * sp.exp(sp.cos(x) ** 3), (2 + sp.sin(x) * sp.cos(sp.sqrt(2) * x)) ** 2)
    with pytest.raises(NoClosedForm):
        end_behaviour(process, (-sp.oo, sp.oo), sp.S.Zero)


def test_signs_of_limits():
    m = mpmath.mpf
    assert limit_sign([m(3) - m(2) ** -k for k in range(9)]) == 1
    assert limit_sign([-(m(2) ** k) for k in range(9)]) == -1
    assert limit_sign([m(2) ** (-3 * k) for k in range(15)]) == 0
    assert limit_sign([m(-1) ** k for k in range(9)]) is None
    assert limit_sign([m(1)] * 3) is None


@pytest.mark.slow
def test_another_start_looks_at_the_same_places():
    process = Diffusion((p,), [expect(sp.tanh(x) ** 2, x, p)], [[p * expect(sp.tanh(x) ** 2, x, p)]], half_line)

    def made(start):
        before = _kept.cache_info().misses
        assert approach(process, sp.S.Zero, start).kind == "natural"
        return _kept.cache_info().misses - before

    first = made(R(1, 3))
    assert first > 20
    assert made(R(3, 10)) == 0
    assert made(R(1, 10**9)) > 20  # control: further on there are others
