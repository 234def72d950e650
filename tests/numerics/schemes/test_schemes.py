"""Schemes against exact paths and laws: strong orders on the same Brownian paths, weak orders with their own errors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from scipy.interpolate import CubicSpline

from derivations.activations import identity, relu, tanh
from derivations.architectures import ResNet
from derivations.diffusion import Diffusion
from derivations.limits import depth_limit
from derivations.steps import milstein_step, two_point_step, weak_second_order, weak_second_step
from numerics.compile.steps import compile_step, coupled_kernel
from numerics.fokker_planck import solve_fokker_planck
from numerics.paths import simulate_sde
from numerics.schemes import SCHEMES, LampertiSteps, Milstein, WeakSecond, find_scheme
from numerics.schemes.levy import areas
from numerics.schemes.symbolic import SymbolicScheme
from numerics.statistics import Estimate, convergence_order

x = sp.Symbol("x", positive=True)
GBM = Diffusion((x,), [0], [[x**2]], sp.Interval.open(0, sp.oo))
SIZES = (4, 8, 16, 32)


def strong_slope(step, samples: int = 40_000) -> Estimate:
    """The order of E|X_N − X| along the same Brownian paths, X = exp(B − 1/2)."""
    errors = []
    for steps in SIZES:
        rng = np.random.default_rng(steps)
        here, total = np.ones((1, samples)), np.zeros(samples)
        for _ in range(steps):
            normals = rng.standard_normal((1, samples))
            total += normals[0] * np.sqrt(1 / steps)
            # a scheme of signs sees those of the normals: the best it can do on this path
            signs = np.sign(normals)[: len(step.step.signs)]
            here = step(here, 0.0, 1 / steps, normals[: len(step.step.normals)], signs)
        errors.append(Estimate.of(np.abs(here[0] - np.exp(total - 0.5))))
    return convergence_order(SIZES, errors).order


def euler_formula() -> object:
    """Euler's step as Milstein's without its correction."""
    step = milstein_step(GBM)
    update = step.states[0] * (1 + sp.sqrt(step.size) * step.normals[0])
    return type(step)(step.states, step.time, step.size, step.normals, (), (update,))


def test_strong_orders():
    milstein = strong_slope(compile_step(milstein_step(GBM)))
    euler = strong_slope(compile_step(euler_formula()))
    assert abs(milstein.test(1.0).statistic) < 4
    assert abs(euler.test(0.5).statistic) < 4
    assert abs(milstein.test(0.5).statistic) > 4  # each is the other's control
    assert abs(euler.test(1.0).statistic) > 4
    assert abs(strong_slope(compile_step(two_point_step(GBM))).test(0.5).statistic) > 4  # signs follow no path


@pytest.mark.slow
def test_weak_order_two():
    # E X² of one step is 1 + h + h²/2, so the chain's own value is known exactly
    for steps in (1, 2, 4):
        h = 1 / steps
        square = simulate_sde(GBM, 1.0, steps=steps, samples=1_000_000, seed=steps, scheme=WeakSecond())[:, 0] ** 2
        measured = Estimate.of(square)
        assert abs(measured.test((1 + h + h * h / 2) ** steps).statistic) < 4
        assert abs(measured.test((1 + h) ** steps).statistic) > 4  # the control: Euler's value
    assert np.e - (1 + 1 / 64 + 1 / 64**2 / 2) ** 64 < (np.e - (1 + 1 / 64) ** 64) / 60


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [s for s in SCHEMES if isinstance(s, SymbolicScheme)], ids=lambda s: s.name)
def test_machine_code_gives_the_numbers_that_arrays_give(scheme):
    pytest.importorskip("numba", reason="machine-code kernels need the extra fast")
    limit = depth_limit(ResNet(identity, width=1))
    kwargs = {"x0": [[0.8], [-0.5]], "t": 0.5, "steps": 7, "samples": 2, "seed": 1, "scheme": scheme}
    arrays, kernel = (simulate_sde(limit, **kwargs, backend=b) for b in ("numpy", "numba"))
    np.testing.assert_allclose(kernel, arrays, rtol=1e-12)


@pytest.mark.slow
def test_a_layer_takes_weak_steps():
    limit = depth_limit(ResNet(relu, width=3))
    start = np.array([1.0, -0.5, 0.3])
    x = simulate_sde(limit, start, t=0.5, steps=8, samples=60_000, scheme="weak_second", seed=3)
    # each neuron is a martingale, and d(x_i²) = S/n dt with dS of its own: compare E Σx² with Euler's at many steps
    fine = simulate_sde(limit, start, t=0.5, steps=400, samples=60_000, seed=4)
    difference = Estimate.of((x**2).sum(1)) - Estimate.of((fine**2).sum(1))
    assert abs(difference.test(0.0).statistic) < 4
    assert abs(Estimate.of(x[:, 0]).test(1.0).statistic) < 4
    dead = simulate_sde(limit, -1.0, t=0.5, steps=3, samples=5, scheme="weak_second")
    assert np.all(dead == -1)


@pytest.mark.slow
def test_areas_have_the_moments_of_levys():
    # Var A = h²/4 and E A² | ξ = h²/12 (1 + ξ_j² + ξ_k²); fourth moment E A⁴ = 5h⁴/16 from Lévy's 1/cosh
    rng, h = np.random.default_rng(0), 0.3
    for terms in (1, 8):
        xi = rng.standard_normal((3, 400_000))
        area = areas(xi, h, terms, rng)
        np.testing.assert_allclose(area, -area.swapaxes(0, 1))
        for j, k in ((0, 1), (2, 0)):
            square = area[j, k] ** 2
            assert abs(Estimate.of(square).test(h**2 / 4).statistic) < 4
            given = square * (xi[j] ** 2 - 1)  # E of it: h²/12 · 2
            assert abs(Estimate.of(given).test(h**2 / 6).statistic) < 4
            assert abs(Estimate.of(square).test(1.05 * h**2 / 4).statistic) > 4  # the control
        if terms == 8:
            assert abs(Estimate.of(area[0, 1] ** 4).test(5 * h**4 / 16).statistic) < 4
    assert np.all(areas(xi[:1], h, 3, rng) == 0)


@pytest.mark.slow
def test_strong_order_one_for_noise_that_does_not_commute():
    # Heisenberg: dX = dB¹, dY = X dB². In one step Euler has Y = 0, the scheme I_12: over N steps the variance of Y
    # is that of ∫B¹dB², 1/2, exactly; Euler's is 1/2 − 1/(2N)
    y = sp.Symbol("y", real=True)
    u = sp.Symbol("u", positive=True)  # so that the root of u² is u, which is smooth at 0 too
    heisenberg = Diffusion((u, y), [0, 0], sp.diag(1, u**2))
    for steps in (1, 2, 4):
        kwargs = {"x0": [0.0, 0.0], "steps": steps, "samples": 200_000, "seed": steps}
        free = Estimate.of(simulate_sde(heisenberg, scheme="derivative_free", **kwargs)[:, 1] ** 2)
        euler = Estimate.of(simulate_sde(heisenberg, **kwargs)[:, 1] ** 2)
        assert abs(free.test(0.5).statistic) < 4
        assert abs(euler.test(0.5 - 0.5 / steps).statistic) < 4
        assert abs(euler.test(0.5).statistic) > 4  # the control


def test_a_derivative_free_step_is_milsteins_where_the_noise_commutes():
    kwargs = {"x0": 1.0, "t": 1e-3, "steps": 1, "samples": 200, "seed": 3, "backend": "numpy"}
    free, milstein = (simulate_sde(GBM, scheme=s, **kwargs) for s in ("derivative_free", "milstein"))
    euler = simulate_sde(GBM, **kwargs)
    assert np.abs(free - milstein).max() < 1e-12  # linear noise: differences are derivatives
    assert np.abs(free - euler).max() > 1e-4


def test_coupled_paths_share_their_motion():
    pytest.importorskip("numba", reason="machine-code kernels need the extra fast")
    step = Milstein().step(depth_limit(ResNet(tanh, width=1)))
    rng = [np.random.Generator(np.random.SFC64(1)) for _ in range(2)]
    start = np.full((1, 500), 0.7)
    arrays = compile_step(step).walk_twice(start, 0.0, 0.125, 8, rng[0])
    fine, coarse = start.copy(), start.copy()
    coupled_kernel(step)(fine, coarse, 0.0, 0.125, 8, rng[1])
    np.testing.assert_allclose(fine, arrays[0], rtol=1e-12)
    np.testing.assert_allclose(coarse, arrays[1], rtol=1e-12)
    assert np.std(fine - coarse) < 0.1 * np.std(fine)


def test_refusals_are_value_errors_with_the_reason():
    with pytest.raises(ValueError, match=r"milstein does not apply.*commutative"):
        simulate_sde(depth_limit(ResNet(relu, width=2)), 1.0, scheme="milstein")
    with pytest.raises(ValueError, match="whole line"):
        LampertiSteps().prepare(Diffusion((x,), [1], [[x]], sp.Interval.open(0, sp.oo)))
    assert find_scheme("weak_second").weak_order == 2


def test_stated_orders_are_those_that_are_measured_and_proved():
    # weak orders are proved in tests/derivations/steps/test_steps.py, strong ones measured above and in the slow lane
    stated = {s.name: (s.strong_order, s.weak_order) for s in SCHEMES}
    assert stated["milstein"] == stated["derivative_free"] == stated["lamperti"] == (1, 1)
    assert stated["two_point"] == (None, 1)
    assert stated["weak_second"] == (Fraction(1, 2), 2)
    assert stated["euler_maruyama"] == (Fraction(1, 2), 1)
    assert stated["exact"] == (None, None)
    half = compile_step(
        euler_formula()
    )  # without its term of size h a step of the weak scheme has strong order 1/2 too
    assert abs(strong_slope(half, 20_000).test(float(stated["weak_second"][0])).statistic) < 4


@pytest.mark.parametrize("scheme", ["euler_maruyama", "milstein", "derivative_free", "two_point", "weak_second"])
def test_every_scheme_with_a_drift_and_a_frozen_state(scheme):
    # X Ornstein–Uhlenbeck, Y frozen at −1 by its kink: E X = e^{-t} exactly but for (1 − h)^N, and Y stays
    z, y = sp.symbols("z y", real=True)
    process = Diffusion((z, y), [-z, 0], sp.diag(1, sp.Max(y, 0) ** 2))
    ends = simulate_sde(process, [1.0, -1.0], steps=8, samples=4000, scheme=scheme, backend="numpy")
    assert np.all(ends[:, 1] == -1)
    mean = Estimate.of(ends[:, 0])
    chain = (1 - 1 / 8 + (1 / 128 if scheme == "weak_second" else 0)) ** 8
    assert abs(mean.test(chain).statistic) < 4
    assert abs(mean.test(1.0).statistic) > 4  # the control: without its drift


@pytest.mark.parametrize("scheme", ["euler_maruyama", "derivative_free", "two_point"])
def test_schemes_with_several_inputs(scheme):
    limit = depth_limit(ResNet(relu, width=1, inputs=3))
    start = np.array([1.0, 0.5, -2.0])
    ends = simulate_sde(limit, start, t=0.04, steps=4, samples=4000, scheme=scheme, backend="numpy")
    assert np.all(ends[:, 2] == -2)
    np.testing.assert_allclose(ends[:, 1] / ends[:, 0], 0.5, rtol=1e-6)  # two inputs of one line share their noise
    assert abs(Estimate.of(ends[:, 0]).test(1.0).statistic) < 4
    spread = Estimate.of((ends[:, 0] - 1) ** 2)
    assert abs(spread.test(1.01**4 - 1).statistic) < 4
    assert abs(spread.test(1.25 * (1.01**4 - 1)).statistic) > 4  # the control


z = sp.Symbol("z", real=True)
ELU = sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True))


def chain_mean(step, steps, function, start):
    """E f of a scheme's chain of scalar steps after time 1, without samples: values on a grid, normals by Gauss's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    nodes, weights = 7 * nodes, weights * np.exp(-((7 * nodes) ** 2) / 2)
    grid = np.linspace(-15, 15, 1201)

    def after(points):
        moved = step(
            np.repeat(points, 120)[None],
            0.0,
            1 / steps,
            np.tile(nodes, len(points))[None],
            np.zeros((0, 120 * len(points))),
        )
        return np.clip(moved[0], -15, 15)

    values, moved = function(grid), after(grid)
    for _ in range(steps - 1):
        values = CubicSpline(grid, values)(moved).reshape(-1, 120) @ weights / weights.sum()
    return float(CubicSpline(grid, values)(after(np.array([start]))) @ weights / weights.sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drift", "noise", "order"),
    [(0, (1 + sp.tanh(z)) / 2, 2.0), (-ELU, sp.S.One, 2.0), (0, 1 + ELU / 2, 1.5)],
    ids=["smooth", "curvature of the drift jumps", "curvature of the noise jumps"],
)
def test_the_order_of_the_weak_step_is_measured(drift, noise, order):
    process = Diffusion((z,), [drift], [[noise**2]])
    exact = solve_fokker_planck(process, 0.3, tol=1e-7, points=100_000).expectation(lambda s: np.exp(-(s**2) / 2))
    step = compile_step(weak_second_step(process))
    off = [abs(chain_mean(step, n, lambda s: np.exp(-(s**2) / 2), 0.3) - exact) for n in (8, 16, 32)]
    found = np.log2(np.array(off[:-1]) / off[1:])
    assert weak_second_order(process) == sp.nsimplify(order)
    assert np.abs(found - order).max() < 0.25
    assert np.abs(found - (3.5 - order)).min() > 0.25  # the control: the other order


