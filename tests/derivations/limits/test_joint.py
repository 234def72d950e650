"""Depth and width together: the engine's limits against THEORY, symbol by symbol; every identity has a control."""

from functools import cache

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, Network, PreNormResNet, ResNet, ShapedMLP, Weights, average, joint_limit, width_limit
from derivations.activations import Activation, absolute, gelu, identity, leaky_relu, relu, silu, sine, softplus, tanh
from derivations.calculus.boundaries import classify, explosion
from derivations.calculus.exponential import collapse_linear, mixed
from derivations.calculus.gram import pair_correlation, squared_norm
from derivations.calculus.ito import bracket, generator
from derivations.calculus.speed import speed_density
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NoLimit, NotClosed
from derivations.laws import recognise
from derivations.limits import GramDiffusion
from derivations.symbols import correlation as rho
from derivations.symbols import state as x
from derivations.symbols import time as t
from derivations.symbols import width

a = sp.Symbol("a", positive=True)
up, down = sp.symbols("c_+ c_-", real=True)
V11, V22 = sp.symbols("V_11 V_22", positive=True)
V12 = sp.Symbol("V_12", real=True)
nu = (up - down) ** 2 / (2 * sp.pi) * (sp.sqrt(1 - rho**2) - rho * sp.acos(rho))


def same(left, right):
    """Equality as functions: both sides at exact rational points, to 40 digits."""
    difference = sp.sympify(left) - sp.sympify(right)
    symbols = sorted(difference.free_symbols, key=str)
    for shift in range(3):
        point = {s: sp.Rational(2 + 3 * k + shift, 11 + 5 * k) for k, s in enumerate(symbols)}
        if abs(sp.N(difference.subs(point), 40)) > sp.Float("1e-35", 40):
            return False
    return True


@cache
def shaped_relu(inputs=2, **options):
    return joint_limit(ShapedMLP(relu, inputs=inputs, c_plus=up, c_minus=down, **options))


@cache
def unshaped_relu():
    return joint_limit(MLP(relu, inputs=2))


def wishart(limit, strength=1):
    v = limit.matrix
    pairs = [(i, j) for i in range(limit.inputs) for j in range(i, limit.inputs)]
    return sp.Matrix(
        len(pairs), len(pairs), lambda p, q: strength * (
            v[pairs[p][0], pairs[q][0]] * v[pairs[p][1], pairs[q][1]]
            + v[pairs[p][0], pairs[q][1]] * v[pairs[p][1], pairs[q][0]]
        )
    )  # fmt: skip


# --- shaped: drift, covariance, factor ---


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_covariance_is_that_of_products_of_gaussians(inputs):
    limit = shaped_relu(inputs)
    assert isinstance(limit, GramDiffusion)
    assert sp.expand(limit.covariance - wishart(limit)) == sp.zeros(*limit.covariance.shape)
    assert sp.expand(limit.covariance - wishart(limit, 2)) != sp.zeros(*limit.covariance.shape)


def test_shaped_relu_drift():
    limit = shaped_relu()
    b11, b12, b22 = (b.subs(V12, rho * sp.sqrt(V11 * V22)) for b in limit.drift)
    assert (b11, b22) == (0, 0)
    assert same(b12, nu * sp.sqrt(V11 * V22))
    assert not same(b12, nu * sp.sqrt(V11 * V22) * sp.Rational(21, 20))


def test_three_inputs_have_the_drift_of_their_pairs():
    two, three = shaped_relu(2), shaped_relu(3)
    assert sp.expand(two.drift[1] - three.drift[1]) == 0
    assert same(
        three.drift[4],
        two.drift[1].subs(
            dict(zip(two.states, [three.matrix[1, 1], three.matrix[1, 2], three.matrix[2, 2]], strict=True)),
            simultaneous=True,
        ),
    )


