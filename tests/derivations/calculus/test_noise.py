"""The noise of a diffusion: real roots on its domain, what is a covariance, factors of one's own."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations.calculus.ito import to_stratonovich, transform
from derivations.calculus.lamperti import positive_root
from derivations.calculus.noise import classify_noise, noise_factor
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.steps import milstein_step, two_point_step, weak_second_step

x, y = sp.symbols("x y", real=True)
c = sp.Symbol("c", positive=True)
oo, pi = sp.oo, sp.pi

REAL_ROOTS = {
    "Wright–Fisher": (x * (1 - x), 0, 1),
    "its square": (x**2 * (1 - x) ** 2, 0, 1),
    "on (-1, 1)": (1 - x**2, -1, 1),
    "well": ((x**2 - 1) ** 2, -1, 1),
    "beyond": (x**2 - 1, -oo, -1),
    "cubic": (x * (1 - x) * (2 - x), 0, 1),
    "between": (x * (x - 1) * (2 - x), 1, 2),
    "odd power": (x**3 * (1 - x) ** 3, 0, 1),
    "sine": (sp.sin(x), 0, pi),
    "lower sine": (-sp.sin(x), pi, 2 * pi),
    "half line": (-(x**3), -oo, 0),
    "root": (sp.sqrt(1 - x**2), -1, 1),
    "tanh": (1 - sp.tanh(x) ** 2, -oo, oo),
    "parameter": (c**2 * x * (1 - x), 0, 1),
}


@pytest.mark.parametrize("name", REAL_ROOTS)
def test_roots_of_the_noise_are_real_on_the_domain(name):
    a, low, high = REAL_ROOTS[name]
    process = Diffusion((x,), [0], [[a]], sp.Interval.open(low, high))
    for root in (noise_factor(process)[0], positive_root(a, x, sp.S(low), sp.S(high))):
        assert not root.has(sp.I)
        for share in (sp.Rational(1, 7), sp.Rational(1, 2), sp.Rational(8, 9)):
            at = low + share * (high - low) if sp.S(high - low).is_finite else (high if high != oo else 0) - share
            here = {x: at, c: sp.Rational(3, 2)}
            parts = [part.subs(here).evalf(30) for part in sp.Mul.make_args(root)]
            assert all(part.is_real for part in parts)  # part by part: a machine has no I * I = -1
            assert abs(sp.prod(parts) ** 2 - a.subs(here)).evalf(30) < sp.Rational(1, 10**25)
    assert positive_root(a, x, sp.S(low), sp.S(high)).subs(here).evalf() > 0


def test_roots_are_continuous_at_kinks_and_smooth_at_zeros():
    crossing = Diffusion((x,), [0], [[sp.Piecewise(((1 - x) ** 2, x < 0), ((1 + x / 2) ** 2, True))]])
    root = noise_factor(crossing)[0]
    assert root.subs(x, 0) == sp.limit(root, x, 0, "+") == 1
    assert noise_factor(Diffusion((x, y), [0, 0], sp.diag(x**2, sp.sin(y) ** 2))) == sp.diag(x, sp.sin(y))
    step = weak_second_step(Diffusion((x, y), [0, 0], sp.diag(x**2, sp.sin(y) ** 2)))
    assert not any(u.has(sp.DiracDelta, sp.sign, sp.Abs) for u in step.update)


NONE = {
    "matrix": ((x, y), [[1, 2], [2, 1]], sp.S.Reals),
    "number": ((x,), [[-1]], sp.S.Reals),
    "zero variance": ((x, y), [[0, 1], [1, 5]], sp.S.Reals),
    "radicals": ((x, y), [[sp.sqrt(2), sp.Rational(3, 2)], [sp.Rational(3, 2), sp.sqrt(2)]], sp.S.Reals),
    "sign": ((x,), [[-c]], sp.S.Reals),
    "domain": ((x,), [[x * (1 - x)]], sp.Interval(0, 2)),
    "line": ((x,), [[x]], sp.S.Reals),
    "correlation": ((x, y), [[1, x], [x, 1]], sp.S.Reals),
    "imaginary": ((x,), [[sp.log(x) ** 3]], sp.Interval.open(-2, -1)),
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_covariance_is_refused(name):
    states, covariance, domain = NONE[name]
    with pytest.raises(DerivationError, match="covariance"):
        Diffusion(states, [0] * len(states), covariance, domain)


def test_what_is_a_covariance_is_not():
    taken = [
        Diffusion((x, y), [0, 0], [[1, 1], [1, 1]]),
        Diffusion((x, y), [0, 0], [[sp.sqrt(2), sp.sqrt(2)], [sp.sqrt(2), sp.sqrt(2)]]),
        Diffusion((x, y), [0, 0], [[1, x], [x, 1]], sp.Interval(-1, 1) * sp.S.Reals),
        Diffusion((x,), [0], [[x * (1 - x)]], sp.Interval(0, 1)),
        Diffusion((c,), [0], [[c]]),
        Diffusion((x,), [0], [[sp.Symbol("s", real=True)]]),
    ]
    assert [d.covariance[0, 0] for d in taken] == [1, sp.sqrt(2), 1, x * (1 - x), c, sp.Symbol("s", real=True)]


def test_states_that_share_a_brownian_motion_take_every_step():
    shared = Diffusion((x, y), [-x, 0], sigma=[x, x * y])
    assert shared.covariance == sp.Matrix([[x**2, x**2 * y], [x**2 * y, x**2 * y**2]])
    assert noise_factor(shared).shape == noise_factor(Diffusion((x, y), [-x, 0], shared.covariance)).shape == (2, 1)
    assert classify_noise(shared).commutes
    for step in (milstein_step, two_point_step, weak_second_step):
        made = step(shared)
        assert len(made.normals) + len(made.signs) == 1
        assert made.update[0].has(x)
    # Y = exp of the same motion: L¹σ = (x, x y + x² y), Milstein's weights
    (xi,) = milstein_step(shared).normals
    weight = milstein_step(shared).update[1].expand().coeff(xi, 2)
    assert sp.expand(weight / milstein_step(shared).size - (x * y + x**2 * y) / 2) == 0


def test_a_factor_goes_with_its_diffusion():
    process = Diffusion((x,), [c], sigma=[[sp.sin(x), sp.cos(x)]])
    assert process.covariance == sp.Matrix([[sp.sin(x) ** 2 + sp.cos(x) ** 2]])
    assert to_stratonovich(process).to_ito().sigma == process.sigma
    moved = transform(process, {y: sp.exp(x)}, {x: sp.log(y)})
    assert moved.sigma == sp.Matrix([[y * sp.sin(sp.log(y)), y * sp.cos(sp.log(y))]])
    with pytest.raises(DerivationError, match="does not satisfy"):
        Diffusion((x,), [0], [[x**2]], sigma=[x + 1])
    with pytest.raises(DerivationError, match="rows"):
        Diffusion((x, y), [0, 0], sigma=[x])
    with pytest.raises(DerivationError, match="needs its covariance"):
        Diffusion((x,), [0])


def test_parameters_are_replaced_and_states_are_not():
    process = Diffusion((x,), [-c * x], [[c**2]], sp.Interval.open(0, c), sigma=[c])
    for done in (process.subs(c, 3), process.subs({c: 3}), process.xreplace({c: sp.Integer(3)})):
        assert done == Diffusion((x,), [-3 * x], [[9]], sp.Interval.open(0, 3), sigma=[3])
    assert process.parameters == {c}
    for target in (x, process.time):
        with pytest.raises(DerivationError, match="only parameters"):
            process.subs(target, 1)
    with pytest.raises(DerivationError, match="covariance"):
        Diffusion((x,), [0], [[sp.Symbol("v", real=True)]]).subs(sp.Symbol("v", real=True), -1)
