"""Inference with the kernels, against linear regression, gradient flow and scikit-learn's conventions."""

from __future__ import annotations

import importlib.util
import pickle
import sys

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm

from derivations import (
    ConvResNet,
    MLPBlock,
    ResNet,
    ShrinkingResNet,
    elu,
    erf,
    identity,
    parse_activation,
    relu,
    silu,
    sine,
    softplus,
    tanh,
)
from numerics.kernels import kernel_matrices
from numerics.regression import JitterWarning, NNGPRegressor, NTKRegressor

pytest.importorskip("sklearn")

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
    model = NNGPRegressor(ShrinkingResNet(tanh, identity, width=sp.oo, **BIASED), t, noise).fit(X, Y)
    mean, deviation = model.predict(NEW, return_std=True)
    assert np.abs(mean - prior[0]).max() < 1e-10
    assert np.abs(deviation - prior[1]).max() < 1e-10
    tangent = linear_regression(t, noise, np.exp(s * t) * (1 + s * t), np.exp(s * t) * s * t * beta)
    trained = NTKRegressor(ShrinkingResNet(tanh, identity, width=sp.oo, **BIASED), t, noise).fit(X, Y)
    assert np.abs(trained.predict(NEW) - tangent[0]).max() < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_a_kink_inside_is_not_linear(model):
    # an affine predictor has f(a) + f(b) = 2 f((a + b)/2); the control is the identity
    def bend(inner):
        fitted = model(ShrinkingResNet(tanh, inner, width=sp.oo, **BIASED), 2.0, 0.1).fit(X, Y)
        a, b = NEW, NEW[::-1] + 0.5
        return np.abs(fitted.predict(a) + fitted.predict(b) - 2 * fitted.predict((a + b) / 2)).max()

    assert bend(identity) < 1e-7
    assert bend(relu) > 1e-2


def test_training_is_gradient_flow_on_the_tangent_kernel():
    network, tau = ShrinkingResNet(tanh, erf, width=sp.oo), 0.8
    both = kernel_matrices(network, np.concatenate([X, NEW]))
    theta, k = both.ntk, both.nngp
    decay = expm(-tau * theta[:30, :30])
    A = theta[30:, :30] @ np.linalg.solve(theta[:30, :30], np.eye(30) - decay)
    mean, covariance = NTKRegressor(network, noise=0.0, training_time=tau).fit(X, Y).predict(NEW, return_cov=True)
    joint = np.column_stack([-A, np.eye(7)])
    assert np.allclose(mean, A @ Y, atol=1e-7)
    assert np.allclose(covariance, joint @ k @ joint.T, atol=1e-7)


@pytest.mark.slow
def test_training_ends_in_interpolation_and_begins_at_the_prior():
    network = ResNet(relu, width=sp.oo)
    late = NTKRegressor(network, noise=1e-8, training_time=1e12).fit(X, Y).predict(NEW, return_std=True)
    end = NTKRegressor(network, noise=1e-8).fit(X, Y)
    assert np.allclose(late, end.predict(NEW, return_std=True), atol=1e-5)
    assert np.allclose(end.predict(X), Y, atol=1e-5)
    assert np.allclose(end.predict(X, return_std=True)[1], 0, atol=1e-3)
    prior = kernel_matrices(network, NEW).nngp
    for time, error in ((0, 1e-12), (1e-9, 1e-6)):
        early = NTKRegressor(network, training_time=time).fit(X, Y).predict(NEW, return_cov=True)
        assert np.allclose(early[0], 0, atol=error)
        assert np.allclose(early[1], prior, atol=max(error, 1e-8))


def test_marginal_likelihood_is_the_gaussian_density():
    from scipy.stats import multivariate_normal

    model = NNGPRegressor(ResNet(relu, width=sp.oo), noise=0.1).fit(X, Y)
    k = kernel_matrices(ResNet(relu, width=sp.oo), X).nngp + 0.1 * np.eye(30)
    assert model.log_marginal_likelihood_ == pytest.approx(multivariate_normal(np.zeros(30), k).logpdf(Y))


