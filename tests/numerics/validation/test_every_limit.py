"""Every kind of limit is validated, and a wrong one is caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    AttentionBlock,
    ConvResNet,
    Network,
    PreNormResNet,
    ResNet,
    ShapedMLP,
    Weights,
    average,
    derive,
    epsilon,
    layer_norm,
    relu,
    rms_norm,
    tanh,
)
from numerics import compare, simulate_network, simulate_sde, solve_flow, validate
from numerics.validation import Validation
from numerics.validation.base import QUICK_SCALE, negative_control
from numerics.validation.equation import equation_of_networks
from numerics.validation.settings import settings_of, start_gram

A, B = Weights("A"), Weights("B")
TWO = lambda x: x + epsilon * A(relu(B(x)))  # noqa: E731
POST = lambda x: rms_norm(x + epsilon * A(relu(B(x))))  # noqa: E731
SHAPED = ShapedMLP(relu, c_plus=0, c_minus=-1)


def subjects(d, x0=1.0, t=0.25, samples=None):
    return settings_of(d, x0, t, samples, None, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "t", "quick"),
    [  # each kind of check once with controls of 5 %, the others with those of 15 %, which a ninth of the samples see
        (Network(TWO, width=3), 1.0, False),
        (Network(TWO, width=4, inputs=2), 0.5, False),
        (Network(lambda x: x + epsilon * A(relu(B(layer_norm(x)))), width=4), 0.5, True),
        (Network(lambda x: x + epsilon * (A(relu(x)) - average(A(relu(x)))), width=3), 0.5, True),
        (Network(lambda x: x + epsilon * A(relu(B(x - average(x)))), width=5), 0.5, True),
        (ResNet(relu, width=sp.oo, inputs=2), 1.0, False),
        (Network(TWO, width=sp.oo), 1.0, True),
        (ConvResNet(tanh, relu, width=sp.oo, positions=(2,), filter=(1,)), 1.0, True),
        (PreNormResNet(relu), 1.0, True),
        (ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1), 1.0, False),
        (MLP(relu, inputs=2), 1.0, True),
    ],
    ids=str,
)
def test_validate_takes_every_limit(network, t, quick):
    outcome = validate(derive(network), t=t, seed=1, quick=quick)
    assert outcome, f"\n{outcome}"
    assert all(row.control_rejected for row in outcome.rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        Network(TWO, width=3),
        pytest.param(ResNet(relu, width=sp.oo), marks=pytest.mark.slow),
        pytest.param(SHAPED, marks=pytest.mark.slow),
        Network(lambda x: x + epsilon**2 * sp.tanh(x), width=1),
    ],
    ids=["Gram matrix", "flow of infinite width", "depth and width together", "flow of one neuron"],
)
def test_a_wrong_limit_is_caught(network):
    (*_, s) = subjects(derive(network))
    s = replace(s, limit=negative_control(s.limit), law=None)
    assert "differs" in Validation(tuple(equation_of_networks(s, 3))).verdicts


@pytest.mark.slow
def test_what_of_a_derivation_is_validated():
    kinds = [
        [type(s).__name__ for s in subjects(derive(network))]
        for network in (
            ResNet(relu, width=3),
            Network(TWO, width=3),
            Network(TWO, width=1),
            Network(POST, width=3),
            SHAPED,
        )
    ]
    assert kinds == [["Setting"], ["Setting", "GramSetting"], ["Setting"], ["Setting"], ["JointSetting"]]


@pytest.mark.slow
def test_a_norm_at_the_end_starts_on_its_sphere():
    (gram,) = subjects(derive(Network(POST, width=4, inputs=2)), x0=3.0)
    assert np.mean(gram.start**2, axis=0) == pytest.approx(np.ones(2))
    assert gram.origin.shape == (1, 1)
    assert abs(gram.origin[0, 0]) < 1


def test_neurons_that_start_alike_where_only_what_they_differ_by_moves_start_apart():
    centring = derive(Network(lambda x: x + epsilon * A(relu(B(x - average(x)))), width=5))
    neurons, gram = subjects(centring)
    assert np.ptp(neurons.start) > 1
    assert gram.origin[0, 0] == pytest.approx(np.var(neurons.start))
    (alike, _) = subjects(derive(Network(TWO, width=5)))
    assert np.ptp(alike.start) == 0


def test_a_limit_without_states_has_nothing_to_compare():
    with pytest.raises(ValueError, match="nothing moves: every layer fixes the norm"):
        validate(derive(Network(POST, width=sp.oo)))


def test_starts_of_gram_matrices():
    assert start_gram(2.0, 2) == pytest.approx(np.array([[4.0, 1.2], [1.2, 4.0]]))
    with pytest.raises(ValueError, match=r"positive semi-definite of shape \(2, 2\)"):
        start_gram([[1.0, 2.0], [2.0, 1.0]], 2)
    with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
        start_gram(np.eye(2), 3)


# --- paths of Gram matrices at finite width ---


@pytest.mark.slow
def test_gram_matrices_of_neurons_and_of_the_derived_diffusion_have_the_same_law():
    # nearly parallel inputs: plain Euler-Maruyama steps leave the cone
    d = derive(Network(TWO, width=3, inputs=2))
    start = np.array([[1.0, 0.9], [-0.5, -0.6], [0.7, 0.7]])
    gram = (start.T @ start / 3)[np.triu_indices(2)]
    x = simulate_sde(d.limit, x0=start.ravel(), t=0.5, steps=40, samples=8000, seed=1).reshape(-1, 3, 2)
    neurons = (np.einsum("nia,nib->nab", x, x) / 3)[:, *np.triu_indices(2)]
    matrices = simulate_sde(d.gram, x0=gram, t=0.5, steps=40, samples=8000, seed=2)
    wrong = simulate_sde(negative_control(d.gram), x0=gram, t=0.5, steps=40, samples=8000, seed=2)
    assert np.all(matrices[:, 0] * matrices[:, 2] >= matrices[:, 1] ** 2)
    logs = [np.log(v[:, 0]) for v in (neurons, matrices, wrong)]
    errors = np.hypot(*(v.std() / np.sqrt(8000) for v in logs[:2]))
    assert abs(logs[0].mean() - logs[1].mean()) < 4 * errors
    spreads = [np.var(v) for v in logs]
    noise = spreads[0] * np.sqrt(2 * 2 / 8000)
    assert abs(spreads[0] - spreads[1]) < 4 * noise
    assert abs(spreads[0] - spreads[2]) > 2 * noise


def test_a_flow_that_starts_outside_its_domain_is_refused():
    flow = derive(ResNet(relu, width=sp.oo, inputs=2)).limit
    for solve in (lambda start: simulate_sde(flow, x0=start), lambda start: solve_flow(flow, start)):
        for start in ([0.3, 0.6, 0.9], [-0.1, 0.0, 0.9]):
            with pytest.raises(
                ValueError,
                match=r"holds no second moments: what should be a covariance matrix has the eigenvalue -0\.\d",
            ):
                solve(start)
        solve([0.4, 0.6, 0.9])  # parallel


@pytest.mark.slow
def test_two_centred_neurons_degrees_of_freedom_stay_on_the_cone():
    # three neurons, centred, two inputs: b - mG vanishes, and rounding puts norms at 0
    d = derive(Network(lambda x: x + epsilon * A(relu(B(layer_norm(x)))), width=3, inputs=2))
    x = simulate_sde(d.gram, x0=[0.3, 0.1, 0.4], t=0.25, steps=32, samples=20_000, seed=1)
    assert np.isfinite(x).all()
    assert x[:, 0].mean() == pytest.approx(0.3 + 0.25 * 2 / 3 / 2, abs=5 * x[:, 0].std() / np.sqrt(20_000))


@pytest.mark.parametrize(
    ("said", "positions"),
    [
        ("rms_norm(x + eps*A(sin(x) - average(sin(x))))", ()),
        ("rms_norm(x + eps*A(over_positions(causal*other(relu(B(x, out=1))))))", 2),
    ],
    ids=["the norm stays", "positions meet behind a norm"],
)
def test_layers_that_fix_their_norm(said, positions):
    """Of the norm nothing is compared: steps of paths move it, and those of networks by rounding."""
    outcome = validate(derive(Network(said, width=3, positions=positions)), quick=True, seed=1)
    assert outcome, f"\n{outcome}"
    assert all(row.control_rejected for row in outcome.rows)
    assert not [row for row in outcome.rows if "norm" in row.claim]


@pytest.mark.slow
def test_a_limit_that_few_layers_miss_is_compared_with_deeper_networks():
    """The mean log-norm is 1.23 at depth 16, .82 at 32, .26 at 64, and -.6 in the limit; with 5 % more noise it is caught at every depth."""
    said = "x + eps*A(over_positions(abs(B(x, out=1, variance=2) + other(C(x, out=1))))) + eps*D(x)"
    derivation = derive(Network(said, width=2, positions=2))
    outcome = validate(derivation, quick=True, seed=0)
    assert outcome, f"\n{outcome}"
    for s in subjects(derivation):
        s = replace(s, limit=negative_control(s.limit, QUICK_SCALE), scale=QUICK_SCALE)
        assert "differs" in Validation(tuple(equation_of_networks(s, 3))).verdicts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "width", "inputs"),
    [
        ("rms_norm(x + eps*A(relu(B(x))))", 2, 3),
        ("layer_norm(x + eps*A(tanh(x)))", 3, 1),
    ],
)
def test_networks_on_a_sphere_are_compared(said, width, inputs):
    """With more inputs than the Gram matrix has ranks, and of neurons where it does not close."""
    outcome = validate(derive(Network(said, width=width, inputs=inputs)), quick=True, seed=0)
    assert outcome, f"\n{outcome}"
    assert all(row.control_rejected for row in outcome.rows)


def test_schemes_for_gram_matrices_refuse_others():
    with pytest.raises(ValueError, match="Gram matrices of a finite number of neurons"):
        simulate_sde(derive(ResNet(relu, width=2)).limit, x0=1.0, scheme="gram_euler")


# --- samples of somebody's own networks ---


def own_networks(samples: int, depth: int, branch: float, rng: np.random.Generator) -> np.ndarray:
    """Two matrices of width 3 from x = 1, written out with NumPy."""
    x = np.ones((samples, 3, 1))
    for _ in range(depth):
        inner, outer = (rng.standard_normal((samples, 3, 3)) / np.sqrt(3) for _ in range(2))
        x = x + branch / np.sqrt(depth) * outer @ np.maximum(inner @ x, 0)
    return x


@pytest.mark.slow
def test_own_networks_differ_from_those_of_another_branch():
    d = derive(Network(TWO, width=3))
    right, wrong = (own_networks(20_000, 48, branch, np.random.default_rng(4)) for branch in (1.0, 1.1))
    outcome = compare(d, right, depth=48)
    assert outcome, f"\n{outcome}"
    assert set(compare(d, wrong[:, :, 0], depth=48).verdicts) == {"differs"}


@pytest.mark.slow
def test_own_wide_networks_against_the_flow():
    d = derive(ResNet(relu, width=sp.oo))
    x = simulate_network(ResNet(relu, width=100), 100, 8000, inputs=[[1.0]], seed=1)
    assert compare(d, x)
    assert compare(d, x, depth=100)
    assert "differs" in compare(d, 1.05 * x).verdicts
    assert "give depth" in compare(d, x).title


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.ones((5, 4)), r"shape \(samples, 3, 1\)"),
        ("text", "array of numbers"),
        (np.full((5, 3), np.nan), "5 samples are nan"),
        (np.ones((1, 3)), "1 sample is too few.*below 56"),
        (np.ones((55, 3)), "55 samples are too few"),
        (np.ones((90, 3)) * 1j, "must be real numbers"),
    ],
    ids=["width", "text", "nan", "one", "few", "complex"],
)
def test_samples_that_do_not_fit_are_refused(samples, says):
    with pytest.raises(ValueError, match=says):
        compare(derive(ResNet(relu, width=3)), samples)


def test_few_samples_are_refused_where_their_own_error_misleads():
    """Right samples, one below and at the least number: Hotelling's mean is more than a tenth above that of χ² below it."""
    numbers, least = 4, 56
    inflated = [(count - 1) / (count - numbers - 2) for count in (least - 1, least)]
    assert inflated[0] > 1.1 >= inflated[1]
    x = np.random.default_rng(0).normal(size=(4000, least, numbers))
    means, errors = x.mean(axis=1), np.array([np.cov(one.T) / least for one in x])
    chi = np.einsum("sp,spq,sq->s", means, np.linalg.inv(errors), means)
    assert abs(chi.mean() - numbers * inflated[1]) < 4 * chi.std() / np.sqrt(len(chi))


