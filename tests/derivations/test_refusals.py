"""Public refusals of the symbolic side that nothing else asks for: the error, and its cause in the message."""

import pytest
import sympy as sp

from derivations import (
    Network,
    Regime,
    ResNet,
    ShapedMLP,
    Weights,
    depth_limit,
    derive,
    epsilon,
    joint_limit,
    recognise,
    relu,
)
from derivations.activations import hardshrink, hardtanh
from derivations.calculus.angle import angle_diffusion
from derivations.calculus.equivalence import equivalence
from derivations.calculus.gram import pair_correlation
from derivations.calculus.intervals import moving_interval
from derivations.calculus.invert import invert
from derivations.calculus.linear_ode import solve_linear
from derivations.calculus.moments import moment_equations, moment_symbol
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm, NoLimit, NotClosed
from derivations.gaussian import expect, expect_pair
from derivations.gaussian.law import Gaussian
from derivations.gaussian.powers import power_mean
from derivations.kernels import ntk
from derivations.limits import width_limit
from derivations.norms import initial_slope, norm_dynamics
from derivations.symbols import initial

x, y, c = sp.symbols("x y c", real=True)
t = sp.Symbol("t", positive=True)
A, B = Weights("A"), Weights("B")


def two_quadrants():
    """Noise in two opposite quadrants only: the variances are 1 where xy > 0."""
    both = sp.Heaviside(x) * sp.Heaviside(y) + sp.Heaviside(-x) * sp.Heaviside(-y)
    return Diffusion((x, y), [0, 0], [[both * (x**2 + y**2), 0], [0, both * (x**2 + y**2)]])


def flows(constant):
    shaped = ShapedMLP(relu, inputs=2, c_plus=constant, c_minus=0, rate=sp.Rational(1, 4), depth_rate=sp.S.Half)
    return width_limit(ResNet(relu, sp.oo, inputs=2, weight_variance=c**2)), joint_limit(shaped)


REFUSED = {
    "bounds out of order": (lambda: hardtanh(1, -1), DerivationError, "must be in order, got 1 and -1"),
    "opposite quadrants": (lambda: angle_diffusion(two_quadrants()), NotClosed, "not next to each other"),
    "flows of no common constant": (lambda: equivalence(*flows(sp.S.Zero), y), DerivationError, "no value of y makes"),
    "strangers as states": (
        lambda: pair_correlation(depth_limit(ResNet(relu, 1, inputs=3)), (x, y, c)),
        DerivationError,
        "are no states of the limit",
    ),
    "an end as a point": (
        lambda: moving_interval(Diffusion((x,), [0], [[1]], sp.Interval(0, 1)), sp.S.Zero),
        DerivationError,
        "is an end of the domain",
    ),
    "no inverse": (lambda: invert(x**7 + x + 1, x, y, sp.S.One), NoClosedForm, "has no inverse in closed form"),
    "a pole of the noise": (
        lambda: recognise(Diffusion((x,), [0], [[(1 + 1 / x**2) ** 2]])),
        NoClosedForm,
        "crosses a pole of its noise",
    ),
    "a source of another shape": (
        lambda: solve_linear(sp.eye(2), sp.Matrix([0]), (1, 0), t),
        DerivationError,
        "need a matrix of shape",
    ),
    "a start without a state": (
        lambda: moment_equations(Diffusion((x,), [-x], [[1]]), 2).at_start({}),
        DerivationError,
        "missing x",
    ),
    "a tilt that cannot be normalised": (
        lambda: Gaussian((sp.S.Zero,), ((sp.S.One,),)).tilted(0, sp.S.One, sp.S.Zero),
        NoClosedForm,
        "cannot be integrated",
    ),
    "powers beside 0": (lambda: power_mean(sp.sqrt(abs(x - 1)), x, sp.S.One), NoClosedForm, "with a kink at 0 only"),
    "a kink that moves": (
        lambda: sp.diff(expect(sp.tanh(x) * abs(x - c), x, 1), c),
        DerivationError,
        "which moves a kink",
    ),
    "a kink of a pair that moves": (
        lambda: sp.diff(expect_pair(sp.tanh(x) * abs(x - c), sp.tanh(x), x, ((1, sp.S.Half), (sp.S.Half, 1))), c),
        DerivationError,
        "which moves a kink",
    ),
    "a row covariance in words": (lambda: Weights("W", row_covariance="much"), DerivationError, "square matrix"),
    "a negative variance": (lambda: Weights("W", variance=-1), DerivationError, "variance of W must be at least 0"),
    "one name for two matrices": (
        lambda: derive(Network(lambda z: z + epsilon * Weights("A")(relu(Weights("A", variance=2)(z))), width=2)),
        DerivationError,
        "two different matrices are called A",
    ),
    "a sampler of several parts": (lambda: derive(ResNet(relu, 1)).law.sampler(), DerivationError, "law.part"),
    "an argument that grows": (
        lambda: derive(Network(lambda z: z + epsilon**2 * sp.tanh(z / epsilon), width=1)),
        NoLimit,
        "its argument grows",
    ),
    "a square that jumps": (
        lambda: norm_dynamics(depth_limit(ResNet(hardshrink(), width=3)), hardshrink()),
        NotClosed,
        "has a jump in its derivative of order 0",
    ),
    "a width of too many digits": (
        lambda: initial_slope(norm_dynamics(depth_limit(ResNet(relu, width=999_999_999)), relu)),
        NotClosed,
        "too many digits",
    ),
    "a file of an unknown kind": (lambda: derive(ResNet(relu, 1)).write("relu.docx"), DerivationError, "unknown suffix"),
    "flows with noise": (
        lambda: equivalence(*[joint_limit(ShapedMLP(relu, inputs=2, c_plus=c, c_minus=0))] * 2, c),
        DerivationError,
        "two limits without noise",
    ),
    "a power of an unknown size": (lambda: power_mean(abs(x) ** c, x, sp.S.One), NoClosedForm, "whether c is above -1"),
    "a mean of a list": (lambda: expect([x], x), DerivationError, "needs an expression in x"),
    "a moment of a negative order": (lambda: derive(ResNet(relu, 1)).law.moment(-1), DerivationError, "whole number"),
    "a parameter that is called as the start": (
        lambda: recognise(Diffusion((x,), [0], [[initial**2]])),
        DerivationError,
        "has the name of the start",
    ),
    "a parameter that is called as a moment": (
        lambda: moment_equations(Diffusion((x,), [-moment_symbol((1,)) * x], [[1]]), 2),
        DerivationError,
        "has the name of a moment",
    ),
    "a variance in words": (lambda: Weights("A", variance="a lot"), DerivationError, "was expected of a matrix"),
    "an infinite variance": (lambda: Weights("A", variance=sp.oo), DerivationError, "a finite real number"),
    "neurons that do not stay Gaussian": (
        lambda: derive(Network(lambda z: z + epsilon * A(relu(z)) * z, width=sp.oo)),
        NotClosed,
        "neurons stay Gaussian only if",
    ),
    "a transpose in a tangent kernel": (
        lambda: ntk(Network(lambda z: z - epsilon**2 * A.T(sp.tanh(A(z))), width=sp.oo)),
        NotClosed,
        "derived without transposes",
    ),
    "a transpose while depth and width grow": (
        lambda: derive(
            Network(lambda z: z - epsilon**2 * A.T(sp.tanh(A(z))), width=50, regime=Regime(depth=1)), order="joint"
        ),
        DerivationError,
        "without transposes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()
