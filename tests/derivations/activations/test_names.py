"""A parameter may be called as its owner likes: results follow, or the name is refused where results are written in it."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations import (
    MLP,
    DerivationError,
    Diffusion,
    Network,
    PreNormResNet,
    ResNet,
    ShapedMLP,
    ShrinkingResNet,
    Weights,
    depth_limit,
    joint_limit,
    recognise,
    silu,
    symbols,
    two_slope,
    width_limit,
)
from derivations.calculus.moments import moment_equations
from derivations.symbols import state as x

T, X0 = sp.Rational(1, 2), sp.Rational(1, 4)


def coefficients(limit):
    return sp.Tuple(*limit.drift, *limit.covariance)


def law(process):
    found = recognise(process)
    return sp.Tuple(found.pdf(sp.Rational(1, 3), T, X0), found.cdf(sp.Rational(1, 3), T, X0))


#: What is derived from a parameter, and the names that occur inside the derivation or in its result.
DERIVED = {
    "neurons": (
        lambda c: coefficients(depth_limit(ResNet(c * sp.tanh(x), width=2))),
        "x_1 x_2 x_0 u m varepsilon xi_1 t n L x_j",
    ),
    "layer": (
        lambda c: coefficients(depth_limit(ResNet(two_slope(c, 1), width=symbols.width))),
        "xi_1 x_j x_1 x_j^1 z",
    ),
    "weights": (
        lambda c: coefficients(depth_limit(ResNet(silu, width=2, weight_variance=c))),
        "x_1 u m varepsilon tau G xi_1",
    ),
    "kernel": (
        lambda c: coefficients(width_limit(ResNet(two_slope(c, 0), width=sp.oo, inputs=2))),
        "K_11 K_12 v v_1 c v_2 k_11 s",
    ),
    "shrinking": (
        lambda c: coefficients(depth_limit(ShrinkingResNet(silu, c * sp.tanh(x), width=2, bias_variance=c))),
        "x_1 u m varepsilon tau",
    ),
    "perceptron": (lambda c: coefficients(joint_limit(MLP(two_slope(1, c)))), "V varepsilon tau h A B C k w"),
    "pair": (lambda c: coefficients(joint_limit(MLP(two_slope(1, c), inputs=2))), "q rho h A"),
    "shaped": (lambda c: coefficients(joint_limit(ShapedMLP(silu, a=c))), "V tau varepsilon xi_1"),
    "pre-norm": (lambda c: coefficients(joint_limit(PreNormResNet(two_slope(c, 1)))), "V tau"),
    "law": (lambda c: law(Diffusion((x,), [-c * x], [[1]])), "x_0 z y p q s"),
    "moments": (lambda c: sp.Tuple(*moment_equations(Diffusion((x,), [-c * x], [[1]]), 2).right_side), "m_1 m_2 x_0 s"),
}


def result(derive, parameter):
    try:
        return derive(parameter), ""
    except DerivationError as error:
        return None, str(error)


def equal(left, right) -> bool:
    values = {s: sp.Rational(3 + 7 * k, 11) for k, s in enumerate(sorted((left - right).free_symbols, key=str))}
    return abs(sp.N((left - right).subs(values), 15)) < sp.Rational(1, 10**10)


@pytest.mark.parametrize(
    "what", [pytest.param(w, marks=[pytest.mark.slow] * (w in ("pair", "kernel", "law"))) for w in DERIVED]
)
@pytest.mark.parametrize("assumption", ["positive", "real"])
@pytest.mark.slow
def test_the_name_of_a_parameter_does_not_matter(what, assumption):
    derive, names = DERIVED[what]
    try:
        expected = derive(neutral := sp.Symbol("zeta", **{assumption: True}))
    except DerivationError:
        pytest.skip(f"needs a positive parameter, a {assumption} one does not do")
    accepted = 0
    for name in names.split():
        parameter = sp.Symbol(name, **{assumption: True})
        found, complaint = result(derive, parameter)
        if found is None:
            assert f"the parameter {name} " in complaint
            assert complaint.endswith("rename it")
            continue
        accepted += 1
        for left, right in zip(found, expected.subs(neutral, parameter), strict=True):
            assert equal(left, right), name
    assert accepted


def test_a_bound_name_is_the_users_own():
    own, n = sp.Symbol("xi_1", real=True), symbols.width
    covariance = depth_limit(ResNet(own * sp.tanh(x), width=n)).covariance[0]
    assert covariance.subs(own, 3) == depth_limit(ResNet(3 * sp.tanh(x), width=n)).covariance[0]
    assert covariance.free_symbols == {own, n}
    assert covariance.subs(n, 1).free_symbols == {own}


REFUSED = {
    "x_1": "a neuron's state",
    "x^2": "a neuron's state",
    "varepsilon": "the small parameter of a layer",
    "u": "a neuron's pre-activation",
    "m": "the mean of a pre-activation",
    "K_12": "an entry of the Gram matrix",
    "Theta": "an entry of the Gram matrix or the tangent kernel",
    "M": "the mean of the states",
    "rho": "the correlation of two inputs",
    "Lambda": "the logarithm of a layer's norm",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_of_the_result_is_refused_everywhere(name):
    taken = sp.Symbol(name, real=True)
    for make in (
        lambda: ResNet(taken * sp.tanh(x), width=2),
        lambda: ResNet(silu, width=2, weight_variance=taken**2),
        lambda: ShapedMLP(two_slope(1, 0), c_plus=taken, c_minus=0),
        lambda: Network(x + taken**2 * symbols.step * Weights("W")(x), width=2, parameters=(taken,)),
    ):
        with pytest.raises(DerivationError, match=f"has the name of {REFUSED[name]}"):
            make()


def test_time_may_stand_in_a_variance_and_not_in_an_activation():
    t = symbols.time
    assert (
        depth_limit(ResNet(two_slope(1, 1), width=1, weight_variance=1 + t)).covariance[0].expand() == x**2 + t * x**2
    )
    with pytest.raises(
        DerivationError, match=r"^the parameter t of the activation .* has the name of the limit's time"
    ):
        ResNet(t * sp.tanh(x), width=1)