@pytest.mark.parametrize("phi", [tanh, sine, silu, gelu, Activation("cubic", x + x**2 / 3 - x**3)], ids=str)
def test_shaped_smooth_drift(phi):
    limit = joint_limit(ShapedMLP(phi, inputs=2, a=a))
    slope, second, third = (sp.diff(phi.expr, x, k).subs(x, 0) for k in (1, 2, 3))
    d2, d3 = second / slope, third / slope  # THEORY states it for slope 1; the gain divides any other out

    def b(v, w, cross):
        return d2**2 / (4 * a**2) * (v * w + cross * (2 * cross - 3)) + d3 / (2 * a**2) * cross * (v + w - 2)

    for got, wanted in zip(limit.drift, (b(V11, V11, V11), b(V11, V22, V12), b(V22, V22, V22)), strict=True):
        assert sp.expand(got - wanted) == 0
    v = sp.Symbol("V", positive=True)
    one = joint_limit(ShapedMLP(phi, inputs=1, a=a))
    kappa = (sp.Rational(3, 4) * d2**2 + d3) / a**2
    assert sp.expand(one.drift[0] - kappa * v * (v - 1)) == 0
    assert one.covariance[0, 0] == 2 * v**2
    assert one.domain == sp.Interval.open(0, sp.oo)


def test_undefined_smooth_activation_gives_the_formula_of_theory():
    series = x + sp.Symbol("f2") * x**2 / 2 + sp.Symbol("f3") * x**3 / 6
    limit = joint_limit(ShapedMLP(Activation("f", series), inputs=1, a=a))
    v = limit.states[0]
    kappa = (sp.Rational(3, 4) * sp.Symbol("f2") ** 2 + sp.Symbol("f3")) / a**2
    assert sp.expand(limit.drift[0] - kappa * v * (v - 1)) == 0


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_factor_is_a_square_root_of_the_smallest_size(inputs):
    limit = shaped_relu(inputs)
    factor, size = limit.factor, inputs * (inputs + 1) // 2
    assert factor.shape == (size, size)
    assert all(sp.cancel(e) == 0 for e in factor * factor.T - limit.covariance)
    # smallest: at V = 1 the covariance has full rank
    ones = {
        s: sp.Integer(limit.matrix[i, j] == s and i == j)
        for i in range(inputs)
        for j in range(inputs)
        for s in [limit.matrix[i, j]]
    }
    assert limit.covariance.subs(ones).rank() == size


def test_state_lives_on_the_cone():
    domain = shaped_relu(2).domain
    assert domain.contains(sp.Tuple(1, sp.Rational(1, 2), 1)) == sp.true
    assert domain.contains(sp.Tuple(1, 2, 1)) == sp.false


# --- closed sub-diffusions ---


def test_correlation_of_shaped_relu_closes():
    limit = shaped_relu()
    found = pair_correlation(limit, limit.states)
    assert found.closed
    assert same(found.drift, nu - rho * (1 - rho**2) / 2)
    assert not same(found.drift, nu + rho * (1 - rho**2) / 2)
    assert sp.expand(found.variance - (1 - rho**2) ** 2) == 0


def test_norm_closes_and_is_log_normal():
    found = squared_norm(shaped_relu(), V11)
    law = recognise(found.process())
    assert law.name == "geometric Brownian motion"
    v0 = sp.Symbol("x_0", positive=True)
    assert sp.expand(law.moment(1).subs(sp.Symbol("x_0", real=True), v0) - v0) == 0


def test_correlation_closes_for_odd_smooth_activations_only():
    odd = joint_limit(ShapedMLP(tanh, inputs=2, a=a))
    linear = joint_limit(MLP(identity, inputs=2))
    drifts = [pair_correlation(limit, limit.states).process().drift[0] for limit in (odd, linear)]
    assert sp.expand(drifts[0] - drifts[1]) == 0
    limit = joint_limit(ShapedMLP(gelu, inputs=2, a=a))
    found = pair_correlation(limit, limit.states)
    assert set(found.left_over) == {V11, V22}
    with pytest.raises(NotClosed, match="V_11"):
        found.process()
    assert squared_norm(limit, V11).closed


