"""Reduction to linear equations, by the condition and not by names."""

import pytest
import sympy as sp

from derivations.calculus.invert import invert
from derivations.calculus.ito import transform
from derivations.calculus.linear import ItoIntegral, LinearSDE, brownian, inner_time
from derivations.calculus.linear_ode import solve_linear
from derivations.calculus.reduction import reduce_to_linear
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws import recognise
from derivations.symbols import initial, time
from tests.helpers import equal_symbolically

t, q, k = sp.symbols("t q kappa", positive=True)
x, y = sp.symbols("x y", real=True)
half_line = sp.Interval.open(0, sp.oo)


def collapse(rate, extra=2):
    """Two inputs of an unshaped ReLU perceptron: q = ℓ²(1 − ρ)."""
    return Diffusion((q,), [2 * q * (1 - rate * sp.sqrt(q)) / t + extra * q], [[8 * q**2]], half_line, t)


def test_collapse_is_linear_with_its_singular_start():
    rate = sp.sqrt(2) / (3 * sp.pi)
    found = reduce_to_linear(collapse(rate), start=9 * sp.pi**2 / 2)
    w = found.equation
    assert found.map == t / sp.sqrt(q)
    assert (w.alpha, w.beta, w.gamma, w.delta, w.start) == (rate, 2, 0, -sp.sqrt(2), 0)
    assert equal_symbolically(w.moment(1), rate * (sp.exp(2 * t) - 1) / 2)
    s = inner_time
    assert w.in_law == rate * sp.Integral(sp.exp(s + sp.sqrt(2) * brownian(s)), (s, 0, t))
    # control: the sign of the term 2q, which simulation settled, changes the answer
    other = reduce_to_linear(collapse(rate, extra=-2), start=9 * sp.pi**2 / 2).equation
    assert other.beta == 4
    assert sp.expand(other.moment(1) - w.moment(1)) != 0


def test_moments_of_the_collapse_from_its_functional():
    # E (∫ exp(s + √2 B))² = 2 ∫∫_{u<s} exp(s + u + (s − u) + 4u): computed from the functional, not from the equation
    u, s = sp.symbols("u s", positive=True)
    pair = sp.exp(s + u) * sp.exp((s - u) + 4 * u)  # E exp(√2 B_s + √2 B_u) = exp(s − u + 4u)
    second = 2 * sp.integrate(sp.integrate(sp.expand(pair), (u, 0, s)), (s, 0, t))
    w = reduce_to_linear(collapse(k), start=1 / k**2).equation
    assert equal_symbolically(sp.expand(w.moment(2)), sp.expand(k**2 * second))


@pytest.mark.parametrize(
    ("drift", "variance", "state", "expected"),
    [
        (k * q * (1 - q), q**2, q, 1 / q),  # logistic growth
        (-q * sp.log(q), q**2, q, sp.log(q)),  # Gompertz
        (k * q * (q - 1), 2 * q**2, q, 1 / q),  # one input of a shaped smooth perceptron
        (1 + sp.exp(-x), sp.S.One, x, sp.exp(x)),
        (x * (1 + x**2), (1 + x**2) ** 2, x, sp.atan(x)),
        (-x + t, 1 + t, x, x),
        (t * q**2 + q, sp.exp(t) * q**2, q, 1 / q),  # δ depends on time
        (t * q**3 + q**2, sp.exp(t) * q**2, q, None),
    ],
)
def test_reduction(drift, variance, state, expected):
    process = Diffusion((state,), [drift], [[variance]], half_line if state is q else sp.S.Reals, t)
    if expected is None:
        with pytest.raises(NoClosedForm, match="not the image"):
            reduce_to_linear(process)
        return
    found = reduce_to_linear(process)
    assert sp.cancel(found.map / expected).free_symbols == set()
    # Itô's formula once more, by the general change of variables
    new = sp.Symbol("Y", positive=True) if state is q and found.map != sp.log(q) else sp.Symbol("Y", real=True)
    there = transform(process, {new: found.map}, {state: found.state_of(new)})
    again = found.equation.diffusion(new)
    assert equal_symbolically(there.drift[0], again.drift[0])
    assert equal_symbolically(there.covariance[0], again.covariance[0])


@pytest.mark.parametrize(
    ("drift", "variance", "state"),
    [(-(x**3), 1, x), (0, (1 + x**2) ** 2, x), (0, q**4, q), (k * q * (1 - q), q, q)],
)
def test_what_is_not_linear_is_refused(drift, variance, state):
    process = Diffusion((state,), [drift], [[variance]], half_line if state is q else sp.S.Reals, t)
    with pytest.raises(NoClosedForm, match="not the image of a linear one"):
        reduce_to_linear(process)


