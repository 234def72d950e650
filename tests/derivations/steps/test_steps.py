"""Steps as formulas: weak orders proved moment by moment, noise classes proved, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import sympy as sp

from derivations.activations import identity, leaky_relu, relu, tanh
from derivations.architectures import ResNet
from derivations.calculus.ito import generator
from derivations.calculus.noise import NoiseKind, classify_noise, noise_factor
from derivations.derivation import derive
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NoClosedForm
from derivations.limits import depth_limit
from derivations.steps import lamperti_step, milstein_step, two_point_step, weak_second_step
from derivations.symbols import time

x, y = sp.symbols("x y", positive=True)
GBM = Diffusion((x,), [x / 3], [[4 * x**2]])
CASES = {
    "geometric": GBM,
    "additive": Diffusion((x,), [x**2 - x * time], [[4]]),
    "general": Diffusion((x, y), [x - y, x * y], sp.diag(y**2, x**2)),
    "correlated": Diffusion((x, y), [y, -x], [[x**2, x * y], [x * y, y**2 + x**2]]),
}


def mean(moved: sp.Poly, step) -> sp.Expr:
    """E over the random numbers of a polynomial in them and in √h: (k - 1)!! for even powers of a normal, 1 for those of a sign."""
    total = sp.S.Zero
    for (*powers, halves), coefficient in moved.terms():
        if any(p % 2 for p in powers):
            continue
        weight = sp.prod([sp.factorial2(p - 1) for p in powers[: len(step.normals)]])
        total += coefficient * weight * step.size ** sp.Rational(halves, 2)
    return total


POINT = {
    x: sp.Rational(3, 2),
    y: sp.Rational(5, 7),
    time: sp.Rational(1, 3),
}  # exact: a polynomial vanishing here is no accident


def defect(process, step, order: int, function: sp.Expr) -> sp.Expr:
    """E f(x') − Σ hᵏ Lᵏf / k! at an exact point, up to the power of h that the order asks for."""
    root = sp.Dummy(positive=True)
    numbers = (*step.normals, *step.signs, root)
    moved = [sp.Poly(u.subs(POINT).subs(step.size, root**2), *numbers) for u in step.update]
    terms = sp.Poly(function, *process.states).terms()
    moved = sum(
        (c * sp.prod([u**p for u, p in zip(moved, powers, strict=True)]) for powers, c in terms), sp.Poly(0, *numbers)
    )
    taylor, term = sp.S.Zero, function
    for k in range(order + 1):
        taylor += step.size**k * term.subs(POINT) / sp.factorial(k)
        term = generator(process, term)
    difference = sp.expand(mean(moved, step) - taylor)
    return sum(difference.coeff(step.size, k) * step.size**k for k in range(order + 1))


def monomials(process, degree: int):
    for powers in product(range(degree + 1), repeat=len(process.states)):
        if 0 < sum(powers) <= degree:
            yield sp.prod([s**p for s, p in zip(process.states, powers, strict=True)])


def orders():
    """Each scheme on each diffusion that it applies to; moments up to the fifth in two states take seconds."""
    for case, process in CASES.items():
        for maker, order in ((milstein_step, 1), (two_point_step, 1), (weak_second_step, 2)):
            if maker is milstein_step and case in ("general", "correlated"):
                continue  # refused, as the next tests assert
            slow = order == 2 and len(process.states) == 2
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(maker, order, process, id=f"{maker.__name__}-{case}", marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize(("maker", "order", "process"), list(orders()))
def test_moments_of_one_step_agree_to_the_weak_order(maker, order, process):
    # Milstein 1979: a weak scheme has order p where the moments of one step up to the degree 2p + 1 agree to h^p
    step = maker(process)
    assert all(defect(process, step, order, f) == 0 for f in monomials(process, 2 * order + 1))
    beyond = [defect(process, step, order + 1, f) for f in monomials(process, 2)]
    assert any(d != 0 for d in beyond)  # the control: the order is not higher than it says
    wrong = replace(
        step, update=tuple(u + step.size**order * s / 20 for u, s in zip(step.update, process.states, strict=True))
    )
    assert defect(process, wrong, order, process.states[0]) != 0


def test_lamperti_steps_of_geometric_motion_are_exact():
    step = lamperti_step(Diffusion((x,), [x / 3], [[4 * x**2]], sp.Interval.open(0, sp.oo)))
    (xi,) = step.normals
    exact = x * sp.exp((sp.Rational(1, 3) - 2) * step.size + 2 * sp.sqrt(step.size) * xi)
    assert sp.expand(sp.log(step.update[0] / exact).expand(force=True)) == 0


@pytest.mark.parametrize(
    ("process", "kind"),
    [
        (CASES["additive"], NoiseKind.ADDITIVE),
        (GBM, NoiseKind.DIAGONAL),
        (Diffusion((x, y), [0, 0], sp.diag(x**2, sp.sin(y) ** 2 + 2)), NoiseKind.DIAGONAL),
        (Diffusion((x, y), [0, 0], [[x**2, x * y], [x * y, 2 * y**2]]), NoiseKind.COMMUTATIVE),
        (CASES["general"], NoiseKind.GENERAL),
        (depth_limit(ResNet(relu, width=1)), NoiseKind.DIAGONAL),
        (depth_limit(ResNet(relu, width=2)).explicit, NoiseKind.GENERAL),
        (depth_limit(ResNet(identity, width=2, inputs=2)).explicit, NoiseKind.GENERAL),
    ],
    ids=["additive", "scalar", "diagonal", "commutative", "swapped", "relu 1", "relu 2", "inputs"],
)
def test_the_kind_of_noise_is_proved(process, kind):
    noise = classify_noise(process)
    assert noise.kind is kind
    assert (noise.obstacle is None) == noise.commutes == (kind is not NoiseKind.GENERAL)
    residual = noise.factor * noise.factor.T - process.covariance
    point = {s: sp.Rational(3 + k, 2) for k, s in enumerate(process.states)}
    assert all(abs(entry.subs(point).evalf(20)) < sp.Rational(1, 10**15) for entry in residual)


def test_a_commutative_step_needs_all_its_terms():
    # dX = X (dB¹ + dB²/2), dY = Y dB²: exp of Brownian motions; the step agrees with it to size h
    process = Diffusion((x, y), [0, 0], [[x**2, x * y], [x * y, 2 * y**2]])
    step = milstein_step(process)
    h = step.size
    factor = noise_factor(process)
    increments = factor * sp.Matrix(step.normals) * sp.sqrt(h)
    for moved, s, increment, variance in zip(step.update, (x, y), increments, (1, 2), strict=True):
        exact = s * sp.exp(increment / s - sp.Rational(variance, 2) * h)
        series = sp.series(exact.subs(h, sp.Symbol("r", positive=True) ** 2), sp.Symbol("r", positive=True), 0, 3)
        assert sp.expand(series.removeO().subs(sp.Symbol("r", positive=True), sp.sqrt(h)) - moved) == 0


def test_the_root_of_a_sum_in_the_weak_step():
    # σ = r I, r² = u² + v², drift (u, −v): L r = (u² − v²)/r + r/2 since Δr = 1/r, and L^j r = r ∂_j r is the j-th state
    u, v = sp.symbols("u v", real=True)
    step = weak_second_step(Diffusion((u, v), [u, -v], (u**2 + v**2) * sp.eye(2)))
    h, (a, b), (flip,), r = step.size, step.normals, step.signs, sp.sqrt(u**2 + v**2)
    noise = r + h * ((u**2 - v**2) / r + r / 2 + r) / 2
    by_hand = u + u * h + u * h**2 / 2 + noise * sp.sqrt(h) * a + h * (u * (a**2 - 1) + v * (a * b + flip)) / 2
    point = {u: 3, v: 4, h: sp.Rational(1, 4), a: sp.Rational(2, 3), b: -sp.Rational(5, 7)}
    for sign in (1, -1):
        assert sp.expand((step.update[0] - by_hand).subs({**point, flip: sign})) == 0
    assert sp.expand((step.update[0] - by_hand).subs({**point, flip: 1, v: 5})) == 0
    assert step.update[0].subs({**point, flip: 1}) != by_hand.subs({**point, flip: -1})  # the control
    assert [update.subs({u: 0, v: 0}) for update in step.update] == [
        0,
        0,
    ]  # where plain derivatives of the root are 0/0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: milstein_step(CASES["general"]), DerivationError, r"\[σ\^2, σ\^1\].*is not 0"),
        (lambda: milstein_step(depth_limit(ResNet(relu, width=2))), DerivationError, "commutative"),
        (lambda: milstein_step(depth_limit(ResNet(relu, width=40))), DerivationError, "up to 8"),
        (
            lambda: milstein_step(Flow((x,), sp.Matrix([x]))),
            DerivationError,
            "the equation of one state or a few, got a limit without noise",
        ),
        (lambda: lamperti_step(CASES["general"]), DerivationError, "scalar"),
        (lambda: lamperti_step(depth_limit(ResNet(tanh, width=1))), NoClosedForm, "inverse"),
        (
            lambda: lamperti_step(Diffusion((x,), [1], [[x]], sp.Interval.open(0, sp.oo))),
            NoClosedForm,
            "not over the whole line",
        ),
        (lambda: two_point_step(Diffusion((x,), [0], [[sp.Symbol("c") * x**2]])), DerivationError, "c"),
    ],
)
def test_what_does_not_apply_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_kinks_and_dead_pieces_step_as_they_should():
    step = lamperti_step(depth_limit(ResNet(leaky_relu(sp.Rational(1, 2)), width=1)))
    (update,), (state,), (xi,) = step.update, step.states, step.normals
    at = {step.size: sp.Rational(1, 4), xi: sp.Rational(1, 3)}
    for value in (-2, 3):
        slope = sp.Integer(1) if value > 0 else -sp.Rational(1, 2)
        exact = value * sp.exp(slope * at[xi] / 2 - slope**2 / 8)
        assert abs((update.subs(at).subs(state, value) - exact).evalf(30)) < sp.Rational(1, 10**25)
    dead = lamperti_step(depth_limit(ResNet(relu, width=1)))
    assert dead.update[0].subs(dead.states[0], -1) == -1


def test_the_weak_step_of_order_2_of_six_states_is_refused_for_its_length():
    """Derivatives of roots of roots: it did not return in 150 s."""
    of_two, of_three = (derive(ResNet(identity, width=5, inputs=k)).gram for k in (2, 3))
    with pytest.raises(DerivationError, match=r"differentiates roots of roots.*use euler_maruyama"):
        weak_second_step(of_three)
    assert len(weak_second_step(of_two).update) == 3
