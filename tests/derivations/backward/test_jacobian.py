"""The Jacobian's equation, volumes and Lyapunov spectrum, against the theory and explicitly differentiated networks."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    ConvBlock,
    DerivationError,
    Network,
    NotClosed,
    ResNet,
    ShrinkingResNet,
    Weights,
    epsilon,
    identity,
    relu,
    silu,
    tanh,
)
from derivations.backward import jacobian
from derivations.sums import coordinate_sum, written_out
from derivations.symbols import width as n
from numerics.compile import compile_expression
from numerics.statistics import Estimate, richardson
from tests.helpers import equal_symbolically

sw, sb = sp.symbols("sigma_w sigma_b", positive=True)
mu_w, mu_b = sp.symbols("mu_w mu_b", real=True)


@pytest.mark.parametrize(
    ("outer", "first", "second"), [(tanh, 1, 0), (silu, sp.S.Half, sp.S.Half)], ids=["tanh", "silu"]
)
def test_the_matrix_equation_is_that_of_the_theory(outer, first, second):
    moments = {"weight_variance": sw**2, "bias_variance": sb**2, "weight_mean": mu_w, "bias_mean": mu_b}
    limit = jacobian(ShrinkingResNet(outer, tanh, width=n, **moments)).limit(2)
    x, v, w = limit.neuron
    psi, slope = sp.tanh(x), 1 - sp.tanh(x) ** 2
    drift = second * sw**2 / n * limit.sum(psi * slope * v) + first * mu_w / n * limit.sum(slope * v)
    assert equal_symbolically(limit.neuron_drift[1], drift)
    assert equal_symbolically(limit.neuron_covariance[1, 2], first**2 * sw**2 / n * limit.sum(slope**2 * v * w))
    assert equal_symbolically(limit.neuron_covariance[0, 1], first**2 * sw**2 / n * limit.sum(psi * slope * v))
    assert equal_symbolically(limit.neuron_covariance[0, 0], first**2 * (sb**2 + sw**2 / n * limit.sum(psi**2)))


@pytest.mark.parametrize("k", [1, 2])
def test_linear_log_determinant_is_normal_whatever_the_width(k):
    volume = jacobian(ResNet(identity, width=k, weight_variance=sw**2)).log_det
    assert equal_symbolically(volume.drift, -(sw**2) / 2)
    assert equal_symbolically(volume.rate, sw**2)
    assert equal_symbolically(
        jacobian(ResNet(identity, width=n, weight_variance=sw**2)).lyapunov(k), sw**2 * (n - 2 * k) / (2 * n)
    )


def test_the_spectrum_adds_up_to_the_determinant():
    exponents = [jacobian(ResNet(identity, width=n)).lyapunov(k) for k in (1, 2)]
    k = sp.Symbol("k", integer=True, positive=True)
    general = exponents[0] + (k - 1) * (exponents[1] - exponents[0])
    assert equal_symbolically(sp.summation(general, (k, 1, n)), -sp.Rational(1, 2))


def test_volumes_that_depend_on_the_state_say_so():
    with pytest.raises(DerivationError, match="constant rates"):
        jacobian(ResNet(tanh, width=n)).lyapunov(1)


# --- the determinant, the inverse and volumes ---

A, B = Weights("A"), Weights("B", out=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outer", "first", "second"), [(tanh, 1, 0), (silu, sp.S.Half, sp.S.Half)], ids=["tanh", "silu"]
)
def test_determinant_of_shrinking_blocks_is_that_of_the_theory(outer, first, second):
    found = jacobian(ShrinkingResNet(outer, tanh, width=n, weight_variance=sw**2, bias_variance=sb**2)).log_det
    x = sp.Symbol("x", real=True)
    psi, slope = sp.tanh(x), 1 - sp.tanh(x) ** 2

    def mean(body):
        return coordinate_sum(sp.expand(body), (x,), n) / n

    drift = second * sw**2 * mean(psi * slope) - first**2 * sw**2 * mean(slope**2) / 2
    assert equal_symbolically(found.drift, drift)
    assert equal_symbolically(found.rate, first**2 * sw**2 * mean(slope**2))


def test_two_matrices_with_relu_are_a_brownian_motion_of_matrices():
    j = jacobian(Network(lambda x: x + epsilon * A(relu(B(x))), width=n))
    k = sp.Symbol("k", integer=True, positive=True)
    assert (j.log_det.drift, j.log_det.rate) == (-sp.Rational(1, 4), sp.S.Half)
    assert j.log_det.law.name == "Brownian motion with drift"
    assert equal_symbolically(j.lyapunov(), (n - 2 * k) / (4 * n))
    assert equal_symbolically(sp.summation(j.lyapunov(), (k, 1, n)), j.log_det.drift)
    assert j.growth == sp.S.Half


def test_determinant_with_neurons_and_of_a_symbolic_width():
    process = jacobian(ResNet(tanh, width=2)).log_det.process
    assert [str(s) for s in process.states] == ["x_1", "x_2", "Lambda"]
    x1, x2, _ = process.states
    assert equal_symbolically(process.drift[2], -sum((1 - sp.tanh(x) ** 2) ** 2 for x in (x1, x2)) / 4)
    assert equal_symbolically(process.covariance[0, 2], sp.tanh(x1) * (1 - sp.tanh(x1) ** 2) / 2)
    with pytest.raises(NotClosed, match="give the width as a number"):
        _ = jacobian(ResNet(tanh, width=n)).log_det.process


@pytest.mark.slow
def test_it_prints_in_every_format(tmp_path):
    j = jacobian(Network(lambda x: x + epsilon * A(relu(B(x))), width=n))
    assert "Λ_t ~ N(-t/4, t/2)" in str(j)
    for made in (j.latex(), j.typst(), j.to_json(), j._repr_latex_()):
        assert "K" in made
    for suffix in (".tex", ".typ", ".txt", ".json"):
        assert j.write(tmp_path / f"j{suffix}").stat().st_size > 500
    with pytest.raises(DerivationError, match="suffix"):
        j.write(tmp_path / "j.pdf")
    with pytest.raises(DerivationError, match="columns="):
        j.limit()
    with pytest.raises(DerivationError, match="expects a network"):
        jacobian(relu)


def differentiated(samples, depth, t, x0, v0, seed):
    """SiLU networks with tanh inside and their derivative along v0, layer by layer by the chain rule."""
    rng, size, h = np.random.default_rng(seed), len(x0), t / depth
    x, v = np.tile(x0, (samples, 1)), np.tile(v0, (samples, 1))
    for _ in range(depth):
        w = rng.standard_normal((samples, size, size)) * np.sqrt(h / size)
        psi = np.tanh(x)
        u, du = (np.einsum("sij,sj->si", w, fed) for fed in (psi, (1 - psi**2) * v))
        gate = 1 / (1 + np.exp(-u))
        x, v = x + u * gate, v + (gate + u * gate * (1 - gate)) * du
    return x, v


@pytest.mark.slow
def test_explicitly_differentiated_networks_follow_the_equation():
    from numerics.paths import simulate_sde
    from numerics.statistics import Estimate

    x0, v0, samples, t = np.array([1.0, -0.5]), np.array([1.0, 1.0]), 40_000, 1.0

    def of_limit(variance, steps, seed):
        limit = jacobian(ShrinkingResNet(silu, tanh, width=2, weight_variance=variance)).limit(1)
        path = simulate_sde(limit, x0=np.stack([x0, v0], axis=-1), t=t, steps=steps, samples=samples, seed=seed)
        return Estimate.of(np.sum(path.reshape(samples, 2, 2)[:, :, 1] ** 2, axis=1))

    def of_networks(depth, seed):
        return Estimate.of(np.sum(differentiated(samples, depth, t, x0, v0, seed)[1] ** 2, axis=1))

    found = richardson(of_networks(16, 0), of_networks(32, 1))
    right, wrong = (richardson(of_limit(v, 16, 2), of_limit(v, 32, 3)) for v in (sp.S.One, sp.Rational(13, 10)))
    assert (found - right).test(0.0).p_value > 1e-3
    assert (found - wrong).test(0.0).p_value < 1e-3  # the control


@pytest.mark.slow
def test_linear_determinants_of_finite_networks():
    from scipy import stats

    from numerics.statistics import Estimate, ks_test

    size, samples = 3, 20_000

    def logs(depth, seed):
        rng, total = np.random.default_rng(seed), np.zeros(samples)
        for _ in range(depth):
            w = rng.standard_normal((samples, size, size)) / np.sqrt(size * depth)
            total += np.linalg.slogdet(np.eye(size) + w).logabsdet
        return total

    volume = jacobian(ResNet(identity, width=size)).log_det
    coarse, fine = logs(32, 1), logs(64, 2)
    mean = richardson(Estimate.of(coarse), Estimate.of(fine))
    variance = richardson(Estimate.variance_of(coarse), Estimate.variance_of(fine))
    for found, derived in ((mean, volume.drift), (variance, volume.rate)):
        assert found.test(float(derived)).p_value > 1e-3
        assert found.test(float(derived) * 1.1025).p_value < 1e-3  # the control: the noise's scale 5 % off
    shape = (fine - fine.mean()) / fine.std()
    assert ks_test(shape, stats.norm.cdf).p_value > 1e-3
    assert ks_test(shape * 1.1, stats.norm.cdf).p_value < 1e-3


@pytest.mark.slow
def test_a_width_may_be_said_by_a_matrix_too():
    # the number of a matrix's rows was compared with a width without a number
    said = jacobian(Network(lambda x: x + epsilon * Weights("A", out=2)(tanh(B(x))), width=2))
    plain = jacobian(Network(lambda x: x + epsilon * Weights("A")(tanh(B(x))), width=2))
    assert (said.log_det.drift, said.gram.process) == (plain.log_det.drift, plain.gram.process)


@pytest.mark.slow
def test_determinants_of_a_convolutional_block():
    """One layer on a ring of three positions, filters drawn by hand: the coefficients of ε², without the next order."""
    width, positions, samples = 2, 3, 60_000
    found = jacobian(ConvBlock(relu, width=width, positions=(positions,), filter=(3,))).log_det
    rng = np.random.default_rng(0)
    x = rng.standard_normal((width, positions))
    rows = [[sp.Float(v) for v in neuron] for neuron in x]

    def over_positions():
        taps = rng.standard_normal((samples, 3, width, width)) / np.sqrt(3 * width)
        whole = np.zeros((samples, positions, width, positions, width))
        for a in range(positions):
            for k in range(3):
                whole[:, a, :, (a + k) % positions] = taps[:, k]
        return whole.reshape(samples, positions * width, -1)

    inner, outer = over_positions(), over_positions()
    branch = outer @ ((inner @ x.T.ravel() > 0)[:, :, None] * inner)

    def moments(h):
        up, down = (np.linalg.slogdet(np.eye(6) + s * np.sqrt(h) * branch).logabsdet for s in (1, -1))
        return np.stack([up + down, (up - down) ** 2 / 2]) / (2 * h)

    for seen, formula in zip(2 * moments(1 / 128) - moments(1 / 64), (found.drift, found.rate), strict=True):
        derived, estimate = float(written_out(formula, rows)), Estimate.of(seen)
        assert estimate.test(derived).p_value > 1e-3
        assert estimate.test(1.2 * derived).p_value < 1e-3


@pytest.mark.slow
def test_determinants_over_positions_know_the_cone_of_their_gram_matrix():
    # refused before: a correlation of more than 1, at a point outside the cone, made the drift look imaginary
    block = ConvBlock(relu, width=n, positions=(3,), filter=(3,), circular=False, hidden=1)
    wide, few = (jacobian(net).log_det.process for net in (block, replace(block, width=2)))
    assert [str(s) for s in wide.states] == ["V_11", "V_12", "V_13", "V_22", "V_23", "V_33", "Lambda"]
    for v12, inside in ((1, sp.true), (2, sp.false)):  # the control: a correlation of 4/3
        assert wide.domain.contains(sp.Tuple(2, v12, 0, sp.Rational(9, 8), 0, 1, 0)) == inside
    # two neurons at three positions: the Gram matrix is singular, and all neurons are followed
    assert len(few.states) == 7
    x = np.array([[1.0, -0.5, 0.75], [0.25, 0.75, -1.0]])
    v = (x.T @ x / 2)[np.triu_indices(3)]
    gram = dict(zip(wide.states, map(sp.Float, (*v, 0)), strict=True)) | {n: sp.Integer(2)}
    neurons = dict(zip(few.states, map(sp.Float, (*x.ravel(), 0)), strict=True))
    one, other = (float(p.drift[-1].xreplace(at)) for p, at in ((wide, gram), (few, neurons)))
    assert np.isclose(one, other, rtol=1e-12)
    assert abs(one) > 0.1


@pytest.mark.slow
def test_why_gradients_of_weights_are_not_derived_is_a_step():
    A = Weights("A")
    steps = jacobian(Network(lambda x: x + epsilon**2 * A.T(sp.tanh(A(x))), width=3)).steps
    (own,) = (step for step in steps if step.name == "Gradients of the weights")
    assert own.because


@pytest.mark.slow
def test_equations_too_long_to_be_read_are_left_out_of_the_steps():
    j = jacobian(ConvBlock(relu, width=n, positions=(3,)))
    said = {step.name: step for step in j.steps}
    assert not said["Inverse and gradients"].lines
    assert j.inverse.covariance[0] != 0


def test_means_inside_cases_keep_their_variance():
    """Hidden neurons that read ReLUs: where all of these are 0 the mean is another one, and a name reached into that case."""
    B = Weights("B", out=2)
    found = jacobian(Network(lambda x: x + epsilon * A(relu(B(relu(x))) + tanh(B(relu(x)))), width=2)).log_det
    assert not found.drift.free_symbols | found.rate.free_symbols
    x, samples, rng = np.array([0.8, 0.5]), 20_000, np.random.default_rng(2)
    a, b = (rng.standard_normal((samples, 2, 2)) / np.sqrt(2) for _ in "ab")
    h = np.einsum("sij,j->si", b, x)
    d = (a * ((h > 0) + 1 / np.cosh(h) ** 2)[:, None, :]) @ b
    for seen, formula in (
        (-np.einsum("sij,sji->s", d, d) / 2, found.drift),
        (np.trace(d, axis1=1, axis2=2) ** 2, found.rate),
    ):
        derived = float(written_out(formula, [[sp.Float(v)] for v in x]).evalf())
        assert Estimate.of(seen).test(derived).p_value > 1e-3
        assert Estimate.of(seen).test(1.2 * derived).p_value < 1e-3  # the control


@pytest.mark.slow
def test_means_of_weights_stay_beside_the_variables_of_integrals():
    # what was read beside an integral's variable left the integral with it, and no number was left of the rate
    block = ConvBlock(relu, width=2, positions=(2,), filter=(1,), hidden=3, weight_mean=sp.S.Half)
    layer = jacobian(block).layer
    rate = layer.sums(layer.variance)
    x = np.array([[0.5, -0.25], [-1.0, 0.75]])  # neurons by positions
    derived = compile_expression((), written_out(rate, [[sp.Float(v) for v in row] for row in x]))()
    # A's entries have the variance 1/3, so that of tr J is the mean of |b|² 1(b·x > 0) 1(b·x' > 0) over both pairs of positions, for a row b of B
    b = 0.25 + np.random.default_rng(8).standard_normal((400_000, 2)) / np.sqrt(2)
    estimate = Estimate.of(((b @ x > 0).sum(axis=1) ** 2) * (b**2).sum(axis=1))
    assert estimate.test(float(derived)).p_value > 1e-3
    assert estimate.test(1.02 * float(derived)).p_value < 1e-3
