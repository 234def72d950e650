"""Every formula of the theory of residual networks at finite width, against what the engine derives."""

import pytest
import sympy as sp

from derivations import (
    ResNet,
    absolute,
    depth_limit,
    derive,
    identity,
    leaky_relu,
    ornstein_uhlenbeck,
    relu,
    two_slope,
    width_limit,
)
from derivations.calculus.closure import close
from derivations.calculus.ito import bracket, generator
from derivations.errors import NotClosed
from derivations.kernels import correlation_flow, solve_variance
from derivations.laws import recognise
from derivations.norms import initial_slope, norm_dynamics
from derivations.symbols import correlation, state, time, width
from tests.helpers import equal_by_sampling, equal_symbolically

n, t, x = width, time, state
s = sp.Symbol("sigma", positive=True)
R = sp.Symbol("R", positive=True)


def squared_norm(limit):
    return limit.sum(limit.neuron[0] ** 2)


def test_relu_norm_is_a_quasi_geometric_brownian_motion():
    dynamics = norm_dynamics(depth_limit(ResNet(relu, width=n)), relu)
    (S,), (drift,), (variance,) = dynamics.square.states, dynamics.square.drift, dynamics.square.covariance
    (active,) = dynamics.square.left_over
    assert str(active) == "Count_j(x_j > 0)"
    assert dynamics.square.closed_up_to_counts
    assert equal_symbolically(drift, active * S / n)
    assert equal_symbolically(variance, (2 * S / sp.sqrt(n)) ** 2)
    assert equal_symbolically(dynamics.logarithm.drift[0], (active / 2 - 1) / n)
    assert equal_symbolically(dynamics.logarithm.covariance[0], 1 / n)


def test_leaky_relu_norm_does_not_close():
    closure = norm_dynamics(depth_limit(ResNet(leaky_relu(), width=n)), leaky_relu()).square
    assert not closure.closed
    assert not closure.closed_up_to_counts
    assert "Not closed" in closure.verdict[0]
    with pytest.raises(NotClosed, match="x_j"):
        closure.diffusion()


def test_slope_of_the_log_norm_changes_sign_between_width_3_and_4():
    slope = initial_slope(norm_dynamics(depth_limit(ResNet(relu, width=n)), relu))
    assert equal_symbolically(slope.value, 1 / (4 * (1 - 2**-n)) - 1 / n)
    assert [slope.at(k) for k in range(1, 5)] == [sp.Rational(*q) for q in [(-1, 2), (-1, 6), (-1, 21), (1, 60)]]
    assert slope.sign_change() == (3, 4)
    assert "only" in slope.statement[-1]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_slope_at_a_given_width_agrees_with_the_symbolic_one(k):
    general = initial_slope(norm_dynamics(depth_limit(ResNet(relu, width=n)), relu))
    if k > 1:
        assert derive(ResNet(relu, width=k)).slope.value == general.at(k)
    # by hand: average the drift over the binomial number of active neurons, given at least one
    mean = sum(sp.binomial(k, j) * sp.Rational(j, 2**k) for j in range(1, k + 1)) / (1 - sp.Rational(1, 2**k))
    assert general.at(k) == (mean / 2 - 1) / k


@pytest.mark.parametrize("activation", [identity, absolute])
def test_linear_norm_is_a_geometric_brownian_motion(activation):
    limit = depth_limit(ResNet(activation, width=n, weight_variance=s**2))
    closure = close(limit, {R: squared_norm(limit)})
    assert closure.closed
    process = closure.diffusion(sp.Interval.open(0, sp.oo))
    assert equal_symbolically(process.drift[0], s**2 * R)
    assert equal_symbolically(process.covariance[0], (2 * s * R) ** 2 / n)


@pytest.mark.slow
def test_linear_norm_is_log_normal():
    limit = depth_limit(ResNet(identity, width=n, weight_variance=s**2))
    process = close(limit, {R: squared_norm(limit)}).diffusion(sp.Interval.open(0, sp.oo))
    law = recognise(process)
    assert law.name == "geometric Brownian motion"
    r0 = sp.Symbol("r0", positive=True)
    mean, variance = s**2 * (1 - 2 / n) * t, 4 * s**2 * t / n
    expected = sp.exp(-((sp.log(R / r0) - mean) ** 2) / (2 * variance)) / (R * sp.sqrt(2 * sp.pi * variance))
    assert equal_by_sampling(law.pdf(R, t, r0), expected)
    assert law.prove()


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 3])
def test_lyapunov_spectrum_from_volumes(k):
    # k network inputs span a volume √det(XᵀX); it grows at the sum of the first k Lyapunov exponents
    limit = depth_limit(ResNet(identity, width=n, inputs=k, weight_variance=s**2))
    gram = sp.Matrix(k, k, lambda a, b: limit.sum(limit.neuron[a] * limit.neuron[b]))
    volume = sp.log(gram.det()) / 2
    exponents = [s**2 * (n - 2 * j) / (2 * n) for j in range(1, k + 1)]
    assert equal_symbolically(sp.cancel(limit.generator(volume)), sum(exponents))
    assert equal_symbolically(sp.cancel(limit.bracket(volume, volume)), s**2 * k / n)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 3])