def test_jitter_is_reported_and_never_silent():
    doubled = np.concatenate([X, X[:3]])
    labels = np.concatenate([Y, Y[:3]])
    with pytest.warns(JitterWarning, match="singular"):
        model = NNGPRegressor(ResNet(relu, width=sp.oo), noise=0.0).fit(doubled, labels)
    assert model.jitter_ > 0
    assert NNGPRegressor(ResNet(relu, width=sp.oo), noise=0.1).fit(X, Y).jitter_ == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_speaks_scikit_learn(model):
    from sklearn.base import clone, is_regressor
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = model(ResNet(relu, width=sp.oo), noise=0.1)
    assert is_regressor(estimator)
    assert clone(estimator).get_params() == estimator.get_params()
    pipeline = make_pipeline(StandardScaler(), estimator)
    scores = cross_val_score(pipeline, X, Y, cv=3)
    folds = [np.arange(30) // 10 == fold for fold in range(3)]
    for fold, score in zip(folds, scores, strict=True):
        left_out = Y[fold] - pipeline.fit(X[~fold], Y[~fold]).predict(X[fold])
        assert score == pytest.approx(1 - np.sum(left_out**2) / np.sum((Y[fold] - Y[fold].mean()) ** 2))
    mean, deviation = pipeline.fit(X, Y).predict(NEW, return_std=True)
    assert mean.shape == deviation.shape == (7,)
    search = GridSearchCV(estimator, {"t": [0.1, 1.0]}, cv=3).fit(X, Y)
    by_hand = {
        t: cross_val_score(model(ResNet(relu, width=sp.oo), t, noise=0.1), X, Y, cv=3).mean() for t in (0.1, 1.0)
    }
    assert search.best_params_["t"] == max(by_hand, key=by_hand.get)
    assert search.best_score_ == pytest.approx(max(by_hand.values()))
    again = pickle.loads(pickle.dumps(pipeline))
    assert np.array_equal(again.predict(NEW), mean)


def test_several_outputs_and_the_score():
    both = np.column_stack([Y, -2 * Y])
    model = NNGPRegressor(ResNet(relu, width=sp.oo), noise=0.1).fit(X, both)
    assert model.predict(NEW).shape == (7, 2)
    assert np.allclose(model.predict(NEW)[:, 1], -2 * model.predict(NEW)[:, 0])
    assert 0.5 < model.score(X, both) < 1


@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_bad_input_is_refused_in_scikit_learn_s_words(model):
    estimator = model(ResNet(relu, width=sp.oo))
    with pytest.raises(ValueError, match="not fitted"):
        estimator.predict(NEW)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator.fit(X, Y[:-1])
    with pytest.raises(ValueError, match="y contains NaN"):
        estimator.fit(X, np.full(30, np.nan))
    with pytest.raises(ValueError, match="Complex data not supported"):
        estimator.fit(X + 1j, Y)
    with pytest.raises(ValueError, match="expecting 4 features"):
        estimator.fit(X, Y).predict(NEW[:, :2])
    with pytest.raises(ValueError, match="Complex data not supported"):
        estimator.predict(NEW * 1j)
    with pytest.raises(ValueError, match="both requested"):
        estimator.predict(NEW, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        estimator.set_params(depth=3)
    for noise in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="noise"):
            model(ResNet(relu, width=sp.oo), noise=noise).fit(X, Y)
    with pytest.raises(ValueError, match="must be a recipe"):
        model("relu").fit(X, Y)
    with pytest.raises(ValueError, match="training_time"):
        NTKRegressor(ResNet(relu, width=sp.oo), training_time=-1.0).fit(X, Y)
    with pytest.raises(ValueError, match="all but m in one axis"):
        model(ConvResNet(tanh, erf, width=sp.oo, positions=(3,), filter=(1,))).fit(X, Y)


INSIDE = {
    "homogeneous": ResNet(relu, width=sp.oo),
    "pairs": ShrinkingResNet(tanh, erf, width=sp.oo, bias_variance=BIASED["bias_variance"]),
    "linear": ShrinkingResNet(tanh, identity, width=sp.oo),
    "grid": ConvResNet(tanh, erf, width=sp.oo),
    "closed means": ResNet(erf, width=sp.oo),
    "waves": ResNet(sine, width=sp.oo),
    "a kink inside": ShrinkingResNet(tanh, relu, width=sp.oo, bias_variance=BIASED["bias_variance"]),
}
BOTH = ("homogeneous", "pairs", "linear", "closed means", "waves", "a kink inside")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name", "options"),
    [
        *((model, name, {}) for model in (NNGPRegressor, NTKRegressor) for name in BOTH),
        *((NTKRegressor, name, {"training_time": 10.0}) for name in ("homogeneous", "pairs", "linear")),
        (NNGPRegressor, "grid", {}),
        (NNGPRegressor, "homogeneous", {"noise": 0.1, "t": 0.0}),
    ],
)
def test_scikit_learn_s_own_checks(model, name, options):
    from sklearn.utils.estimator_checks import check_estimator

    # the checks fit some eighty times: a tenth of the depth takes a tenth of the steps, and asks for the same conventions
    estimator = model(INSIDE[name], **{"t": 0.1} | options)
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert {r["check_name"]: r["exception"] for r in results if r["status"] not in ("passed", "skipped")} == {}
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}


