"""The joint limits as stochastic equations: a scheme on the cone, a singular start, the law of the functional."""

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import MLP, MLPBlock, ShapedMLP, derive, identity, joint_limit, relu, silu, tanh
from derivations.calculus.exponential import collapse_linear
from derivations.calculus.gram import pair_correlation
from derivations.diffusion import Diffusion
from derivations.symbols import time
from numerics.exponential_functional import CollapseLaw
from numerics.fokker_planck import StartingDensity, solve_fokker_planck
from numerics.networks import simulate_gram, simulate_network
from numerics.outcomes import ExplosionWarning
from numerics.paths import simulate_sde
from numerics.statistics import Estimate, ks_test, ks_two_sample, richardson


@pytest.fixture(scope="module")
def shaped():
    return joint_limit(ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1))


@pytest.fixture(scope="module")
def collapse():
    return joint_limit(MLP(relu, inputs=2))


def rejected(sample, expected):
    return Estimate.of(sample).test(expected).p_value < 1e-4


def agrees(sample, expected):
    return Estimate.of(sample).test(expected).p_value > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_congruence_keeps_the_cone(inputs):
    limit = joint_limit(ShapedMLP(relu, inputs=inputs, c_plus=1, c_minus=-1))
    start = [float(a == b) + (a != b) * (1 - 1e-13) for a in range(inputs) for b in range(a, inputs)]
    x = simulate_sde(limit, x0=start, t=2.0, steps=20, samples=500, scheme="congruence")
    full = np.empty((500, inputs, inputs))
    for k, (a, b) in enumerate((a, b) for a in range(inputs) for b in range(a, inputs)):  # noqa: B020
        full[:, a, b] = full[:, b, a] = x[:, k]
    assert np.all(np.linalg.eigvalsh(full)[:, 0] > -1e-14 * np.trace(full, axis1=1, axis2=2))
    if inputs == 2:
        linear = joint_limit(MLP(identity, inputs=2))
        plain = simulate_sde(linear, x0=start, t=2.0, steps=20, samples=500)
        assert np.any(plain[:, 0] * plain[:, 2] < plain[:, 1] ** 2)  # the control: Euler's scheme leaves it


@pytest.mark.slow
def test_congruence_has_the_moments_of_the_limit(shaped):
    x = simulate_sde(shaped, x0=[1.0, 0.3, 1.0], t=0.5, steps=200, samples=40_000, scheme="congruence", seed=1)
    norm = x[:, 0]
    assert agrees(norm, 1.0)
    assert agrees(np.log(norm), -0.5)
    assert rejected(np.log(norm), -0.5 * 1.05**2)
    # the linear network: d E[V12²] = E[V11 V22 + V12²] dt and d E[V11 V22] = 2 E[V12²] dt
    x = simulate_sde(
        joint_limit(MLP(identity, inputs=2)),
        x0=[1, 0.3, 1],
        t=0.2,
        steps=100,
        samples=40_000,
        scheme="congruence",
        seed=2,
    )
    # eigenvalues 2 and -1 of [[1, 1], [2, 0]] from (E V12², E V11 V22) = (0.09, 1)
    up = (2 * 0.09 + 1) / 3
    down = 0.09 - up
    expected = up * np.exp(2 * 0.2) + down * np.exp(-0.2)
    assert agrees(x[:, 1] ** 2, expected)
    assert rejected(x[:, 1] ** 2, expected * 1.15)


@pytest.mark.slow
def test_correlation_of_the_matrix_is_the_scalar_equation(shaped):
    x = simulate_sde(shaped, x0=[1.0, 0.3, 1.0], t=0.5, steps=100, samples=20_000, scheme="congruence", seed=3)
    rho = x[:, 1] / np.sqrt(x[:, 0] * x[:, 2])
    scalar = pair_correlation(shaped, shaped.states).process()
    path = simulate_sde(scalar, x0=0.3, t=0.5, steps=400, samples=20_000, seed=4)[:, 0]
    for f in (np.asarray, np.square):
        assert (Estimate.of(f(rho)) - Estimate.of(f(path))).test(0.0).p_value > 1e-3
    assert (Estimate.of(rho**2) - Estimate.of(path**2) * 1.05).test(0.0).p_value < 1e-3


def test_norms_explode_for_positive_kappa_only():
    up, down = (joint_limit(ShapedMLP(phi, inputs=1, a=0.6)) for phi in (silu, tanh))
    options = {"x0": 1.5, "t": 3.0, "steps": 600, "samples": 2000, "scheme": "congruence"}
    with np.errstate(over="ignore", invalid="ignore"):
        with pytest.warns(ExplosionWarning, match="of 2000 paths exploded"):
            first = simulate_sde(up, **options)[:, 0]
        ends = [first, simulate_sde(down, **options)[:, 0]]
    huge = [np.mean(~(end < 1e6)) for end in ends]
    assert huge[0] > 0.1
    assert huge[1] == 0


