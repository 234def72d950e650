"""Linear layers: the solution satisfies the equations of kernels and responses, written out as matrices; its limits; what is refused."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, ResNet, Weights, epsilon, tanh
from numerics import kernel_matrix, solve_training

INPUTS = np.random.default_rng(1).standard_normal((3, 4))
TARGETS = np.array([1.0, -1.0, 0.5])
LINEAR = Network(lambda x: x / 2 + epsilon * Weights("W", variance=2)(3 * x / 4), width=sp.oo)
RESIDUAL = Network(lambda x: x + epsilon * Weights("W")(x), width=sp.oo)


def solved_by_responses(keep, slope, body, variance, gram, targets, depth, rate, steps, richness, learned=1.0):
    """x' = keep x + slope u, u = W (body x): outputs and the kernels of what W reads, by iterating the equations of kernels and responses."""
    m, size = len(gram), steps * len(gram)
    earlier = np.kron(np.tri(steps, k=-1), np.ones((m, m)))
    x, g = ((depth + 1) * size * k + np.arange((depth + 1) * size).reshape(depth + 1, size) for k in (0, 1))
    start = np.kron(np.ones((steps, steps)), gram)
    phi, grad, outputs = np.zeros((depth, size, size)), np.zeros((depth, size, size)), np.zeros(size)
    forward, backward = np.zeros_like(phi), np.zeros_like(phi)  # responses
    last = np.zeros((2, size, size))
    for _ in range(2 * steps + 2):  # each step needs earlier ones only
        error = rate * richness * (np.tile(targets, steps) - outputs) / m
        transfer = np.zeros((2 * x.size, 2 * x.size))
        noise = np.zeros_like(transfer)
        transfer[np.ix_(x[0], g[0])] = earlier * start * error
        transfer[np.ix_(g[depth], x[depth])] = earlier * error
        noise[np.ix_(x[0], x[0])], noise[np.ix_(g[depth], g[depth])] = start, 1.0
        for k in range(depth):
            answer = forward[k] + learned * variance * earlier * phi[k] * error
            transfer[np.ix_(x[k + 1], x[k])] = keep * np.eye(size)
            transfer[np.ix_(x[k + 1], g[k + 1])] = slope * answer * slope
            noise[np.ix_(x[k + 1], x[k + 1])] = slope**2 * variance * phi[k]
            answer = backward[k] + learned * variance * earlier * grad[k] * error
            transfer[np.ix_(g[k], g[k + 1])] = keep * np.eye(size)
            transfer[np.ix_(g[k], x[k])] = body * answer * body
            noise[np.ix_(g[k], g[k])] = body**2 * variance * grad[k]
        inverse = np.linalg.inv(np.eye(len(transfer)) - transfer)
        covariance = inverse @ noise @ inverse.T
        for k in range(depth):
            phi[k] = body**2 * covariance[np.ix_(x[k], x[k])]
            grad[k] = slope**2 * covariance[np.ix_(g[k + 1], g[k + 1])]
            forward[k] = variance * body * inverse[np.ix_(x[k], g[k])] * body
            backward[k] = variance * slope * inverse[np.ix_(g[k + 1], x[k + 1])] * slope
        outputs = np.diag(covariance[np.ix_(g[depth], x[depth])]) / richness
        previous, last = last, np.stack([phi[-1], grad[0]])
    assert abs(previous - last).max() < 1e-9 * abs(last).max()
    return outputs.reshape(steps, m), phi, grad


@pytest.mark.parametrize(
    ("net", "numbers"), [(LINEAR, (0.5, 0.75, 2.0)), (RESIDUAL, (1.0, 1.0, 1.0))], ids=["half", "residual"]
)
def test_the_solution_satisfies_the_equations_of_kernels_and_responses(net, numbers):
    depth, rate, steps, richness = 2, 0.2, 4, 1.3
    found = solve_training(net, INPUTS, TARGETS, depth, rate, steps, richness)
    keep, body, variance = numbers
    given = (keep, depth**-0.5, body, variance, INPUTS @ INPUTS.T / 4, TARGETS, depth, rate, steps + 1, richness)
    outputs, phi, grad = solved_by_responses(*given)
    assert outputs == pytest.approx(found.outputs, abs=1e-9)
    for k in range(depth):
        shape = (len(phi[k]), -1)
        assert phi[k] == pytest.approx(found.kernel("W", k + 1).reshape(shape), abs=1e-8)
        assert grad[k] == pytest.approx(found.kernel("W", k + 1, "gradient").reshape(shape), abs=1e-8)
    wrong, _, _ = solved_by_responses(*given, learned=1.05)
    assert abs(wrong - found.outputs).max() > 1e-3
    assert (found.error == 0).all()