@pytest.mark.parametrize(
    ("drift", "variance"),
    [
        (0, (1 + sp.Abs(z)) ** 2),
        (-sp.Abs(z), 1),
        (-sp.sign(z), 1),
        (0, sp.Piecewise((4, z > 0), (1, True))),
    ],
)
def test_the_weak_step_is_refused_where_its_order_is_one(drift, variance):
    process = Diffusion((z,), [drift], [[variance]])
    with pytest.raises(
        ValueError, match=r"weak_second does not apply: .* kink or jump at z = 0, where the noise does not vanish"
    ):
        WeakSecond().step(process)
    beside = Diffusion((z, x), [drift, 0], sp.diag(variance, 1))
    with pytest.raises(ValueError, match="kink or jump at z = 0"):
        WeakSecond().step(beside)


def test_kinks_at_which_nothing_moves_keep_the_order():
    for variance in (z**2, sp.Max(z, 0) ** 2):
        assert WeakSecond().weak_order_on(Diffusion((z,), [-sp.Abs(z)], [[variance]])) == 2
    assert WeakSecond().weak_order_on(Diffusion((z,), [0], [[(1 + ELU) ** 2]])) == 1.5
    with pytest.raises(ValueError, match="no steps, hence no order"):
        find_scheme("exact").weak_order_on(GBM)