@pytest.mark.slow
def test_scikit_learn_s_own_checks_of_a_network_with_a_norm_fail_at_an_input_of_norm_0_only():
    from sklearn.utils.estimator_checks import check_estimator

    results = check_estimator(NNGPRegressor(MLPBlock(silu, width=sp.oo, norm="rms"), t=0.1), on_skip=None, on_fail=None)
    failed = {r["check_name"]: str(r["exception"]) for r in results if r["status"] not in ("passed", "skipped")}
    assert list(failed) == ["check_estimators_dtypes"]  # which rounds inputs to whole numbers, some of them to 0
    assert "has norm 0, and this network divides by the norm of an input" in failed["check_estimators_dtypes"]


@pytest.mark.parametrize(
    "activation",
    [elu(1), *(pytest.param(a, marks=pytest.mark.slow) for a in (softplus, parse_activation("mish"), silu))],
)
def test_inputs_that_are_nearly_the_same_at_a_large_scale(activation):
    inputs = np.random.default_rng(5).normal(loc=100, size=(12, 3))  # as scikit-learn's checks have them
    labels, new = inputs[:, 0], inputs[:4] + 0.1
    smooth, kinked = (
        NNGPRegressor(ResNet(a, width=sp.oo), noise=1e-3).fit(inputs, labels).predict(new) for a in (activation, relu)
    )
    assert np.abs(smooth - new[:, 0]).max() < 0.05
    assert np.abs(smooth - kinked).max() < 0.02  # at this scale each is a ramp
    assert np.abs(smooth - kinked).max() > 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_labels_in_a_column_and_constant_labels_have_a_score(model):
    estimator = model(ResNet(relu, width=sp.oo), noise=0.1)
    column = estimator.fit(X, Y[:, None])
    assert column.predict(NEW).shape == (7, 1)
    score = column.score(X, Y)  # labels of the other shape: the residuals are not a table of 30 by 30
    assert score == pytest.approx(estimator.fit(X, Y).score(X, Y[:, None]))
    assert 0.5 < score < 1
    assert estimator.fit(X, np.ones(30)).score(X, np.ones(30)) == 0.0  # scikit-learn's value where the spread is 0


@pytest.mark.slow
@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_inputs_are_copied(model):
    for given in (X.copy(), np.asfortranarray(X)):
        labels = Y.copy()
        estimator = model(ResNet(relu, width=sp.oo), noise=0.1).fit(given, labels)
        mean, covariance = estimator.predict(NEW, return_cov=True)
        given[:], labels[:] = 0.0, 7.0
        again = estimator.predict(NEW, return_cov=True)
        assert np.array_equal(again[0], mean)
        assert np.array_equal(again[1], covariance)


