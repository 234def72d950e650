"""The Jacobian's equation, volumes and Lyapunov spectrum, against the theory and explicitly differentiated networks."""

import numpy as np
import pytest
import sympy as sp

from derivations import DerivationError, ResNet, ShrinkingResNet, identity, relu, silu, tanh
from derivations.jacobian import jacobian_diffusion, log_volume, lyapunov_exponent
from derivations.symbols import width as n
from tests.helpers import equal_symbolically

sw, sb = sp.symbols("sigma_w sigma_b", positive=True)
mu_w, mu_b = sp.symbols("mu_w mu_b", real=True)


@pytest.mark.parametrize(
    ("outer", "first", "second"), [(tanh, 1, 0), (silu, sp.S.Half, sp.S.Half)], ids=["tanh", "silu"]
)
def test_the_matrix_equation_is_that_of_the_theory(outer, first, second):
    moments = {"weight_variance": sw**2, "bias_variance": sb**2, "weight_mean": mu_w, "bias_mean": mu_b}
    limit = jacobian_diffusion(ShrinkingResNet(outer, tanh, n, **moments), columns=2)
    x, v, w = limit.neuron
    psi, slope = sp.tanh(x), 1 - sp.tanh(x) ** 2
    drift = second * sw**2 / n * limit.sum(psi * slope * v) + first * mu_w / n * limit.sum(slope * v)
    assert equal_symbolically(limit.neuron_drift[1], drift)
    assert equal_symbolically(limit.neuron_covariance[1, 2], first**2 * sw**2 / n * limit.sum(slope**2 * v * w))
    assert equal_symbolically(limit.neuron_covariance[0, 1], first**2 * sw**2 / n * limit.sum(psi * slope * v))
    assert equal_symbolically(limit.neuron_covariance[0, 0], first**2 * (sb**2 + sw**2 / n * limit.sum(psi**2)))


@pytest.mark.parametrize("k", [1, 2])
def test_linear_log_determinant_is_normal_whatever_the_width(k):
    volume = log_volume(ResNet(identity, k, weight_variance=sw**2), k) if k > 1 else None
    if volume is not None:
        assert equal_symbolically(volume.drift, -(sw**2) / 2)
        assert equal_symbolically(volume.rate, sw**2)
    assert equal_symbolically(
        lyapunov_exponent(ResNet(identity, n, weight_variance=sw**2), k), sw**2 * (n - 2 * k) / (2 * n)
    )


def test_the_spectrum_adds_up_to_the_determinant():
    exponents = [lyapunov_exponent(ResNet(identity, n), k) for k in (1, 2)]
    k = sp.Symbol("k", integer=True, positive=True)
    general = exponents[0] + (k - 1) * (exponents[1] - exponents[0])
    assert equal_symbolically(sp.summation(general, (k, 1, n)), -sp.Rational(1, 2))


def test_volumes_that_depend_on_the_state_say_so():
    with pytest.raises(DerivationError, match="constant rates"):
        lyapunov_exponent(ResNet(tanh, n), 1)
    for network in (ResNet(relu, 3, inputs=2), ResNet(relu, sp.oo)):
        with pytest.raises(DerivationError, match="one input"):
            jacobian_diffusion(network)


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
    from numerics.statistics import Estimate, richardson

    x0, v0, samples, t = np.array([1.0, -0.5]), np.array([1.0, 1.0]), 40_000, 1.0

    def of_limit(variance, steps, seed):
        limit = jacobian_diffusion(ShrinkingResNet(silu, tanh, 2, weight_variance=variance))
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

    from numerics.statistics import Estimate, ks_test, richardson

    size, samples = 3, 20_000

    def logs(depth, seed):
        rng, total = np.random.default_rng(seed), np.zeros(samples)
        for _ in range(depth):
            w = rng.standard_normal((samples, size, size)) / np.sqrt(size * depth)
            total += np.linalg.slogdet(np.eye(size) + w).logabsdet
        return total

    volume = log_volume(ResNet(identity, size), size)
    coarse, fine = logs(32, 1), logs(64, 2)
    mean = richardson(Estimate.of(coarse), Estimate.of(fine))
    variance = richardson(Estimate.variance_of(coarse), Estimate.variance_of(fine))
    for found, derived in ((mean, volume.drift), (variance, volume.rate)):
        assert found.test(float(derived)).p_value > 1e-3
        assert found.test(float(derived) * 1.1025).p_value < 1e-3  # the control: the noise's scale 5 % off
    shape = (fine - fine.mean()) / fine.std()
    assert ks_test(shape, stats.norm.cdf).p_value > 1e-3
    assert ks_test(shape * 1.1, stats.norm.cdf).p_value < 1e-3
