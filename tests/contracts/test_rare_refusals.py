"""Refusals of public calls of which a run that marked every `raise` showed that no test reached them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    Activation,
    Diffusion,
    Flow,
    MLPBlock,
    Network,
    Normal,
    Regime,
    ResNet,
    ShrinkingResNet,
    Weights,
    as_activation,
    average,
    derive,
    epsilon,
    jacobian,
    normalised_sum,
    parse_activation,
    recognise,
    relu,
    symbols,
    tanh,
    training_limit,
    width_limit,
)
from derivations.gaussian.hermite import hermite_pair
from numerics import (
    ExplosionWarning,
    choose,
    compile_law,
    expect_sde,
    kernel_matrix,
    output_law,
    simulate_network,
    simulate_sde,
    solve_fokker_planck,
    validate,
)
from numerics.ensembles import Histogram, Quantiles
from numerics.schemes import find_scheme
from tests.command_line import complaint
from tests.refused import assert_refused, refusals

x, n, t = symbols.state, symbols.width, symbols.time
A, B = Weights("A"), Weights("B")
one, wide = ResNet(relu, width=1), ResNet(relu, width=sp.oo)
both = Regime({epsilon: sp.S.Half}, 1)
unit = Diffusion((x,), [sp.S.Half - x], [[x * (1 - x)]], domain=sp.Interval(0, 1))
positive = Diffusion((x,), [x], [[x**2]], domain=sp.Interval.open(0, sp.oo))
d = sp.Symbol("d", positive=True)
deep = x
for _ in range(100):
    deep = sp.sin(deep)

REFUSED = {
    "a variable as text": (lambda: Activation("f", x**2, "y"), "the variable of an activation must be a symbol"),
    "a formula 100 deep": (lambda: as_activation(deep), "nested more than 80 levels deep"),
    "parameters as a number": (
        lambda: Network(x + epsilon * A(x), width=2, parameters=3),
        "a sequence of symbols, got 3",
    ),
    "a domain as a number": (lambda: Diffusion((x,), [0], [[1]], domain=3), "the domain of a diffusion must be a set"),
    "a Hermite series of order -1": (lambda: hermite_pair(x, x, x, -1), "must be nonnegative"),
    "a variance that is not integrable": (
        lambda: compile_law(derive(ResNet(relu, width=1, weight_variance=1 / t)).law, x0=1.0, t=1.0),
        "not integrable from 0",
    ),
    "a Gaussian start outside": (
        lambda: compile_law(recognise(positive), x0=Normal(0, 1), t=1.0),
        "only with probability 0.5",
    ),
    "a reduction that is none": (
        lambda: simulate_network(one, 2, 2, x0=1.0, reduce=3),
        "expected reductions such as Moments",
    ),
    "edges that fall": (lambda: Histogram([2, 1]), "at least two increasing numbers"),
    "an accuracy as text": (lambda: Quantiles(accuracy="a"), "accuracy must lie between 1e-6 and 1"),
    "an accuracy of 2": (lambda: Quantiles(accuracy=2), "accuracy must lie between 1e-6 and 1"),
    "an error below 0": (
        lambda: expect_sde(derive(one).limit, lambda v: v[:, 0], 1.0, tol=-1.0),
        "tol must be a positive number",
    ),
    "channels in the middle": (
        lambda: kernel_matrix(wide, np.eye(2), channels="middle"),
        "unknown place of the channels",
    ),
    "an input of norm 0": (
        lambda: kernel_matrix(MLPBlock(relu, width=sp.oo, norm="rms", place="post"), [[0.0, 0.0], [1.0, 0.0]]),
        "an input of norm 0",
    ),
    "a kernel with a symbol": (
        lambda: kernel_matrix(ResNet(relu, width=sp.oo, weight_variance=d), np.eye(2)),
        "got the symbols d",
    ),
    "a step of a flow": (lambda: find_scheme("euler_maruyama").prepare(width_limit(wide)), "a Flow has no noise"),
    "a correlation that tends to 1": (
        lambda: choose(MLP(relu, width=4), symbols.depth, correlation=0.5),
        "tends to 1 where depth and width grow together",
    ),
    "a norm beside a mean": (
        lambda: choose(ShrinkingResNet(tanh, tanh, width=sp.oo, bias_mean=0.5, weight_variance=n), n, norm=2, t=1.0),
        "the limit is one of M, K, not of norms and correlations alone",
    ),
    "a flow that hardly moves": (lambda: validate(derive(wide), x0=1.0, t=1e-9), "nothing moves: the flow's solution"),
    "a start at an end": (lambda: solve_fokker_planck(unit, x0=1e-70), "come too close"),
    "probability that runs away": (
        lambda: solve_fokker_planck(Diffusion((x,), [x], [[1]]), x0=1.0, t=30.0),
        "spreads too far",
    ),
    "a flow without a velocity": (
        lambda: simulate_sde(Flow((x,), [sp.sqrt(x)]), x0=-1.0, steps=2, samples=2),
        "the flow has no velocity of x",
    ),
    "a flow that explodes": (
        lambda: simulate_sde(Flow((x,), [x**2]), x0=1.0, t=2.0, steps=2, samples=2),
        "could not be integrated up to t = 2",
    ),
    "machine code of a transpose": (
        lambda: simulate_network(Network(x + epsilon * A.T(relu(A(x))), width=3), 2, 2, x0=1.0, backend="numba"),
        "no jit kernel for layers with the transpose",
    ),
    "sums over neurons of two rates": (
        lambda: derive(Network(x + epsilon * A(relu(x)) * normalised_sum(x), width=n, regime=both)),
        "got a normalised sum over neurons",
    ),
    "orders of unknown sign": (
        lambda: derive(
            Network(x + epsilon * A(relu(x - average(relu(x)))), width=n, regime=Regime({epsilon: sp.S.Half}, d))
        ),
        "whose sign is not known",
    ),
    "a layer with a flat size": (
        lambda: derive(Network(x + A(relu(x * sp.exp(-1 / epsilon))), width=2)),
        "is not smooth at ε = 0",
    ),
    "a layer with the root of a size": (
        lambda: derive(Network(x + sp.sqrt(epsilon + epsilon**2) * A(relu(x)), width=2)),
        "not twice differentiable in ε",
    ),
    "a product of ten averages": (
        lambda: derive(Network(x + epsilon * A(x) * average(A(x) ** 2) ** 5, width=n)),
        "a product of 10 averages",
    ),
    "a matrix and its transpose": (
        lambda: jacobian(Network(x + epsilon * A(x) * A.T(x), width=2)).inverse,
        "known for independent ones only",
    ),
    "training of a matrix applied twice": (
        lambda: training_limit(Network(x + epsilon * A(tanh(x)) * A(sp.sin(x)), width=sp.oo)),
        "applied several times",
    ),
}


@refusals(REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message):
    assert_refused(call, message)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["derive", "shaped-attention", "--positions", "2", "--activation", "relu"],
            "has no activation; leave --activation",
        ),
        (
            ["derive", "attention-block", "--positions", "2", "--heads", "two"],
            "heads must be a whole number, got 'two'",
        ),
        (["report", "--x0", "1e308"], "x0 must be 0 or of a size from 1e-75 to 1e75"),
        (["report", "--t", "1e30"], "t must be a number above 0, at most 10^9"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_the_command_refuses_too(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in complaint(capsys, *arguments)


def test_norms_that_leave_the_numbers_are_counted():
    with (
        pytest.warns(ExplosionWarning, match="50 of 50 paths exploded"),
        pytest.raises(ValueError, match="50 of 50 simulated norms left the range of numbers: the limit explodes, or"),
    ):
        output_law(derive(ResNet(parse_activation("x**3"), width=2)), x0=10.0, t=5.0, samples=50, steps=10)


def test_labels_that_are_none(capsys, tmp_path):
    (tmp_path / "labels.csv").write_text("1,2,0.5\n3,4,-1\n")
    assert "a whole number from 0 to 9999" in complaint(capsys, "train", "--data", str(tmp_path / "labels.csv"))