def test_log_determinant_of_the_jacobian(k):
    # n inputs starting from the identity are the columns of the Jacobian
    limit = depth_limit(ResNet(identity, width=k, inputs=k, weight_variance=s**2))
    process = limit if k == 1 else limit.explicit
    jacobian = sp.Matrix(k, k, list(process.states))
    logdet = sp.log(jacobian.det())
    assert equal_symbolically(sp.cancel(generator(process, logdet)), -(s**2) / 2)
    assert equal_symbolically(sp.cancel(bracket(process, logdet, logdet)), s**2)


QUADRANTS = {  # signs of (x1, x2), and the squared coefficient of the angle in that quadrant
    (1, 1): lambda a: sp.S.Half,
    (1, -1): lambda a: sp.cos(a) ** 2 / 2,
    (-1, 1): lambda a: sp.sin(a) ** 2 / 2,
    (-1, -1): lambda a: sp.S.Zero,
}


@pytest.mark.parametrize("signs", QUADRANTS)
def test_width_two_angle_is_a_driftless_diffusion(signs):
    process = depth_limit(ResNet(relu, width=2)).explicit
    x1, x2 = process.states
    angle = sp.atan2(x2, x1)
    radius, theta = sp.Symbol("r", positive=True), sp.Symbol("theta", real=True)
    quadrant = [v > 0 if sign > 0 else v < 0 for v, sign in zip((x1, x2), signs, strict=True)]
    polar = {x1: radius * sp.cos(theta), x2: radius * sp.sin(theta)}

    def here(expr):
        positive = {v: sp.Dummy(positive=True) * sign for v, sign in zip((x1, x2), signs, strict=True)}
        back = {
            d: v
            for v, e in positive.items()
            for d, v in [(next(iter(e.free_symbols)), v * (1 if e == next(iter(e.free_symbols)) else -1))]
        }
        return sp.simplify(expr.subs(positive).subs(back, simultaneous=True).subs(polar))

    corner = {x1: sp.Rational(signs[0]), x2: sp.Rational(signs[1], 2)}
    assert all(condition.subs(corner) == sp.true for condition in quadrant)
    # the coefficient as it stands, at a point of the quadrant, and not that of another one
    measured = sp.nsimplify(bracket(process, angle, angle).subs(corner))
    seen = {other: sp.nsimplify(f(sp.atan2(corner[x2], corner[x1]))) for other, f in QUADRANTS.items()}
    assert [other for other, coefficient in seen.items() if sp.expand(coefficient - measured) == 0] == [signs]
    assert here(generator(process, angle)) == 0
    assert equal_symbolically(here(bracket(process, angle, angle)), QUADRANTS[signs](theta))


def test_infinite_width_relu_variance_grows_exponentially():
    flow = width_limit(ResNet(relu, width=sp.oo, weight_variance=s**2))
    start = sp.Symbol("K_0", positive=True)
    assert equal_symbolically(solve_variance(flow), start * sp.exp(s**2 * t / 2))


@pytest.mark.parametrize("slopes", [(1, 0), (1, sp.Rational(1, 10)), (1, -1), (2, 1)])
def test_infinite_width_correlation_flow(slopes):
    flow = correlation_flow(width_limit(ResNet(two_slope(*slopes), width=sp.oo, inputs=2, weight_variance=s**2)))
    assert flow.closed
    c = correlation
    relu_flow = s**2 / (2 * sp.pi) * (sp.sqrt(1 - c**2) - c * sp.acos(c))
    jump = (slopes[0] - slopes[1]) ** 2  # only the kink moves correlations
    assert equal_by_sampling(
        flow.velocity, jump * relu_flow, symbols={c: ["1/3", "-4/5", "99/100"], s: ["1", "5/4", "2"]}
    )


@pytest.mark.slow
def test_second_moment_of_the_transformed_process_from_the_origin():
    law = derive(ResNet(ornstein_uhlenbeck, width=1)).law
    second = law.moment(2, t, sp.Integer(0)).args[0][0]
    assert equal_symbolically(second, sp.asin(sp.exp(2 * t) - 1) / 2)
    # independently: d/dt E X² = E φ(X)² = E exp(2Z²), a Gaussian integral in Z ~ N(0, (1 − e^{−2t})/2)
    growth = 1 / sp.sqrt(1 - 2 * (1 - sp.exp(-2 * t)))
    assert equal_by_sampling(sp.diff(second, t), growth, symbols={t: ["1/10", "1/5", "3/10"]})
    assert sp.limit(second, t, sp.log(2) / 2) == sp.pi / 4


def test_slope_at_a_width_of_too_many_digits_is_left_out():
    assert derive(ResNet(relu, width=999_999_999)).slope is None
    assert derive(ResNet(relu, width=10_000)).slope is not None