@pytest.mark.slow
def test_the_lazy_limit_is_training_in_the_tangent_kernel():
    lazy = solve_training(RESIDUAL, INPUTS, TARGETS, depth=16, learning_rate=0.5, steps=12, richness=0)
    deeper = solve_training(RESIDUAL, INPUTS, TARGETS, depth=16, learning_rate=0.5, steps=1, richness=0, limits="depth")
    kernel = kernel_matrix(RESIDUAL, INPUTS, t=1.0, kind="ntk") + kernel_matrix(RESIDUAL, INPUTS, t=1.0)
    assert deeper.outputs[1] * 3 / 0.5 == pytest.approx(kernel @ TARGETS, rel=2e-3)
    rich, poor = (
        solve_training(RESIDUAL, INPUTS, TARGETS, depth=16, learning_rate=0.5, steps=12, richness=r).outputs
        - lazy.outputs
        for r in (0.1, 0.05)
    )
    assert abs(rich - 4 * poor).max() < 0.05 * abs(rich).max()  # in proportion to the square
    assert abs(rich).max() > 1e-4


@pytest.mark.slow
def test_gradient_flow_and_depth_are_approached():
    runs = [solve_training(RESIDUAL, INPUTS, TARGETS, 4 * 2**k, 0.2, 5, limits="depth") for k in range(3)]
    errors = [abs(run.outputs - runs[-1].outputs).max() for run in runs[:2]]
    assert all((abs(run.outputs - runs[-1].outputs) <= run.error).all() for run in runs[:2])
    assert errors[1] < 0.5 * errors[0]
    flow, fine = (
        solve_training(RESIDUAL, INPUTS, TARGETS, 3, 0.4, 4, limits=("flow",)),
        solve_training(RESIDUAL, INPUTS, TARGETS, 3, 0.02, 80),
    )
    coarse = solve_training(RESIDUAL, INPUTS, TARGETS, 3, 0.4, 4)
    away = abs(flow.outputs - fine.outputs[::20]).max()
    assert away < 0.3 * abs(coarse.outputs - fine.outputs[::20]).max()
    assert away < flow.error.max()


def test_inputs_that_are_only_followed():
    """They change nothing, and two linear matrices are followed exactly too."""
    net = Network(
        lambda x: x + epsilon * Weights("A")(Weights("B", out=2 * sp.Symbol("n", integer=True, positive=True))(x)),
        width=sp.oo,
    )
    alone = solve_training(net, INPUTS[:2], TARGETS[:2], 2, 0.2, 5)
    followed = solve_training(net, INPUTS, [*TARGETS[:2], np.nan], 2, 0.2, 5)
    assert followed.outputs[:, :2] == pytest.approx(alone.outputs, abs=1e-12)
    assert followed.losses == pytest.approx(alone.losses, abs=1e-12)
    assert abs(followed.outputs[-1, 2]) > 1e-3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"depth": 0}, "depth must be a whole number"),
        ({"steps": 2.0}, "steps must be a whole number"),
        ({"learning_rate": -1}, "learning_rate must be a positive number"),
        ({"richness": np.nan}, "richness must be a number ≥ 0"),
        ({"t": "1"}, "t must be a finite number"),
        ({"limits": "width"}, "unknown limit 'width'"),
        ({"neurons": 1}, "neurons must be"),
        ({"repeats": 1}, "repeats must be"),
        ({"seed": -1}, "seed must be"),
        ({"inputs": INPUTS[0]}, "inputs must have shape"),
        ({"inputs": [[np.inf] * 4] * 3}, "inputs must be finite"),
        ({"targets": [1.0]}, "a number for each of the 3 inputs"),
        ({"targets": [np.nan] * 3}, "a number for each"),
        ({"targets": [[1.0, 2.0]] * 3}, "derived for one output, and targets have 2"),
        ({"learning_rate": 1e3, "steps": 30}, "no finite number at step"),
        ({"net": ResNet(tanh, width=8)}, "infinite width"),
    ],
)
def test_what_is_refused(changed, message):
    given = {"net": RESIDUAL, "inputs": INPUTS, "targets": TARGETS, "depth": 2, "steps": 2}
    with pytest.raises(ValueError, match=message):
        solve_training(**(given | changed))


def test_kernels_that_are_not_there():
    run = solve_training(RESIDUAL, INPUTS, TARGETS, 2, 0.1, 1)
    for arguments, message in (
        (("V", 1), "unknown matrix"),
        (("W", 3), "from 1 to 2"),
        (("W", 1, "up"), "unknown side"),
    ):
        with pytest.raises(ValueError, match=message):
            run.kernel(*arguments)


def test_memory_is_said_before_and_progress_is_reported():
    with pytest.raises(MemoryError, match=r"64 layers trained for 100000 steps on 3 inputs take about \d+.\d GiB"):
        solve_training(RESIDUAL, INPUTS, TARGETS, 64, steps=100_000)
    with pytest.raises(MemoryError, match="or neurons"):
        solve_training(
            Network(lambda x: x + epsilon * Weights("W")(tanh(x)), width=sp.oo), INPUTS, TARGETS, 2, neurons=10**6
        )
    seen = []
    solve_training(RESIDUAL, INPUTS, TARGETS, 2, 0.1, 3, limits="flow", progress=lambda *now: seen.append(now))
    assert seen == [(k, 9) for k in range(1, 10)]
