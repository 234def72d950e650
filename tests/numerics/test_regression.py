"""Inference with the kernels, against linear regression, gradient flow and scikit-learn's conventions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm

from derivations import ResNet, ShrinkingResNet, erf, identity, relu, tanh
from numerics.kernels import kernel_matrices
from numerics.regression import JitterWarning, NNGPRegressor, NTKRegressor

rng = np.random.default_rng(0)
X, NEW = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
Y = np.sin(X @ rng.normal(size=4)) + 0.1 * rng.normal(size=30)
BIASED = {"weight_variance": sp.Rational(3, 2), "bias_variance": sp.Rational(1, 2)}


def linear_regression(t, noise, slope, level):
    """Bayesian linear regression in weights of variance slope/dim and an intercept of variance level."""
    design, new = (np.column_stack([x * np.sqrt(slope / 4), np.full(len(x), np.sqrt(level))]) for x in (X, NEW))
    precision = design.T @ design / noise + np.eye(5)
    return new @ np.linalg.solve(precision, design.T @ Y) / noise, np.sqrt(
        np.diag(new @ np.linalg.solve(precision, new.T))
    )


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_identity_inside_is_bayesian_linear_regression(t):
    s, beta, noise = 1.5, 1 / 3, 0.1
    prior = linear_regression(t, noise, np.exp(s * t), beta * np.expm1(s * t))
    model = NNGPRegressor(ShrinkingResNet(tanh, identity, sp.oo, **BIASED), t, noise).fit(X, Y)
    mean, deviation = model.predict(NEW, return_std=True)
    assert np.abs(mean - prior[0]).max() < 1e-10
    assert np.abs(deviation - prior[1]).max() < 1e-10
    tangent = linear_regression(t, noise, np.exp(s * t) * (1 + s * t), np.exp(s * t) * s * t * beta)
    trained = NTKRegressor(ShrinkingResNet(tanh, identity, sp.oo, **BIASED), t, noise).fit(X, Y)
    assert np.abs(trained.predict(NEW) - tangent[0]).max() < 1e-10


@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_a_kink_inside_is_not_linear(model):
    # an affine predictor has f(a) + f(b) = 2 f((a + b)/2); the control is the identity
    def bend(inner):
        fitted = model(ShrinkingResNet(tanh, inner, sp.oo, **BIASED), 2.0, 0.1).fit(X, Y)
        a, b = NEW, NEW[::-1] + 0.5
        return np.abs(fitted.predict(a) + fitted.predict(b) - 2 * fitted.predict((a + b) / 2)).max()

    assert bend(identity) < 1e-7
    assert bend(relu) > 1e-2


def test_training_is_gradient_flow_on_the_tangent_kernel():
    network, tau = ShrinkingResNet(tanh, erf, sp.oo), 0.8
    both = kernel_matrices(network, np.concatenate([X, NEW]))
    theta, k = both.ntk, both.nngp
    decay = expm(-tau * theta[:30, :30])
    A = theta[30:, :30] @ np.linalg.solve(theta[:30, :30], np.eye(30) - decay)
    mean, covariance = NTKRegressor(network, noise=0.0, training_time=tau).fit(X, Y).predict(NEW, return_cov=True)
    joint = np.column_stack([-A, np.eye(7)])
    assert np.allclose(mean, A @ Y, atol=1e-7)
    assert np.allclose(covariance, joint @ k @ joint.T, atol=1e-7)


def test_training_ends_in_interpolation_and_begins_at_the_prior():
    network = ResNet(relu, sp.oo)
    late = NTKRegressor(network, noise=1e-8, training_time=1e12).fit(X, Y).predict(NEW, return_std=True)
    end = NTKRegressor(network, noise=1e-8).fit(X, Y)
    assert np.allclose(late, end.predict(NEW, return_std=True), atol=1e-5)
    assert np.allclose(end.predict(X), Y, atol=1e-5)
    assert np.allclose(end.predict(X, return_std=True)[1], 0, atol=1e-3)
    early = NTKRegressor(network, training_time=1e-9).fit(X, Y).predict(NEW, return_cov=True)
    assert np.allclose(early[0], 0, atol=1e-6)
    assert np.allclose(early[1], kernel_matrices(network, NEW).nngp, atol=1e-6)


def test_marginal_likelihood_is_the_gaussian_density():
    from scipy.stats import multivariate_normal

    model = NNGPRegressor(ResNet(relu, sp.oo), noise=0.1).fit(X, Y)
    k = kernel_matrices(ResNet(relu, sp.oo), X).nngp + 0.1 * np.eye(30)
    assert model.log_marginal_likelihood_ == pytest.approx(multivariate_normal(np.zeros(30), k).logpdf(Y))


def test_jitter_is_reported_and_never_silent():
    doubled = np.concatenate([X, X[:3]])
    labels = np.concatenate([Y, Y[:3]])
    with pytest.warns(JitterWarning, match="singular"):
        model = NNGPRegressor(ResNet(relu, sp.oo), noise=0.0).fit(doubled, labels)
    assert model.jitter_ > 0
    assert NNGPRegressor(ResNet(relu, sp.oo), noise=0.1).fit(X, Y).jitter_ == 0.0


@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_speaks_scikit_learn(model):
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_regressor
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = model(ResNet(relu, sp.oo), noise=0.1)
    assert is_regressor(estimator)
    assert clone(estimator).get_params() == estimator.get_params()
    pipeline = make_pipeline(StandardScaler(), estimator)
    assert len(cross_val_score(pipeline, X, Y, cv=3)) == 3
    mean, deviation = pipeline.fit(X, Y).predict(NEW, return_std=True)
    assert mean.shape == deviation.shape == (7,)
    search = GridSearchCV(estimator, {"t": [0.1, 1.0]}, cv=3).fit(X, Y)
    assert search.best_params_["t"] in (0.1, 1.0)
    again = pickle.loads(pickle.dumps(pipeline))
    assert np.array_equal(again.predict(NEW), mean)


def test_several_outputs_and_the_score():
    both = np.column_stack([Y, -2 * Y])
    model = NNGPRegressor(ResNet(relu, sp.oo), noise=0.1).fit(X, both)
    assert model.predict(NEW).shape == (7, 2)
    assert np.allclose(model.predict(NEW)[:, 1], -2 * model.predict(NEW)[:, 0])
    assert 0.5 < model.score(X, both) < 1


@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_bad_input_is_refused(model):
    estimator = model(ResNet(relu, sp.oo))
    with pytest.raises(ValueError, match="not fitted"):
        estimator.predict(NEW)
    with pytest.raises(ValueError, match="rows of X"):
        estimator.fit(X, Y[:-1])
    with pytest.raises(ValueError, match="finite"):
        estimator.fit(X, np.full(30, np.nan))
    with pytest.raises(ValueError, match="shape"):
        estimator.fit(X, Y).predict(NEW[:, :2])
    with pytest.raises(ValueError, match="has the parameters"):
        estimator.set_params(depth=3)
    with pytest.raises(ValueError, match="noise"):
        model(ResNet(relu, sp.oo), noise=-1.0).fit(X, Y)
