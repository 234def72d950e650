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
    parse_activation,
    parse_layer,
    recognise,
    relu,
    scalings,
    symbols,
    tanh,
)
from derivations.activations import activation_from_potential, hardshrink, hardtanh, polynomial
from derivations.activations.shaped import shaped_slopes, shaped_smooth
from derivations.activations.smooth import softplus_with
from derivations.calculus.angle import angle_diffusion
from derivations.calculus.boundaries import classify
from derivations.calculus.equivalence import equivalence
from derivations.calculus.gram import pair_correlation
from derivations.calculus.intervals import moving_interval
from derivations.calculus.invert import invert
from derivations.calculus.lamperti import split
from derivations.calculus.linear_ode import solve_linear
from derivations.calculus.moments import moment_equations, moment_symbol
from derivations.calculus.reduction import reduce_to_linear
from derivations.calculus.speed import scale_density
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NoClosedForm, NoLimit, NotClosed
from derivations.gaussian import expect, expect_pair
from derivations.gaussian.law import Gaussian
from derivations.gaussian.powers import power_mean
from derivations.kernels import nngp, ntk
from derivations.kernels.solve import solve_flow
from derivations.limits import width_limit
from derivations.norms import initial_slope, norm_dynamics
from derivations.piecewise import analyse
from derivations.steps.milstein import milstein_step
from derivations.symbols import initial, state, time

x, y, c = sp.symbols("x y c", real=True)
t, size = sp.symbols("t a", positive=True)
A, B = Weights("A"), Weights("B")


def two_quadrants():
    """Noise in two opposite quadrants only: the variances are 1 where xy > 0."""
    both = sp.Heaviside(x) * sp.Heaviside(y) + sp.Heaviside(-x) * sp.Heaviside(-y)
    return Diffusion((x, y), [0, 0], [[both * (x**2 + y**2), 0], [0, both * (x**2 + y**2)]])


def flows(constant):
    shaped = ShapedMLP(relu, inputs=2, c_plus=constant, c_minus=0, rate=sp.Rational(1, 4), depth_rate=sp.S.Half)
    return width_limit(ResNet(relu, width=sp.oo, inputs=2, weight_variance=c**2)), joint_limit(shaped)