def test_several_states_start_where_the_networks_did():
    """One number is no start of two inputs: networks from equal states were said to differ from a limit from others."""
    net = ResNet(relu, width=2, inputs=2)
    start, d = np.array([[1.0, -0.4], [0.5, 1.2]]), derive(net)
    x = simulate_network(net, 64, 400, x0=start, seed=2)
    with pytest.raises(ValueError, match=r"2 states, which start from places of their own.*shape \(n, 2\)"):
        compare(d, x)
    with pytest.raises(ValueError, match=r"shape \(2, 2\), their second moments"):
        compare(derive(ResNet(relu, width=sp.oo, inputs=2)), x)
    assert min(row.test.p_value for row in compare(d, x, start, depth=64).rows) > 1e-3
    assert min(row.test.p_value for row in compare(d, x, -start, depth=64).rows) < 1e-9


@pytest.mark.slow
def test_means_over_a_softmax_are_checked_by_one_layer():
    net = AttentionBlock(width=2, positions=2, size=2)
    outcome = validate(d := derive(net), quick=True)
    assert outcome, f"\n{outcome}"
    assert "are not drawn" in outcome.title
    assert all("one layer" in row.claim or "the first and the last" in row.claim for row in outcome.rows)
    with pytest.raises(ValueError, match="paths of this limit take too long"):
        compare(d, np.ones((60, 2, 2)) + np.random.default_rng(0).normal(size=(60, 2, 2)), np.eye(2))


def test_samples_that_collapse_are_refused():
    with pytest.raises(ValueError, match="run validate"):
        compare(derive(MLP(relu, inputs=2)), np.ones((5, 8, 2)))
    with pytest.raises(ValueError, match="t must be"):
        compare(derive(ResNet(relu, width=3)), np.ones((5, 3)), t=-1.0)


def test_a_tied_small_parameter_is_free_again_at_infinite_width():
    # ε = n^(-1/2) is not 0 at n = oo: the depth grows after the width, as for the same layer without rates
    tied, free = (
        PreNormResNet(relu, width=sp.oo, inputs=2),
        Network(lambda x: x + epsilon * A(relu(rms_norm(x))), width=sp.oo, inputs=2),
    )
    drifts = [derive(net, order="width").limit.drift for net in (tied, free)]
    assert drifts[0][0] == sp.Rational(1, 2)
    assert drifts[0] == drifts[1]