def test_linear_network():
    limit = joint_limit(MLP(identity, inputs=2))
    found = pair_correlation(limit, limit.states)
    assert sp.expand(found.drift + rho * (1 - rho**2) / 2) == 0
    # ρ/√(1-ρ²) solves a linear equation: drift Y and variance 1 + Y²
    y = rho / sp.sqrt(1 - rho**2)
    assert same(generator(found.process(), y), y)
    assert same(bracket(found.process(), y, y), 1 + y**2)
    assert all(sp.expand(e) == 0 for e in shaped_relu(2).drift.subs(down, up))


# --- laws: Feller's test and the stationary law ---


@pytest.mark.slow
def test_explosion_and_stationary_gamma():
    kappa, v = sp.Symbol("kappa", real=True), sp.Symbol("V", positive=True)
    one = joint_limit(ShapedMLP(tanh, inputs=1, a=a))
    rate = sp.cancel(one.drift[0] / (v * (v - 1)))
    process = Diffusion((v,), [kappa * sp.cancel(one.drift[0] / rate)], one.covariance, one.domain)
    assert explosion(process) == (kappa > 0)
    left, right = classify(process)
    finite = sp.And(left.light, right.light)
    assert all(bool(finite.subs(kappa, k)) == (k < -1) for k in (-3, sp.Rational(-3, 2), -1, sp.Rational(-1, 2), 1))
    density = speed_density(process, (sp.S.Zero, sp.oo))
    gamma = v ** (-kappa - 2) * sp.exp(kappa * v)  # Gamma(shape |κ| - 1, rate |κ|) up to its constant
    assert sp.powsimp(density / gamma).free_symbols == set()
    assert sp.powsimp(density / (gamma * v)).has(v)


# --- regimes ---


def test_shallow_regime_is_a_flow_with_a_symbolic_rate():
    eta = sp.Symbol("eta", positive=True)
    limit = shaped_relu(depth_rate=1 - eta, rate=(1 - eta) / 2)
    assert isinstance(limit, Flow)
    assert same(pair_correlation(limit, limit.states).drift, nu)


def test_a_faster_rate_leaves_the_linear_network():
    assert all(b == 0 for b in shaped_relu(rate=1).drift)


def test_unequal_rates_keep_the_slower_slope():
    limit = shaped_relu(rate=(sp.Rational(1, 2), 1))
    assert same(limit.drift[1], shaped_relu().drift[1].subs(down, 0))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: shaped_relu(rate=sp.Rational(1, 4)), "correlations of all inputs collapse to 1"),
        (lambda: joint_limit(ShapedMLP(tanh, a=a, rate=sp.Rational(1, 4))), "norms settle at 1"),
        (lambda: joint_limit(ShapedMLP(silu, a=a, rate=sp.Rational(1, 4))), "norms explode"),
        (lambda: joint_limit(ShapedMLP(softplus, a=a)), r"subtract its value at 0"),
        (lambda: joint_limit(ShapedMLP(Activation("square", x**2), a=a)), "slope 0 at 0"),
        (lambda: joint_limit(MLP(tanh, inputs=2)), "settle at V = 1 .* leaves 1"),
        (lambda: joint_limit(MLP(gelu, inputs=2)), "norms leave V = 1"),
        (lambda: shaped_relu(depth_rate=2, rate=1), "fluctuation of a layer grows"),
    ],
)
def test_no_limit_says_what_happens_instead(build, says):
    with pytest.raises(NoLimit, match=says):
        build()


def test_unknown_sign_of_an_exponent_is_asked_for():
    with pytest.raises(DerivationError, match="sign is not known"):
        shaped_relu(rate=sp.Symbol("p", positive=True))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either c_plus and c_minus"),
        ({"c_plus": 1}, "either c_plus and c_minus"),
        ({"a": 1}, "kink at 0"),
        ({"c_plus": 1, "c_minus": 0, "rate": 0}, "rates must be positive"),
        ({"c_plus": 1, "c_minus": 0, "skip": 1}, "skip must be"),
    ],
)
def test_bad_shapings_are_refused(options, says):
    with pytest.raises(DerivationError, match=says):
        ShapedMLP(relu, **options)


def test_slopes_of_a_smooth_activation_are_refused():
    with pytest.raises(DerivationError, match="two slopes"):
        ShapedMLP(tanh, c_plus=1, c_minus=0)