@pytest.mark.slow
def test_singular_start(collapse):
    form = collapse_linear(collapse)
    q = simulate_sde(collapse, x0=float(collapse.start), t=0.5, steps=100, samples=40_000, scheme="linear_form", seed=5)
    w = 0.5 / np.sqrt(q[:, 0])
    for k in (1, 2):
        expected = float(form.moment(k).subs(time, 0.5))
        assert agrees(w**k, expected)
        assert rejected(w**k, expected * 1.1)
    law = CollapseLaw(collapse, 0.5)
    assert ks_test(w, law.cdf).p_value > 1e-3
    assert ks_test(w * 1.05, law.cdf).p_value < 1e-4
    assert law.mass() == pytest.approx(1, abs=1e-10)
    assert law.mean() == pytest.approx(law.moment(1), rel=1e-10)
    assert simulate_sde(collapse, x0=1.0, samples=10).shape == (10, 1)
    with pytest.raises(ValueError, match="linear_form"):
        simulate_sde(collapse, x0=1.0, scheme="euler_maruyama")


def by_fokker_planck(collapse, growth, t, early):
    """w at time t from the forward equation, started at a time when w is log-normal but for a skewness of order √early."""
    form = collapse_linear(collapse)
    w = sp.Symbol("w", positive=True)
    process = Diffusion((w,), [form.source + growth * w], [[form.variance * w**2]], sp.Interval.open(0, sp.oo))
    first, second = (float(form.moment(k).subs(time, early)) for k in (1, 2))
    spread = np.sqrt(np.log(second / first**2))
    start = stats.lognorm(spread, scale=first * np.exp(-(spread**2) / 2))
    return solve_fokker_planck(process, StartingDensity(start.pdf, start.median()), t=t - early)


@pytest.mark.slow
def test_the_functional_has_the_same_law_by_the_forward_equation(collapse):
    law, form = CollapseLaw(collapse, 0.5), collapse_linear(collapse)
    p = np.linspace(0.01, 0.99, 99)
    solved = by_fokker_planck(collapse, form.growth, 0.5, 0.04)
    assert solved.error < 1e-6
    assert np.max(np.abs(solved.cdf(law.ppf(p)) - p)) < 1e-6
    wrong = by_fokker_planck(collapse, form.growth * sp.Rational(21, 20), 0.5, 0.04)
    assert np.max(np.abs(wrong.cdf(law.ppf(p)) - p)) > 1e-3


def test_refusals(shaped, collapse):
    with pytest.raises(ValueError, match="Gram"):
        simulate_sde(collapse, x0=1.0, scheme="congruence")
    with pytest.raises(ValueError, match="unshaped"):
        simulate_sde(shaped, x0=[1, 0, 1], scheme="linear_form")
    with pytest.raises(ValueError, match="unshaped"):
        CollapseLaw(shaped, 1.0)
    with pytest.raises(ValueError, match="positive"):
        CollapseLaw(collapse, 0.0)


@pytest.mark.slow
def test_correlation_of_networks_with_width_and_depth_150():
    """Distribution of the correlation, shaped ReLU with c = ±1, against the equation; the control has no shaping."""
    net = ShapedMLP(relu, inputs=2, c_plus=1, c_minus=-1, width=150)
    v = simulate_gram(net, 150, 4000, [[1.0, 0.3], [0.3, 1.0]], seed=6)
    rho = v[:, 0, 1] / np.sqrt(v[:, 0, 0] * v[:, 1, 1])
    shaped = joint_limit(ShapedMLP(relu, inputs=2, c_plus=1, c_minus=-1))
    tests = []
    for limit in (shaped, joint_limit(MLP(identity, inputs=2))):
        x = simulate_sde(limit, x0=[1, 0.3, 1], t=1.0, steps=300, samples=20_000, scheme="congruence", seed=7)
        tests.append(ks_two_sample(rho, x[:, 1] / np.sqrt(x[:, 0] * x[:, 2])))
    assert tests[0].p_value > 1e-3
    assert tests[1].p_value < 1e-6


def beyond(values, level=20.0):
    """The frequency with which a level is exceeded, or every level."""
    return Estimate.of((~(values < level)).astype(float))


def aitken(estimates):
    """The limit of a geometric sequence from three terms, with the error that theirs give it."""
    a, b, c = (e.value for e in estimates)
    curvature = a - 2 * b + c
    slopes = (
        (c - b) ** 2,
        -2 * (a - b) * (c - b),
        (a - b) ** 2,
    )  # derivatives of (ac - b²)/curvature, times curvature²
    errors = [s / curvature**2 * e.error for s, e in zip(slopes, estimates, strict=True)]
    return Estimate((a * c - b * b) / curvature, float(np.hypot.reduce(errors)))


