"""Training for a finite time: against gradient flow written out by a matrix exponential, singular kernels included."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm

from derivations import ResNet, identity, relu
from derivations.activations import parse_activation
from numerics.cli import main
from numerics.kernels import kernel_matrices
from numerics.regression import NNGPRegressor, NTKRegressor

pytest.importorskip("sklearn")

rng = np.random.default_rng(0)
ROWS, NEW = rng.normal(size=(7, 3)), rng.normal(size=(3, 3))
ROWS[5] = ROWS[0]  # with itself twice the kernel is singular
LABELS = rng.normal(size=7)
NETWORKS = {
    "linear": (ResNet(identity, width=sp.oo), ROWS, NEW),  # of rank 3
    "homogeneous": (ResNet(relu, width=sp.oo), ROWS, NEW),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_training_for_a_while_is_gradient_flow(name):
    network, given, new = NETWORKS[name]
    m, more, labels = len(given), len(new), LABELS[: len(given)]
    both = kernel_matrices(network, np.concatenate([given, new]), 0.5)
    # outputs of all inputs move by f' = -Θ(f - y) of the training ones: affine in (f, 1), so that no inverse is needed
    for tau in (1e-3, 0.7, 50.0):
        generator = np.zeros((m + more + 1, m + more + 1))
        generator[:-1, :m] = -both.ntk[:, :m]
        generator[:-1, -1] = both.ntk[:, :m] @ labels
        moved = expm(tau * generator)[:-1]
        mean, law = moved[m:, -1], moved[m:, :-1]
        model = NTKRegressor(network, 0.5, noise=0.0, training_time=tau).fit(given, labels)
        found, covariance = model.predict(new, return_cov=True)
        assert np.allclose(found, mean, rtol=0, atol=1e-7)
        assert np.allclose(covariance, law @ both.nngp @ law.T, rtol=0, atol=1e-7)
        later = NTKRegressor(network, 0.5, noise=0.0, training_time=1.01 * tau).fit(given, labels).predict(new)
        assert tau > 1 or not np.allclose(later, mean, rtol=0, atol=1e-7)  # the control
    start = NTKRegressor(network, 0.5, noise=0.0, training_time=1e-14).fit(given, labels).predict(new, return_cov=True)
    assert np.allclose(start[0], 0.0, atol=1e-9)
    assert np.allclose(start[1], both.nngp[m:, m:], atol=1e-9)


@pytest.mark.slow
def test_a_tangent_kernel_that_does_not_exist_is_refused_everywhere(tmp_path, capsys):
    rough = ResNet(parse_activation("sqrt(abs(x))"), width=sp.oo)
    with pytest.raises(ValueError, match="no tangent kernel: the mean of its squared derivative"):
        NTKRegressor(rough).fit(ROWS, LABELS)
    with pytest.raises(ValueError, match="it jumps at"):
        NTKRegressor(ResNet(parse_activation("sign(x)"), width=sp.oo)).fit(ROWS, LABELS)
    assert NNGPRegressor(rough, noise=0.1).fit(ROWS, LABELS).predict(NEW).shape == (3,)
    arguments = ["kernel", "resnet", "--activation", "sqrt(abs(x))", "--random", "3x2", "--of", "ntk"]
    assert main([*arguments, "--out", str(tmp_path / "k.npy")]) != 0
    assert "mean of its squared derivative" in capsys.readouterr().err
