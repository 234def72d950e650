"""The kernels of doubly infinite networks: flows, closed forms and the explosion depth, against the theory."""

import mpmath as mp
import pytest
import sympy as sp

from derivations import (
    ConvResNet,
    MLPBlock,
    Network,
    NoClosedForm,
    ResNet,
    ShrinkingResNet,
    Weights,
    erf,
    gelu,
    identity,
    leaky_relu,
    relu,
    silu,
    tanh,
)
from derivations.gaussian import expect_pair
from derivations.kernels import Riccati, degree, explosion_depth, nngp, ntk, solve_flow
from derivations.kernels.generic_pair import pair_flow
from derivations.kernels.means import PAIR, means_of, slope_of
from derivations.symbols import state, step, time
from tests.helpers import equal_by_sampling, equal_symbolically

sw, sb = sp.symbols("sigma_w sigma_b", positive=True)
SHARED = {"weight_variance": sw**2, "bias_variance": sb**2}


@pytest.mark.parametrize(("outer", "gain"), [(tanh, 1), (erf, 4 / sp.pi)], ids=["tanh", "erf"])
@pytest.mark.parametrize("inner", [relu, erf, tanh], ids=str)
def test_tangent_flow_is_that_of_the_theory(outer, gain, inner):
    flow = ntk(ShrinkingResNet(outer, inner, width=sp.oo, inputs=2, **SHARED))
    k11, k12, k22, _, theta, _ = flow.states
    x = inner.variable
    block = ((k11, k12), (k12, k22))
    G = sb**2 + sw**2 * expect_pair(inner.expr, inner.expr, x, block)
    slopes = expect_pair(inner.derivative(), inner.derivative(), x, block)
    assert equal_symbolically(flow.drift[1], sp.expand(gain * G))
    assert equal_symbolically(flow.drift[4], sp.expand(gain * (G + sw**2 * theta * slopes)))


def test_the_residual_network_is_the_shrinking_one_with_nothing_outside():
    assert ntk(ResNet(relu, width=sp.oo, inputs=2)) == ntk(ShrinkingResNet(identity, relu, width=sp.oo, inputs=2))


def test_identity_inside_is_solved_by_exponentials():
    solved = solve_flow(ntk(ShrinkingResNet(erf, identity, width=sp.oo, inputs=2, **SHARED)))
    s, beta = 4 * sw**2 / sp.pi, sb**2 / sw**2
    for name in ("12", "11"):
        start, tangent = (
            sp.Symbol(f"{stem}_{name}_0", real=True, **({"positive": True} if name == "11" else {}))
            for stem in ("K", "Theta")
        )
        k, theta = (next(v for key, v in solved.items() if str(key) == f"{stem}_{name}") for stem in ("K", "Theta"))
        assert equal_symbolically(k, (start + beta) * sp.exp(s * time) - beta)
        assert equal_symbolically(theta, sp.exp(s * time) * (tangent + s * time * (start + beta)))


def test_positive_homogeneous_variance_is_solved_with_its_tangent():
    solved = list(solve_flow(ntk(ResNet(relu, width=sp.oo))).values())
    k0, theta0 = sp.Symbol("K_0", positive=True), sp.Symbol("Theta_0", positive=True)
    assert equal_symbolically(solved[0], k0 * sp.exp(time / 2))
    assert equal_symbolically(solved[1], (theta0 + k0 * time / 2) * sp.exp(time / 2))