def test_solution_solves_the_equation():
    # γ ≠ 0, δ ≠ 0, checked on the mean: E Y from the formula by E exp(δ(B_t − B_s)) = exp(δ²(t − s)/2)
    a, b, d = sp.symbols("a b d", real=True)
    equation = LinearSDE(a, b, sp.S.Zero, d, sp.S.One, t)
    s = inner_time
    mean = sp.exp(b * t) + sp.integrate(a * sp.exp(b * (t - s)), (s, 0, t)).subs(sp.Ne(b, 0), True)
    assert equal_symbolically(sp.expand(equation.moment(1) - mean).rewrite(sp.exp).subs(b, 2), 0)
    phi = equation.fundamental
    assert phi == sp.exp((b - d**2 / 2) * t + d * brownian(t))
    assert equation.solution.has(sp.Integral)


def test_moments_with_time_dependent_coefficients_solve_their_equations():
    # α = t, β = 2, γ = e⁻ᵗ, δ = t
    equation = LinearSDE(t, sp.Integer(2), sp.exp(-t), t, y, t)
    first = equation.moment(1)
    assert sp.expand(sp.diff(first, t) - (t + 2 * first)) == 0
    assert first.subs(t, 0) == y
    # without multiplicative noise the second moment is elementary too
    additive = LinearSDE(t, sp.Integer(2), sp.exp(-t), sp.S.Zero, y, t)
    m1, m2 = additive.moment(1), additive.moment(2)
    assert sp.expand(sp.diff(m2, t) - (4 * m2 + 2 * t * m1 + sp.exp(-2 * t))) == 0
    assert sp.expand(m2.subs(t, 0) - y**2) == 0


@pytest.mark.parametrize("powers", [(1, 2, 3), (2, 2, 2), (0, 0, 1)])
def test_triangular_systems_with_equal_and_different_rates(powers):
    matrix = sp.Matrix(3, 3, lambda i, j: powers[i] if i == j else (i + 1 if j < i else 0))
    source = sp.Matrix([1, t, sp.exp(2 * t)])
    found = sp.Matrix(solve_linear(matrix, source, (1, -1, y), t))
    assert sp.expand(sp.diff(found, t) - matrix * found - source) == sp.zeros(3, 1)
    assert found.subs(t, 0) == sp.Matrix([1, -1, y])


def test_a_coupled_block():
    found = sp.Matrix(solve_linear(sp.Matrix([[0, 1], [-1, 0]]), sp.Matrix([0, 0]), (1, 0), t))
    assert sp.expand(found[0].rewrite(sp.cos) - sp.cos(t)) == 0
    with pytest.raises(NoClosedForm, match="depends on t"):
        solve_linear(sp.Matrix([[t]]), sp.Matrix([0]), (1,), t)


def test_bad_input():
    with pytest.raises(DerivationError, match="scalar"):
        reduce_to_linear(Diffusion((x, y), [0, 0], [[1, 0], [0, 1]]))
    with pytest.raises(DerivationError, match="degenerate"):
        reduce_to_linear(Diffusion((x,), [1], [[0]]))
    with pytest.raises(DerivationError, match="kinks"):
        reduce_to_linear(Diffusion((x,), [abs(x)], [[1]]))
    with pytest.raises(DerivationError, match="outside the domain"):
        reduce_to_linear(collapse(k), start=-sp.S.One)
    with pytest.raises(DerivationError, match="whole number"):
        LinearSDE(sp.S.One, sp.S.Zero, sp.S.Zero, sp.S.One, sp.S.One, t).moment(-1)
    with pytest.raises(NoClosedForm, match="reversal"):
        _ = LinearSDE(sp.S.One, sp.S.Zero, sp.S.One, sp.S.One, sp.S.One, t).in_law


CIRCLE = sp.Interval.open(-sp.pi / 2, sp.pi / 2)
a, b = sp.symbols("a b", positive=True)