def test_the_scheme_exact_has_no_error_at_any_number_of_steps():
    # no order is stated for it: one step and many have the law's own moments, and the control those of Euler's step
    limit = Diffusion((z,), [-z], [[1]])
    for steps in (1, 3):
        ends = simulate_sde(limit, 2.0, steps=steps, samples=40_000, seed=steps, scheme="exact")[:, 0]
        mean, spread = Estimate.of(ends), Estimate.of((ends - 2 * np.exp(-1)) ** 2)
        assert abs(mean.test(2 * np.exp(-1)).statistic) < 4
        assert abs(spread.test((1 - np.exp(-2)) / 2).statistic) < 4
        assert abs(mean.test(2 * (1 - 1 / 3) ** 3).statistic) > 4


MADE = [s.name for s in SCHEMES if s.name not in ("congruence", "gram_euler", "linear_form")]


@pytest.mark.parametrize("scheme", MADE)
def test_every_scheme_with_a_drift(scheme):
    # dX = (1 − X) dt + (1 + X²)^{1/2} dB would not be recognised; the Ornstein–Uhlenbeck process is, and has E X = 1 + e^{-1}
    limit = Diffusion((z,), [1 - z], [[sp.Rational(1, 4)]])
    ends = simulate_sde(limit, 2.0, steps=32, samples=4000, seed=1, scheme=scheme)[:, 0]
    mean, bias = Estimate.of(ends), np.exp(-1) / 60
    assert abs(mean.value - 1 - np.exp(-1)) < 4 * mean.error + bias
    assert abs(mean.value - 2) > 4 * mean.error + bias  # the control: no drift