@pytest.mark.slow
def test_networks_explode_as_often_as_the_equation():
    """Shaped 2x - tanh x, κ = 2/a²: P(V > 20) at t = 1 from V = 3/2, over widths 32, 64, 128, against the equation; and κ < 0.

    A width n bounds V at about n, so the bias falls more slowly than 1/n: its geometric decay is extrapolated. As many networks as leave
    the control six errors away.
    """
    x = sp.Symbol("x", real=True)

    def equation(a):
        limit = joint_limit(ShapedMLP(2 * x - sp.tanh(x), inputs=1, a=a))
        with np.errstate(over="ignore", invalid="ignore"), pytest.warns(ExplosionWarning, match="of 4000 paths"):
            ends = simulate_sde(limit, x0=1.5, t=1.0, steps=400, samples=4000, scheme="congruence", seed=8)
        return beyond(ends[:, 0])

    def networks(phi, n, samples, seed):
        return beyond(simulate_gram(ShapedMLP(phi, inputs=1, a=1, width=n), n, samples, [[1.5]], seed)[:, 0, 0])

    seen = [networks(2 * x - sp.tanh(x), n, k, n) for n, k in ((32, 6000), (64, 6000), (128, 3000))]
    assert seen[0].value < seen[1].value < seen[2].value
    found = aitken(seen)
    assert (found - equation(1)).test(0.0).p_value > 1e-3
    assert (found - equation(sp.Rational(3, 2))).test(0.0).p_value < 1e-4  # another κ
    assert networks(tanh, 64, 2000, 9).value == 0


@pytest.mark.slow
def test_gram_matrices_whose_noise_is_that_of_no_neurons():
    """State and tangent of a ReLU perceptron: second moments obey linear equations; read as neurons' they are 10 % off."""
    from scipy.linalg import expm

    from derivations import MLP, relu
    from derivations.backward import jacobian

    limit, c, t = jacobian(MLP(relu)).gram.process, 0.3, 0.125
    moved = expm(t * np.array([[3.0, 2.0], [4.0, 1.0]])) @ [c**2, 1.0]  # of V12² and V11 V22
    rng = np.random.default_rng(0)
    z = np.full(100_000, np.arctanh(c))  # artanh of the cosine: dz = tanh z dt + √2 dB
    for _ in range(64):
        z += np.tanh(z) * t / 64 + np.sqrt(2 * t / 64) * rng.standard_normal(z.size)
    derived = [*moved, float(np.mean(np.tanh(z) ** 2))]
    found = []
    for steps in (16, 32):
        x = simulate_sde(limit, x0=[1.0, c, 1.0], t=t, steps=steps, samples=20_000, seed=steps)
        squares = x[:, 1] ** 2, x[:, 0] * x[:, 2]
        found.append([Estimate.of(v) for v in (*squares, squares[0] / squares[1])])
    for rough, fine, right in zip(*found, derived, strict=True):
        assert richardson(rough, fine).test(right).p_value > 1e-3
    assert richardson(found[0][2], found[1][2]).test(1.1 * derived[2]).p_value < 1e-3
    with pytest.raises(ValueError, match="take gram_euler"):
        simulate_sde(limit, x0=[1.0, c, 1.0], t=t, steps=2, samples=2, scheme="congruence")


@pytest.mark.slow
def test_more_inputs_than_neurons_keep_their_rank():
    """Paths against networks of width 2 with three inputs; the control has a third neuron."""
    states = np.array([[1.0, -0.4], [0.3, 1.1], [-0.8, 0.5]])
    net = MLPBlock(relu, width=2, inputs=3)
    limit, places = derive(net).gram, np.triu_indices(3)
    drawn = simulate_network(net, 64, 20_000, x0=states.T, record="gram", seed=1)
    paths = simulate_sde(limit, (states @ states.T / 2)[places], steps=64, samples=20_000, seed=2)
    v = np.empty((len(paths), 3, 3))
    v[:, places[0], places[1]] = v[:, places[1], places[0]] = paths
    assert np.abs(np.linalg.eigvalsh(v)[:, 0]).max() < 1e-9 * np.abs(v).max()

    def score(one, other):
        one, other = np.log(one), np.log(other)
        return abs(one.mean() - other.mean()) / np.hypot(one.std(), other.std()) * np.sqrt(len(one))

    for k in range(3):
        assert score(drawn[:, k, k], v[:, k, k]) < 4.5
    assert score(np.linalg.eigvalsh(drawn)[:, 1], np.linalg.eigvalsh(v)[:, 1]) < 4.5
    wide = simulate_sde(
        derive(MLPBlock(relu, width=3, inputs=3)).gram,
        (states @ states.T / 2)[places],
        steps=64,
        samples=20_000,
        seed=2,
    )
    assert score(drawn[:, 0, 0], wide[:, 0]) > 6


def test_a_start_of_too_large_a_rank_is_refused():
    limit = derive(MLPBlock(relu, width=2, inputs=3)).gram
    assert limit.rank == 2
    with pytest.raises(ValueError, match="no Gram matrix of so few neurons, which has rank 2 at most"):
        simulate_sde(limit, [1.0, 0.0, 0.0, 1.0, 0.0, 1.0], steps=2, samples=2)