@pytest.mark.parametrize(
    ("drift", "noise", "domain", "back"),
    [
        (-sp.sin(x) * sp.cos(x) ** 3, sp.cos(x) ** 2, CIRCLE, sp.atan(y)),
        (-sp.sin(x) * sp.cos(x) ** 3, sp.cos(x) ** 2, sp.S.Reals, sp.atan(y)),
        (sp.sin(x) ** 3 * sp.cos(x), sp.sin(x) ** 2, sp.Interval.open(0, sp.pi), sp.atan(y) + sp.pi / 2),
        (-x / 2, sp.sqrt(1 - x**2), sp.Interval.open(-1, 1), sp.sin(y)),
        (x / 2, sp.sqrt(1 + x**2), sp.S.Reals, sp.sinh(y)),
        ((1 - 2 * x) / 4, sp.sqrt(x * (1 - x)), sp.Interval.open(0, 1), sp.sin(y) / 2 + sp.S.Half),
        (-(b**2) * x * (1 - x**2), b * (1 - x**2), sp.Interval.open(-1, 1), sp.tanh(b * y)),
        (-sp.exp(-2 * x) / 2, sp.exp(-x), sp.S.Reals, sp.log(y)),
        (-sp.tanh(x) * (a + b**2 / sp.cosh(x) ** 2 / 2), b / sp.cosh(x), sp.S.Reals, sp.asinh(b * y)),
    ],
    ids=str,
)
@pytest.mark.slow
def test_the_image_of_a_gaussian_process_is_read_off(drift, noise, domain, back):
    # with drift ½ φ φ' the state is a function of W + c; with a linear drift of the coordinate, of an Ornstein–Uhlenbeck process
    found = reduce_to_linear(Diffusion((x,), [drift], [[noise**2]], domain, t))
    new = sp.Symbol("Y", real=True)
    assert equal_symbolically(found.state_of(new), back.subs(y, new))
    w = found.equation
    assert (w.gamma, w.delta) == (1, 0)
    # Itô's formula from the other side: f(Y) has the drift and the noise of X
    f = back.subs(y, new)
    there = (sp.diff(f, new) * (w.alpha + w.beta * new) + sp.diff(f, new, 2) / 2, sp.diff(f, new))
    point = sp.Rational(3, 5)
    for ours, theirs in zip(there, (drift, noise), strict=True):
        gap = (ours - theirs.subs(x, f)).subs({new: point, a: 2, b: sp.Rational(1, 3)})
        assert abs(sp.N(gap, 20)) < 1e-15
    assert abs(sp.N((there[0] - drift.subs(x, f) + there[1] / 10).subs({new: point, a: 2, b: 1}), 20)) > 1e-3


def test_the_branch_is_that_of_the_start():
    process = Diffusion((x,), [-sp.sin(x) * sp.cos(x) ** 3], [[sp.cos(x) ** 4]], sp.S.Reals, t)
    found = reduce_to_linear(process, start=sp.Integer(3))
    assert (found.process.domain.inf, found.process.domain.sup) == (sp.pi / 2, 3 * sp.pi / 2)
    assert found.state_of(y) == sp.atan(y) + sp.pi
    assert found.equation.start == sp.tan(3)


def test_its_law_is_that_of_the_gaussian():
    process = Diffusion((x,), [-sp.sin(x) * sp.cos(x) ** 3], [[sp.cos(x) ** 4]], CIRCLE)
    (law,) = recognise(process).parts
    at = {initial: sp.S.Half, time: sp.Rational(1, 3)}
    expected = sp.erfc(-(sp.tan(1) - sp.tan(sp.S.Half)) / sp.sqrt(sp.Rational(2, 3))) / 2
    assert abs(sp.N(law.cdf(sp.S.One).subs(at) - expected, 20)) < 1e-15


def test_a_coordinate_that_depends_on_a_parameter_says_so():
    # ∫ dx/xᵐ is a logarithm for m = 1
    with pytest.raises(NoClosedForm, match="not known in closed form for all parameters"):
        reduce_to_linear(Diffusion((q,), [k * q ** (2 * k - 1) / 2], [[q ** (2 * k)]], half_line, t))


@pytest.mark.parametrize("kind", [sp.sin, sp.cos, sp.tan, sp.cot])
@pytest.mark.parametrize("inside", [sp.Rational(1, 3), sp.Integer(2), sp.Integer(4), -sp.Integer(1)])
def test_angles_are_inverted_on_the_branch_of_the_point(kind, inside):
    back = invert(2 * kind(x) - 1, x, y, inside)
    for near in (inside, inside + sp.Rational(1, 10)):
        assert abs(sp.N(back.subs(y, 2 * kind(near) - 1) - near, 20)) < 1e-15


def test_an_ito_integral_depends_on_its_integrand_and_its_end():
    c, s = sp.Symbol("c"), inner_time
    integral = ItoIntegral(c * sp.exp(-s), s, t)
    assert integral.free_symbols == {c, t}
    assert integral.subs(c, 2) == ItoIntegral(2 * sp.exp(-s), s, t)
    assert (str(integral), sp.latex(integral)) == (
        "ItoIntegral(c*exp(-s), (s, 0, t))",
        r"\int_0^{t} c e^{- s}\,\mathrm{d}B_{s}",
    )