@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_columns_have_names_and_an_order(model):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["height", "width", "depth", "time"])
    estimator = model(ResNet(relu, width=sp.oo), noise=0.1).fit(frame, Y)
    assert list(estimator.feature_names_in_) == list(frame.columns)
    assert np.array_equal(estimator.predict(frame), model(ResNet(relu, width=sp.oo), noise=0.1).fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(frame[["width", "height", "depth", "time"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.predict(X)


@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_requests_are_routed_and_shown(model):
    from sklearn import config_context
    from sklearn.utils.metadata_routing import get_routing_for_object

    with config_context(enable_metadata_routing=True):
        estimator = model(ResNet(relu, width=sp.oo)).set_predict_request(return_std=True)
        estimator.set_score_request(sample_weight=True)
        requests = get_routing_for_object(estimator)
        assert requests.consumes("predict", ["return_std", "return_cov"]) == {"return_std"}
        assert requests.consumes("score", ["sample_weight"]) == {"sample_weight"}
    assert model.__name__ in estimator._repr_html_()
    assert repr(estimator).startswith(f"{model.__name__}(architecture=ResNet(")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["homogeneous", "pairs", "linear"])
@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_an_input_of_norm_0_is_the_limit_of_small_ones(name, model):
    rows = np.vstack([X, np.zeros(4)])
    labels = np.append(Y, 0.3)

    def at(size):
        rows[-1] = size * NEW[0]
        return model(INSIDE[name], noise=0.1).fit(rows, labels).predict(np.vstack([NEW, 0 * NEW[:1]]), return_std=True)

    exact, near, nearer = (np.array(at(size)) for size in (0.0, 1e-3, 1e-5))
    assert np.all(np.isfinite(exact))
    assert np.abs(near - exact).max() < 1e-3
    # the first order is linear in the size, so that a hundredth of it leaves a hundredth
    assert np.abs(nearer - exact).max() < 0.02 * np.abs(near - exact).max() + 1e-8


def test_one_sample_has_the_conjugate_posterior():
    for model in (NNGPRegressor, NTKRegressor):
        mean, deviation = (
            model(ResNet(identity, width=sp.oo), noise=0.5).fit([[2.0]], [3.0]).predict([[2.0]], return_std=True)
        )
        k = 4 * np.e  # X² e^t at t = 1, and Θ = (1 + t) K
        gain = k / (k + 0.5) if model is NNGPRegressor else 2 * k / (2 * k + 0.5)
        assert mean[0] == pytest.approx(3 * gain)
        assert deviation[0] ** 2 == pytest.approx(k * (1 - gain) if model is NNGPRegressor else k * (1 - gain) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_several_outputs_have_deviations_and_covariances_each(model):
    both = model(ResNet(relu, width=sp.oo), noise=0.1).fit(X, np.column_stack([Y, -2 * Y]))
    alone = model(ResNet(relu, width=sp.oo), noise=0.1).fit(X, Y)
    deviations, covariances = (both.predict(NEW, **{f"return_{what}": True})[1] for what in ("std", "cov"))
    assert deviations.shape == (7, 2)
    assert covariances.shape == (7, 7, 2)
    for output in range(2):
        assert np.array_equal(deviations[:, output], alone.predict(NEW, return_std=True)[1])
        assert np.array_equal(covariances[..., output], alone.predict(NEW, return_cov=True)[1])


def test_images_may_come_one_a_row():
    images = np.random.default_rng(5).normal(size=(8, 2, 3))
    network = ConvResNet(tanh, relu, width=sp.oo, positions=(3,), filter=(3,), bias_variance=BIASED["bias_variance"])
    as_grid = NNGPRegressor(network, noise=0.1).fit(images[:6], Y[:6])
    as_rows = NNGPRegressor(network, noise=0.1).fit(images[:6].reshape(6, -1), Y[:6])
    assert np.array_equal(as_grid.predict(images[6:]), as_rows.predict(images[6:].reshape(2, -1)))
    with pytest.raises(ValueError, match="expecting 2 features"):
        as_grid.predict(images[6:].reshape(2, -1))


def test_without_scikit_learn_the_estimators_say_what_to_install(monkeypatch):
    for module in ("sklearn", "sklearn.base"):
        monkeypatch.setitem(sys.modules, module, None)
    spec = importlib.util.find_spec("numerics.regression.base")
    alone = importlib.util.module_from_spec(spec)  # the file run anew, beside the module that others have
    spec.loader.exec_module(alone)
    with pytest.raises(ImportError, match=r'needs scikit-learn; pip install "deeplimits\[sklearn\]"'):
        alone.KernelRegressor(ResNet(relu, width=sp.oo))


def test_labels_have_squares_in_doubles():
    x = np.array([[1.0, 0.2], [-0.3, 0.8]])
    model = NNGPRegressor(ResNet(relu, width=sp.oo), t=0.1)
    small = model.fit(x, np.array([1.0, -1.0])).predict(x)
    large = model.fit(x, np.array([1e149, -1e149])).predict(x)
    assert large == pytest.approx(1e149 * small, rel=1e-9)
    with pytest.raises(ValueError, match=r"labels of at most 1e\+150, whose squares a double holds, got 1e\+151"):
        model.fit(x, np.array([1e151, -1e151]))