@pytest.mark.parametrize("scheme", MADE)
def test_every_scheme_with_a_frozen_part(scheme):
    # the ReLU's limit: half of the starts stay where they are
    limit = depth_limit(ResNet(relu, width=1))
    start = np.where(np.arange(10_000) % 2, 1.0, -1.0)[:, None]
    ends = simulate_sde(limit, start, t=0.5, steps=16, samples=10_000, seed=2, scheme=scheme)[:, 0]
    assert np.all(ends[start[:, 0] < 0] == -1)
    moved = Estimate.of(ends[start[:, 0] > 0])
    assert abs(moved.test(1.0).statistic) < 4
    assert abs(moved.test(1.1).statistic) > 4  # the control


def test_weak_steps_with_several_inputs():
    limit = depth_limit(ResNet(identity, width=1, inputs=3))
    ends = simulate_sde(limit, np.array([1.0, 0.5, -2.0]), t=0.04, steps=4, samples=4000, scheme="weak_second")
    np.testing.assert_allclose(ends[:, 1:], ends[:, :1] * np.array([[0.5, -2.0]]), rtol=1e-6)  # on one line
    spread = Estimate.of((ends[:, 2] + 2) ** 2)
    assert abs(spread.test(4 * np.expm1(0.04)).statistic) < 4
    assert abs(spread.test(5 * np.expm1(0.04)).statistic) > 4  # the control
    assert abs(Estimate.of(ends[:, 0]).test(1.0).statistic) < 4