RICCATI = [
    (1, 0, 1, 0),
    (1, 2, 1, 0),
    (1, 3, 1, 0),
    (2, -1, 3, 1),
    (1, 0, -1, 0),
    (1, 0, -1, 2),
    (-1, 1, -2, 0),
    (1, -2, 1, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize("coefficients", RICCATI, ids=str)
def test_riccati_solves_its_equation_until_it_explodes(coefficients):
    alpha, beta, gamma, start = map(sp.Integer, coefficients)
    riccati = Riccati(alpha, beta, gamma, start)
    m = riccati.at(time)
    assert equal_by_sampling(sp.diff(m, time), alpha * m**2 + beta * m + gamma, symbols={time: ["1/7", "1/3", "2/5"]})
    assert sp.limit(m, time, 0) == start
    # independently: the time to infinity is an integral, infinite if a root lies on the way
    roots = [sp.re(r) for r in sp.Poly(alpha * state**2 + beta * state + gamma, state).nroots() if abs(sp.im(r)) < 1e-9]
    upward = bool(alpha * start**2 + beta * start + gamma > 0)
    met = any((r >= start) if upward else (r <= start) for r in roots) or upward != bool(alpha > 0)
    if met:
        assert riccati.explosion == sp.oo
    else:
        f = sp.lambdify(state, 1 / (alpha * state**2 + beta * state + gamma), "mpmath")
        expected = mp.quad(f, [float(start), mp.inf if upward else -mp.inf])
        assert abs(sp.N(riccati.explosion) - abs(expected)) < 1e-8


def test_swish_explodes_at_a_depth_in_closed_form():
    k0 = sp.Symbol("K_0", positive=True)
    network = ShrinkingResNet(silu, identity, width=sp.oo, **SHARED)
    depth = explosion_depth(network)
    for values in ({k0: 1, sw: 1, sb: sp.Rational(1, 10)}, {k0: sp.Rational(1, 9), sw: 1, sb: sp.Rational(1, 10)}):
        a = {**values}
        # THEORY: m' = ½φ''(0)(σ_b² + σ_w² λ), λ a quadratic in m, integrated to infinity by quadrature
        lam = lambda m, a=a: a[k0] + m**2 + m  # noqa: E731  (2 φ'(0)²/φ''(0) = 1 for SiLU)
        speed = lambda m, a=a, lam=lam: (a[sb] ** 2 + a[sw] ** 2 * lam(m)) / 4  # noqa: E731
        expected = mp.quad(lambda m, speed=speed: 1 / speed(m), [0, 1, mp.inf])
        assert abs(sp.N(depth.subs(a)) - expected) < 1e-10
    assert explosion_depth(ShrinkingResNet(tanh, identity, width=sp.oo)) == sp.oo
    with pytest.raises(NoClosedForm):
        explosion_depth(ShrinkingResNet(silu, tanh, width=sp.oo))


def test_solved_swish_moments_solve_their_flow():
    flow = nngp(ShrinkingResNet(silu, identity, width=sp.oo, weight_variance=sp.Integer(2)))
    k0 = sp.Symbol("K_0", positive=True)
    solved = {s: v.subs(k0, 1) for s, v in solve_flow(flow).items()}
    for s, velocity in zip(flow.states, flow.drift, strict=True):
        assert equal_by_sampling(sp.diff(solved[s], time), velocity.subs(solved), symbols={time: ["1/7", "1/3", "1/2"]})


def test_what_has_no_closed_form_says_so():
    with pytest.raises(NoClosedForm, match="numerically"):
        solve_flow(nngp(ResNet(relu, width=sp.oo, inputs=2)))


def test_a_function_around_the_matrix_keeps_neurons_gaussian():
    flow = nngp(Network(state + step * sp.sin(Weights("W")(relu(state))), width=sp.oo))
    (k,) = flow.states  # E sin(u)² with u of variance K/2
    assert equal_symbolically(flow.drift[0], (1 - sp.exp(-k)) / 2)


def test_convolution_couples_positions_in_the_tangent_kernel():
    flow = ntk(ConvResNet(tanh, identity, width=sp.oo, positions=(2,), filter=(1,), **SHARED))
    velocity = dict(zip(map(str, flow.states), flow.drift, strict=True))
    names = {str(s): s for s in flow.states}
    assert equal_symbolically(velocity["Theta_12"], sb**2 + sw**2 * (names["K_12"] + names["Theta_12"]))
    wide = ntk(ConvResNet(tanh, identity, width=sp.oo, positions=(3,), filter=(3,), **SHARED))
    names = {str(s): s for s in wide.states}
    velocity = dict(zip(map(str, wide.states), wide.drift, strict=True))
    around = sum(names[f"{stem}_{k}{k}"] for stem in ("K", "Theta") for k in (1, 2, 3))
    assert equal_symbolically(velocity["Theta_11"], sb**2 + sw**2 * around / 3)


def test_means_are_those_of_the_gaussian_calculus():
    a, c, b = PAIR
    assert equal_by_sampling(
        means_of(relu).product,
        expect_pair(relu.expr, relu.expr, state, ((a, c), (c, b))),
        symbols={a: [1, 2], c: ["1/2", "-1/3"], b: [1, "3/2"]},
    )
    assert means_of(tanh).product is None
    assert means_of(slope_of(relu)).square is not None
    assert [degree(f) for f in (relu, slope_of(relu), leaky_relu(sp.Rational(1, 5)), erf)] == [1, 0, 1, None]


def test_means_of_squares_are_integrals_of_squares_whose_terms_do_not_cancel():
    """Far to the left GELU is small, and the terms of its square multiplied out are not."""
    flow = pair_flow(MLPBlock(gelu, width=sp.oo), tangent=True)
    squares = [mean.activation.expr for mean in flow.own if mean.activation.expr.is_Pow]
    assert len(squares) == 3
    places = (-4.0, -4.5, -5.0, -5.5)
    for expr in squares[:2]:  # of GELU and of its slope
        (z,) = expr.free_symbols
        exact = [expr.subs(z, sp.Rational(place)).evalf(40) for place in places]

        def lost(formula, exact=exact, z=z):
            by_doubles = sp.lambdify(z, formula, "math")
            return max(abs(by_doubles(place) / value - 1) for place, value in zip(places, exact, strict=True))

        assert 30 * lost(expr) < lost(sp.expand(expr))
        assert lost(expr) < 1e-8
