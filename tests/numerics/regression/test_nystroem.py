"""Regression with a kernel known with some inputs only, against the exact regressors, and scikit-learn's own checks."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import ConvResNet, ResNet, erf, relu, tanh
from numerics import NNGPRegressor, NTKRegressor, NystroemRegressor
from numerics.kernels import kernel_matrix

pytest.importorskip("sklearn")

rng = np.random.default_rng(1)
X, NEW = rng.normal(size=(60, 4)), rng.normal(size=(9, 4))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] ** 2], axis=1)
NETWORK = ResNet(relu, width=sp.oo)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "exact"), [("ntk", NTKRegressor), ("nngp", NNGPRegressor)])
def test_all_inputs_give_the_exact_mean(kind, exact):
    model = NystroemRegressor(NETWORK, kind=kind, components=60, noise=0.1, random_state=0).fit(X, Y)
    mean = exact(NETWORK, noise=0.1).fit(X, Y).predict(NEW)
    assert np.abs(model.predict(NEW) - mean).max() < 1e-6
    assert model.kernel_error_ < 1e-8  # a few tolerances of the kernel
    few = NystroemRegressor(NETWORK, kind=kind, components=10, noise=0.1, random_state=0).fit(X, Y)  # the control
    assert np.abs(few.predict(NEW) - mean).max() > 1e-3
    assert few.kernel_error_ > 1e-3


def test_the_error_is_the_trace_of_what_the_kernel_lacks():
    model = NystroemRegressor(NETWORK, components=12, noise=0.1, random_state=3).fit(X, Y[:, 0])
    kernel, across = (kernel_matrix(NETWORK, X, kind="ntk", other=o) for o in (None, model.X_train_))
    inside = kernel_matrix(NETWORK, model.X_train_, kind="ntk")
    lacking = kernel - across @ np.linalg.solve(inside, across.T)
    assert model.kernel_error_ == pytest.approx(np.trace(lacking) / np.trace(kernel), rel=1e-6)
    assert np.linalg.eigvalsh(lacking)[-1] <= model.kernel_error_ * np.trace(kernel)
    assert model.predict(NEW).shape == (9,)


@pytest.mark.slow
def test_sequences_and_bad_parameters():
    images = rng.normal(size=(8, 2, 3))
    network = ConvResNet(tanh, erf, width=sp.oo, positions=(3,), filter=(1,))
    model = NystroemRegressor(network, components=8, noise=0.1, random_state=0).fit(images, images[:, 0, 0])
    exact = NTKRegressor(network, noise=0.1).fit(images, images[:, 0, 0])
    assert np.abs(model.predict(images) - exact.predict(images)).max() < 1e-6
    for options, match in (
        ({"kind": "nntk"}, "unknown kind 'nntk'"),
        ({"components": 0}, "components must be a whole number"),
        ({"components": 2.5}, "components must be a whole number"),
        ({"noise": 0.0}, "noise must be above 0"),
    ):
        with pytest.raises(ValueError, match=match):
            NystroemRegressor(NETWORK, **options).fit(X, Y)


@pytest.mark.slow
def test_scikit_learn_s_own_checks():
    from sklearn.utils.estimator_checks import check_estimator

    # the checks fit some eighty times: a tenth of the depth takes a tenth of the steps, and asks for the same conventions
    results = check_estimator(NystroemRegressor(NETWORK, t=0.1, random_state=0), on_skip=None, on_fail=None)
    assert {r["check_name"]: r["exception"] for r in results if r["status"] not in ("passed", "skipped")} == {}
