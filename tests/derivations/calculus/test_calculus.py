"""Itô's formula, the Kolmogorov operators, Stratonovich, inversion of maps."""

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from derivations.calculus.invert import invert
from derivations.calculus.ito import bracket, generator, square_root, to_stratonovich, transform
from derivations.calculus.kolmogorov import backward, forward
from derivations.calculus.lamperti import LampertiForm, split
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.piecewise import Piece
from derivations.symbols import time
from tests.helpers import equal_symbolically

x, y, z = sp.symbols("x y z", real=True)
t = time
s, k = sp.symbols("s k", positive=True)
heston = Diffusion((x, y), [-y / 2, k * (1 - y)], [[y, s * y / 3], [s * y / 3, s**2 * y]])


def test_product_rule_has_the_cross_term():
    assert sp.expand(generator(heston, x * y) - (x * k * (1 - y) - y**2 / 2 + s * y / 3)) == 0


def test_time_dependence():
    brownian = Diffusion((x,), [0], [[1]])
    assert generator(brownian, x**4 - 6 * t * x**2 + 3 * t**2) == 0  # a Hermite martingale
    assert generator(brownian, x**4) == 6 * x**2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_bracket_is_the_defect_of_the_product_rule(a, b, c, d):
    f, g = x**a * y**b, x**c * y**d
    defect = generator(heston, f * g) - f * generator(heston, g) - g * generator(heston, f)
    assert sp.expand(defect - bracket(heston, f, g)) == 0


@pytest.mark.slow
def test_forward_is_adjoint_to_backward():
    # ∫ p 𝓛f = ∫ f 𝓛*p, with a Gaussian p that carries all boundary terms away
    process = Diffusion((x,), [1 - x**3], [[2 + x + x**2]])
    p, f = sp.exp(-(x**2)), x**3 - x
    left, right = p * backward(process, f), -f * forward(process, p)
    whole = [sp.integrate(sp.expand(e), (x, -sp.oo, sp.oo)) for e in (left, right)]
    assert whole[0] == whole[1] != 0


def test_transform_to_the_logarithm():
    gbm = Diffusion((x,), [k * x], [[s**2 * x**2]])
    log = transform(gbm, {z: sp.log(x)}, {x: sp.exp(z)})
    assert equal_symbolically(log.drift[0], k - s**2 / 2)
    assert equal_symbolically(log.covariance[0], s**2)


def test_transform_without_an_inverse_must_close():
    process = Diffusion((x, y), [0, 0], [[1, 0], [0, 1]])
    r = sp.Symbol("r", positive=True)
    closed = transform(process, {r: x**2 + y**2})
    assert closed.drift[0] == 2
    assert sp.expand(closed.covariance[0] - 4 * r) == 0
    with pytest.raises(DerivationError, match="still contain"):
        transform(process, {r: x**2 + 2 * y**2})


def test_stratonovich_and_back():
    for process in (heston, Diffusion((x,), [k * x], [[s**2 * x**2]])):
        back = to_stratonovich(process).to_ito()
        assert sp.simplify(back.drift - process.drift) == sp.zeros(*process.drift.shape)
        assert sp.simplify(back.covariance - process.covariance) == sp.zeros(*process.covariance.shape)


def test_stratonovich_obeys_the_ordinary_chain_rule():
    # geometric Brownian motion is exp of a Brownian motion: in Stratonovich form dX = X∘dB without drift
    p = sp.Symbol("p", positive=True)
    form = to_stratonovich(Diffusion((p,), [p / 2], [[p**2]]))
    assert form.drift[0] == 0
    assert form.factor[0] == p


def test_a_wrong_factor_is_refused():
    with pytest.raises(DerivationError, match="does not satisfy"):
        to_stratonovich(Diffusion((x,), [0], [[x**2]]), sp.Matrix([[2 * x]]))


def test_a_degenerate_covariance_has_fewer_columns():
    for columns in ([[1, 1]], [[x, 2 * x, -1]], [[0, 1, x], [0, 0, 2]]):
        sigma = sp.ImmutableMatrix(columns).T
        found = square_root(sp.ImmutableMatrix(sigma * sigma.T))
        assert found.shape == sigma.shape
        assert sp.expand(found * found.T - sigma * sigma.T).is_zero_matrix
    with pytest.raises(DerivationError, match="degenerate"):  # no covariance: a vanishing variance beside a covariance
        square_root(sp.ImmutableMatrix([[0, 1], [1, 1]]))