# --- residual networks ---


def test_resnet_has_the_flow_of_infinite_width():
    v = sp.Symbol("sigma2", positive=True)
    joint = joint_limit(ResNet(relu, width=2, inputs=2, weight_variance=v))
    wide = width_limit(ResNet(relu, width=sp.oo, inputs=2, weight_variance=v))
    assert isinstance(joint, Flow)
    rename = dict(zip(wide.states, joint.states, strict=True))
    assert all(same(b, w.subs(rename, simultaneous=True)) for b, w in zip(joint.drift, wide.drift, strict=True))


def test_skip_connection_slows_both_terms():
    s = sp.Rational(3, 5)
    plain, skip = shaped_relu(), shaped_relu(skip=s)
    assert sp.expand(skip.drift[1] - (1 - s**2) * plain.drift[1]) == 0
    assert sp.expand(skip.covariance - (1 - s**4) * plain.covariance) == sp.zeros(3, 3)
    assert skip.strength == 1 - s**4


def test_normalised_branch():
    limit = joint_limit(PreNormResNet(relu, inputs=2))
    assert limit.drift[0] == sp.Rational(1, 2)
    found = pair_correlation(limit, limit.states).drift.subs({V22: V11})
    kernel = (sp.sqrt(1 - rho**2) - rho * sp.acos(rho)) / (2 * sp.pi)
    assert same(found * V11, kernel)
    assert PreNormResNet(relu, width=25).program().update.coeff(x) == 1


# --- unshaped ---

SLOPE = sp.Symbol("s", real=True)


@pytest.mark.slow
def test_unshaped_relu():
    limit = unshaped_relu()
    (q,), kappa = limit.states, sp.sqrt(2) / (3 * sp.pi)
    assert limit.curvature == kappa
    assert sp.expand(limit.drift[0] - (2 * q * (1 - kappa * sp.sqrt(q)) / t + 2 * q)) == 0
    assert sp.expand(limit.drift[0] - (2 * q * (1 - kappa * sp.sqrt(q)) / t - 2 * q)) != 0
    assert limit.covariance[0, 0] == 8 * q**2
    assert limit.start == sp.Rational(9, 2) * sp.pi**2


def test_linear_form_and_its_moments():
    form = collapse_linear(unshaped_relu())
    kappa = sp.sqrt(2) / (3 * sp.pi)
    assert (form.source, form.growth, form.variance) == (kappa, 2, 2)
    assert sp.expand(form.moment(1) - kappa * (sp.exp(2 * t) - 1) / 2) == 0
    # the hierarchy m_k' = k κ m_{k-1} + (2k + k(k-1)) m_k
    for k in (1, 2, 3):
        lower, here = form.moment(k - 1), form.moment(k)
        assert sp.expand(sp.diff(here, t) - k * kappa * lower - (2 * k + k * (k - 1)) * here) == 0
        assert here.subs(t, 0) == 0


@pytest.mark.slow
def test_family_of_two_slopes():
    c = 2 / (1 + SLOPE**2)
    fourth = c**2 * (1 + SLOPE**4) / 2
    limit = joint_limit(MLP(leaky_relu(SLOPE), inputs=2))
    assert sp.cancel(limit.curvature - sp.sqrt(2) * c * (1 - SLOPE) ** 2 / (6 * sp.pi)) == 0
    assert sp.cancel(limit.mean_rate - fourth) == 0
    assert sp.cancel(limit.variance_rate - 4 * fourth) == 0
    folded = joint_limit(MLP(absolute, inputs=2))
    assert (folded.mean_rate, folded.variance_rate) == (1, 4)
    v = sp.Symbol("V", positive=True)
    assert joint_limit(MLP(relu, inputs=1)).covariance[0, 0] == 5 * v**2