REFUSED = {
    "bounds out of order": (lambda: hardtanh(1, -1), DerivationError, "must be in order, got 1 and -1"),
    "opposite quadrants": (lambda: angle_diffusion(two_quadrants()), NotClosed, "not next to each other"),
    "flows of no common constant": (lambda: equivalence(*flows(sp.S.Zero), y), DerivationError, "no value of y makes"),
    "strangers as states": (
        lambda: pair_correlation(depth_limit(ResNet(relu, width=1, inputs=3)), (x, y, c)),
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
    "a sampler of several parts": (lambda: derive(ResNet(relu, width=1)).law.sampler(), DerivationError, "law.part"),
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
    "a file of an unknown kind": (lambda: derive(ResNet(relu, width=1)).write("relu.docx"), DerivationError, "unknown suffix"),
    "flows with noise": (
        lambda: equivalence(*[joint_limit(ShapedMLP(relu, inputs=2, c_plus=c, c_minus=0))] * 2, c),
        DerivationError,
        "two limits without noise",
    ),
    "a power of an unknown size": (lambda: power_mean(abs(x) ** c, x, sp.S.One), NoClosedForm, "whether c is above -1"),
    "a mean of a list": (lambda: expect([x], x), DerivationError, "needs an expression in x"),
    "a moment of a negative order": (lambda: derive(ResNet(relu, width=1)).law.moment(-1), DerivationError, "whole number"),
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
    "a coefficient that moves": (lambda: polynomial(state), DerivationError, "finite, real and free of x"),
    "a rate below 0": (lambda: shaped_smooth(tanh, 1, rate=-1), DerivationError, "one for a zoom, got rate=-1"),
    "three rates of two slopes": (lambda: shaped_slopes(1, 0, rate=(1, 1, 1)), DerivationError, "a pair for two"),
    "a softplus without sharpness": (lambda: softplus_with(0), DerivationError, "beta of softplus must be positive"),
    "a potential below its ground state": (
        lambda: activation_from_potential(x**2 - 3, x),
        DerivationError,
        "zero unless gamma >= -alpha",
    ),
    "a potential that pulls to 0": (
        lambda: activation_from_potential(-1 / x**2, x),
        DerivationError,
        "only for c >= -1/4, got c = -1",
    ),
    "no positions": (lambda: Network(lambda z: A(z), width=2, positions=0), DerivationError, "positions must be a positive"),
    "a broken grid": (lambda: Network(lambda z: A(z), width=2, positions=(2, 1.5)), DerivationError, "or a tuple of them"),
    "a negative variance of a recipe": (lambda: ResNet(relu, width=1, weight_variance=-1), DerivationError, "a finite number ≥ 0"),
    "a depth that does not grow": (
        lambda: ShapedMLP(relu, c_plus=1, c_minus=0, depth_rate=-1),
        DerivationError,
        "depth_rate must be positive",
    ),
    "a small parameter that grows": (
        lambda: Regime(rates={epsilon: -1}, depth=1),
        DerivationError,
        "rates must be positive, got epsilon: -1",
    ),
    "a frozen end": (lambda: classify(Diffusion((x,), [0], [[sp.Heaviside(x) * x**2]])), DerivationError, "frozen or a flow"),
    "a point without noise": (
        lambda: moving_interval(Diffusion((x,), [0], [[x**2]]), sp.S.Zero),
        DerivationError,
        "degenerate there",
    ),
    "a Lamperti form of two states": (lambda: split(Diffusion((x, y), [0, 0], sp.eye(2))), DerivationError, "got 2 states"),
    "a Lamperti form in time": (lambda: split(Diffusion((x,), [time * x], [[1]])), DerivationError, "do not depend on time"),
    "a noise that is not real": (lambda: split(Diffusion((x,), [0], [[x**size]])), DerivationError, "for every x < 0"),
    "a linear equation with kinks": (
        lambda: reduce_to_linear(Diffusion((x,), [0], [[1 + abs(x)]])),
        DerivationError,
        "have kinks at x = 0",
    ),
    "a scale that is no formula": (
        lambda: scale_density(Diffusion((x,), [sp.exp(-(x**4)) * sp.sin(x)], [[1]]), (-sp.oo, sp.oo)),
        NoClosedForm,
        "of which no antiderivative is known",
    ),
    "a factor of another shape": (lambda: Diffusion((x,), [0], sigma=sp.eye(2)), DerivationError, "must have 1 row, got"),
    "a covariance that is none": (
        lambda: expect_pair(x, x, x, ((1, 2), (2, 1))),
        DerivationError,
        "must be positive semidefinite",
    ),
    "a power that has no mean": (lambda: power_mean(1 / abs(x) ** 2, x, sp.S.One), DerivationError, "powers above -1 have a mean"),
    "a root of a negative number": (lambda: power_mean(sp.sqrt(x), x, sp.S.One), NoClosedForm, "not real on a half-line"),
    "a flow with a mean in it": (lambda: solve_flow(nngp(ResNet(tanh, width=sp.oo))), NoClosedForm, "no elementary solution"),
    "a flow that cannot be inverted": (
        lambda: solve_flow(Flow((size,), [1 / (1 + sp.exp(size**2))])),
        NoClosedForm,
        "no elementary solution",
    ),
    "a row covariance that is not symmetric": (
        lambda: Weights("W", row_covariance=[[1, 2], [3, 1]]),
        DerivationError,
        "must be a symmetric matrix",
    ),
    "a layer with a typing error": (lambda: parse_layer("x + "), DerivationError, "does not parse; check operators"),
    "an activation with a typing error": (lambda: parse_activation("x + *"), DerivationError, "does not parse"),
    "a matrix of two words": (lambda: Weights("a b"), DerivationError, "a name such as A or W_1"),
    "a matrix without neurons": (lambda: Weights("B", out=0), DerivationError, "B must put out a positive whole number"),
    "growth at a point": (lambda: analyse(sp.tanh(x), x).growth(sp.S.Zero), DerivationError, "growth is asked at oo or -oo"),
    "a step with parameters": (
        lambda: milstein_step(Diffusion((x,), [c * x], [[1]])),
        DerivationError,
        "needs numbers for the parameters c",
    ),
    "breakpoints without an order": (
        lambda: recognise(Diffusion((x,), [0], [[sp.Piecewise((1, x < c), (2, x < y), (3, True))]])),
        DerivationError,
        "cannot order the breakpoints",
    ),
    "a filter in every layer": (
        lambda: derive(Network("A(relu(x), filter=3)", width=symbols.width, positions=4), order="joint"),
        NoLimit,
        r"positions that meet in every layer become alike: keep the state beside a small branch, x \+ epsilon",
    ),
    "a size without a value": (lambda: scalings(ResNet(relu, width=3)).times(10, {}), DerivationError, "a value of epsilon is needed"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("layer", ["sin(x/eps)", "x + A(x)/eps", "x + A(x) + A(x)/eps**2"])
def test_formulas_in_refusals_have_the_small_parameter_as_it_is_typed(layer):
    """They had SymPy's name of it, varepsilon."""
    with pytest.raises(NoLimit, match="/epsilon") as refused:
        derive(Network(layer, width=2))
    assert "varepsilon" not in str(refused.value)