@pytest.mark.parametrize(
    ("scale", "potential"),
    [(x, sp.Rational(1, 4)), (sp.exp(-x), -sp.exp(-2 * x) / 4), (x**2 + 1, -1), (sp.tanh(x), None)],
)
def test_potential_without_drift(scale, potential):
    form = LampertiForm(x, (sp.S.Zero, sp.oo), sp.S.Zero, scale)
    direct = sp.diff(scale, x) ** 2 / 4 - scale * sp.diff(scale, x, 2) / 2
    assert equal_symbolically(form.potential, direct)
    if potential is not None:
        assert equal_symbolically(form.potential, potential)


def test_split_at_zeros_and_frozen_parts():
    process = Diffusion((x,), [0], [[sp.Piecewise((0, x < 0), (x**2 * (1 - x) ** 2, True))]])
    frozen, inside, outside = split(process)
    assert isinstance(frozen, Piece)
    assert (inside.interval, outside.interval) == ((0, 1), (1, sp.oo))
    assert equal_symbolically(inside.scale, x * (1 - x))
    assert equal_symbolically(outside.scale, x * (x - 1))


def test_roots_that_are_none_do_not_cut():
    (form,) = split(Diffusion((x,), [0], [[(sp.atan(x) + 2) ** 2]]))
    assert form.interval == (-sp.oo, sp.oo)
    assert len(split(Diffusion((x,), [0], [[(sp.atan(x) + 1) ** 2]]))) == 2


def test_a_kink_inside_has_no_kernel():
    with pytest.raises(NoClosedForm, match="crosses a kink"):
        split(Diffusion((x,), [0], [[sp.Piecewise((1, x < 0), (2, True))]]))


@pytest.mark.parametrize(
    ("noise", "why"),
    [
        (1 / x, "a pole of its noise at x = 0"),
        ((x - 1) / (x - 2), "a pole of its noise at x = 2"),
        (1 / (x**2 - 2), r"a pole of its noise at x = -?sqrt\(2\)"),
        (sp.atan(1 / (x - 1)), "a kink of its noise at x = 1"),
        (1 / (1 + sp.exp(1 / x)), "a jump of its noise at x = 0"),
    ],
    ids=str,
)
def test_a_singular_point_within_a_formula_has_no_kernel(noise, why):
    with pytest.raises(NoClosedForm, match=f"crosses {why}"):
        split(Diffusion((x,), [0], [[noise**2]]))
    (beyond,) = split(
        Diffusion((x,), [0], [[1 / (x - 2) ** 2]], sp.Interval.open(2, sp.oo))
    )  # the control: at an end it may be
    assert beyond.scale == 1 / (x - 2)


def test_roots_at_irrational_ends_are_read_off_squares():
    phi = sp.log(1 + sp.exp(x)) - 2 - sp.atan(sp.tanh(2))
    below, above = split(Diffusion((x,), [0], [[phi**2]]))
    assert (below.scale, above.scale) == (-phi, phi)


def test_time_dependent_and_vector_diffusions_have_no_lamperti_form():
    with pytest.raises(DerivationError, match="scalar"):
        split(heston)
    with pytest.raises(DerivationError, match="time"):
        split(Diffusion((x,), [0], [[t]]))


@pytest.mark.parametrize(
    ("expr", "inside"),
    [(sp.log(-x) / 2 + 1, -1), (sp.atan(x), 0), (x**3, 1), (sp.exp(-2 * x), 0), (1 / x, -2), (x**2 - 2 * x, 3)],
)
def test_inverse_is_an_inverse_on_the_right_branch(expr, inside):
    inverse = invert(expr, x, z, sp.Integer(inside))
    value = expr.subs(x, inside)
    assert sp.simplify(inverse.subs(z, value) - inside) == 0
    assert sp.simplify(sp.diff(inverse, z).subs(z, value) * sp.diff(expr, x).subs(x, inside)) == 1


@pytest.mark.slow
def test_a_map_without_an_elementary_inverse_is_refused():
    with pytest.raises(NoClosedForm):
        invert(x + sp.exp(sp.sin(x)), x, z, sp.Integer(0))