def test_mixture_is_recognised_and_gives_bougerols_identity():
    form = collapse_linear(unshaped_relu())
    law = recognise(form.mixture)
    tau = sp.Symbol("t", positive=True)
    density = law.pdf(mixed, tau, sp.S.Zero)
    wanted = sp.exp(-tau / 2 - sp.asinh(mixed) ** 2 / (2 * tau)) / sp.sqrt(2 * sp.pi * tau)
    assert same(density.subs(tau, sp.Rational(2, 3)), wanted.subs(tau, sp.Rational(2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "layers", "rates"),
    [
        (
            "orthogonal",
            lambda a, b: a(relu(x)),
            (1, 4),
        ),  # E δ'/δ and its variance, given the norms that the weights keep
        # 2 n neurons under the activation, and a linear matrix that adds what one slope 1 would
        ("gaussian", lambda a, b: a(relu(b(x))), (2, 8)),
        ("orthogonal", lambda a, b: a(relu(b(x))), (1, 4)),
    ],
    ids=["orthogonal", "two", "two orthogonal"],
)
def test_the_angle_is_an_observable_of_any_layer(law, layers, rates):
    a, b = Weights("A", variance=2, law=law), Weights("B", out=2 * width, law=law)
    limit = joint_limit(Network(layers(a, b), width=width, inputs=2))
    assert limit.curvature == sp.sqrt(2) / (3 * sp.pi)
    assert (limit.mean_rate, limit.variance_rate) == rates


def test_correlations_that_leave_one_have_no_limit():
    with pytest.raises(NoLimit, match="do not collapse as slowly"):
        joint_limit(Network(Weights("A")(sp.sqrt(average(x**2)) * sp.sign(x)), width=width, inputs=2))


def test_unshaped_pairs_only():
    with pytest.raises(DerivationError, match="pair by pair"):
        joint_limit(MLP(relu, inputs=3))


QUARTER, V = sp.Rational(1, 4), sp.Symbol("V", positive=True)


@pytest.mark.parametrize(
    ("activation", "rate", "drift"),
    [
        (x + x**5, QUARTER, 30 * (V**3 - V)),  # E x x⁵ = 15, twice, less the gain's share
        (x + x**4, sp.Rational(1, 6), 105 * (V**4 - V)),  # E x⁸ = 105
        (x + x**7, sp.Rational(1, 6), 210 * (V**4 - V)),
        (x + x**5, sp.Rational(1, 3), 0),
        (sp.sinh(x) - x**3 / 6, QUARTER, (V**3 - V) / 4),
    ],
)
def test_order_of_the_expansion_follows_from_the_rates(activation, rate, drift):
    limit = joint_limit(ShapedMLP(activation, a=1, rate=rate))
    assert sp.expand(limit.drift[0] - drift) == 0
    assert limit.covariance[0] == 2 * V**2


def test_a_skip_scales_the_drift_of_higher_order():
    limit = joint_limit(ShapedMLP(x + x**5, a=1, rate=QUARTER, skip=sp.Rational(1, 2)))
    assert sp.expand(limit.drift[0] - sp.Rational(3, 4) * 30 * (V**3 - V)) == 0


def test_rates_too_small_grow_or_are_refused():
    with pytest.raises(NoLimit, match="grows like"):
        joint_limit(ShapedMLP(tanh, a=1, rate=sp.Rational(1, 100)))
    with pytest.raises(DerivationError, match="higher order than are expanded"):
        joint_limit(ShapedMLP(x + x**41, a=1, rate=sp.Rational(1, 40)))


@pytest.mark.slow
def test_networks_follow_the_drift_of_fourth_order():
    # V_0 = 1/2, t = 1/20: the flow of the drift's mean is 0.128; an expansion stopped at order 2 says 0.5
    found = []
    for n, samples in ((400, 400), (1600, 100)):
        net, rng = n // 20, np.random.default_rng(n)
        v = np.full(samples, 0.5)
        gain = 1 + 30 / n + 945 / n**2  # E (g + g⁵/n)²
        for _ in range(net):
            z = np.sqrt(v)[:, None] * rng.standard_normal((samples, n))
            v = ((z + z**5 / n) ** 2).mean(axis=1) / gain
        found.append((v.mean(), v.std() / np.sqrt(samples)))
    for mean, error in found:
        assert abs(mean - 0.128) < 4 * error + 0.006
        assert abs(mean - 0.5) > 20 * error
