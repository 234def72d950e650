"""Validation of Jacobians: their equation, determinant and laws against networks, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    Network,
    ResNet,
    ShrinkingResNet,
    Weights,
    dropout,
    epsilon,
    layer_norm,
    relu,
    rms_norm,
    silu,
    symbols,
    tanh,
)
from derivations.backward import jacobian
from numerics import compare, simulate_jacobian, validate
from numerics.cli import main
from numerics.validation.derivatives import derivatives_of

A, B = Weights("A"), Weights("B", out=4)
TWO = Network(lambda x: x + epsilon * A(relu(B(x))), width=2)
RMS = Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=2)


@pytest.mark.slow
def test_jacobians_agree_with_networks():
    table = validate(jacobian(TWO), x0=[1.0, -0.5], t=0.5, seed=1)
    assert table, str(table)
    assert [row.claim.partition(":")[0] for row in table.rows][-1] == "Lambda"


@pytest.mark.slow
def test_determinants_with_neurons_and_a_wrong_one():
    j = jacobian(ShrinkingResNet(silu, tanh, width=2))
    size = {"x0": [1.0, -0.5], "t": 0.5, "samples": 6000, "depth": 16, "seed": 1}
    assert [row.test.p_value > 1e-4 for row in validate(j, **size).rows] == [True] * 4
    j.__dict__["log_det"] = replace(j.log_det, rate=j.log_det.rate * sp.Rational(6, 5))
    assert any(v == "differs" for v in validate(j, **size).verdicts)


@pytest.mark.slow
def test_perceptrons_agree_with_networks_whose_depth_and_width_go_together():
    table = validate(jacobian(MLP(relu)), samples=30_000, depth=32, seed=1)
    assert table, str(table)


def test_one_neuron_starts_where_it_is():
    # the square of the neuron stood in its place
    _, determinant = derivatives_of(jacobian(ResNet(tanh, width=1)), [-2.0], 0.5, 10, 4, 1)
    assert np.array_equal(determinant.origin, [[-2.0, 0.0]])
    slope = 1 - np.tanh(2.0) ** 2
    assert np.isclose(determinant.variance_rate, slope**2)
    _, squares = derivatives_of(jacobian(RMS), [-2.0, 1.0], 0.5, 10, 4, 1)
    assert np.array_equal(squares.origin, [[2.5, 0.0]])  # the control: a process with the Gram matrix


CENTRED = Network(lambda x: x + epsilon * A(dropout(layer_norm(x), sp.Rational(3, 4))), width=4)
TOKENS = Network(lambda x: x + epsilon * A(relu(B(x))), width=4, positions=2)
START = np.array([1.5, 0.7, 1.2, 0.4])


def test_determinants_start_at_the_gram_matrix_that_their_process_follows():
    # of centred states the mean square of the whole ones stood there, and one number for all positions
    _, found = derivatives_of(jacobian(CENTRED), START, 0.5, 10, 4, 1)
    assert np.allclose(found.origin, [[np.var(START), 0.0]])
    assert not np.isclose(np.var(START), np.mean(START**2))  # the control
    pair = np.stack([START, START[::-1] - 1], axis=1)
    _, found = derivatives_of(jacobian(TOKENS), pair, 0.5, 10, 4, 1)
    assert [str(s) for s in found.limit.states] == ["V_11", "V_12", "V_22", "Lambda"]
    second = pair.T @ pair / 4
    assert np.allclose(found.origin, [[second[0, 0], second[0, 1], second[1, 1], 0.0]])


@pytest.mark.slow
def test_determinants_beside_centred_neurons_agree_with_networks():
    row = validate(jacobian(CENTRED), x0=START, t=0.25, samples=6000, depth=16, seed=1).rows[-1]
    assert row.claim.startswith("log|det J|")
    assert row.test.p_value > 1e-4 > row.control.p_value


@pytest.mark.slow
def test_neurons_that_are_not_alike():
    unlike = Weights("W", row_covariance=[[2, 1], [1, 3]])
    j = jacobian(Network(lambda x: x + epsilon * unlike(tanh(x)), width=2))
    size = {"x0": [1.0, -0.5], "t": 0.5, "samples": 6000, "depth": 16, "seed": 1}
    assert [row.test.p_value > 1e-4 for row in validate(j, **size).rows] == [True] * 4
    wrong = Weights("W", row_covariance=[[2, 0], [0, 2]])
    other = jacobian(Network(lambda x: x + epsilon * wrong(tanh(x)), width=2))
    j.__dict__["log_det"] = other.log_det
    assert any(v == "differs" for v in validate(j, **size).verdicts)


def test_the_title_has_the_time_that_is_compared():
    assert validate(jacobian(MLP(relu)), samples=20, depth=8).title.endswith(
        "t = 0.125, a short time over which depth and width are followed together"
    )


def test_refusals():
    with pytest.raises(ValueError, match="a number, got width=n"):
        validate(jacobian(ResNet(tanh, width=symbols.width)))
    with pytest.raises(ValueError, match="at infinite width"):
        validate(jacobian(ResNet(tanh, width=sp.oo)))


@pytest.mark.slow
def test_few_samples_have_no_power():
    table = validate(jacobian(TWO), x0=[1.0, -0.5], samples=200, depth=8)
    assert not table
    joint = validate(jacobian(MLP(relu)), samples=50, depth=8)
    assert not joint
    assert "tangent" in joint.rows[0].claim


def test_the_command(capsys):
    given = ["jacobian", "--layer", "x + eps*A(relu(B(x, out=4)), out=2)", "--width", "2", "--validate"]
    assert main([*given, "--samples", "100", "--depth", "4", "--t", "0.5"]) == 1
    assert "Jacobian of Network" in capsys.readouterr().out
    assert main([*given, "--format", "latex"]) == 2
    assert "leave out" in capsys.readouterr().err


@pytest.mark.slow
def test_jacobians_of_ones_own_networks():
    j, x0 = jacobian(TWO), [1.0, -0.5]
    rng, samples, depth = np.random.default_rng(0), 4000, 128

    def drawn(wrong=1.0):
        x, product = np.tile(np.array(x0)[:, None], (samples, 1, 1)), np.tile(np.eye(2), (samples, 1, 1))
        for _ in range(depth):
            inner = rng.standard_normal((samples, 4, 2)) / np.sqrt(2)
            outer = rng.standard_normal((samples, 2, 4)) / np.sqrt(4) * wrong * np.sqrt(0.5 / depth)
            read = inner @ x
            product = product + outer @ ((read > 0) * inner @ product)
            x = x + outer @ np.maximum(read, 0)
        return x[:, :, 0], product

    table = compare(j, drawn(), x0=x0, t=0.5, depth=depth, seed=1)
    assert [row.test.p_value > 1e-3 for row in table.rows] == [True] * 3
    assert any("Lambda" in row.claim for row in table.rows)
    assert min(row.test.p_value for row in compare(j, drawn(1.1), x0=x0, t=0.5, depth=depth, seed=1).rows) < 1e-3


@pytest.mark.slow
def test_jacobians_of_ones_own_perceptrons_where_depth_and_width_grow_together():
    """ReLU perceptrons multiplied out by hand, 32 wide and 16 deep; with 5 % more variance they must differ (by twelve standard errors)."""
    rng, n, samples = np.random.default_rng(5), 32, 1000

    def networks(variance):
        start = rng.standard_normal((samples, n))
        start *= np.sqrt(n) / np.linalg.norm(start, axis=1, keepdims=True)
        x, j = start, np.broadcast_to(np.eye(n), (samples, n, n))
        for _ in range(16):
            w = rng.standard_normal((samples, n, n)) * np.sqrt(variance / n)
            x, j = np.einsum("sij,sj->si", w, np.maximum(x, 0)), w @ ((x > 0)[:, :, None] * j)
        return start, x, j

    for variance, agrees in ((2.0, True), (2.1, False)):
        start, *made = networks(variance)
        table = compare(jacobian(MLP(relu)), made, x0=start, t=0.5, depth=16)
        assert len(table.rows) == 2
        assert (min(row.test.p_value for row in table.rows) > 1e-3) == agrees


@pytest.mark.slow
def test_jacobians_of_ones_own_networks_by_the_command(tmp_path, capsys):
    files = ["--samples", str(tmp_path / "x.npy"), "--jacobians", str(tmp_path / "j.csv")]
    x, j = simulate_jacobian(TWO, depth=32, samples=400, x0=1.0, t=0.5, seed=0)
    np.save(tmp_path / "x.npy", x)
    np.savetxt(tmp_path / "j.csv", j.reshape(len(j), -1), delimiter=",")  # a row of n² numbers each
    given = ["compare", "--layer", "x + eps*A(relu(B(x, out=4)), out=2)", "--width", "2", *files]
    main([*given, "--t", "0.5"])
    right = capsys.readouterr().out
    assert right.count("your samples against") == 3
    assert "differs" not in right
    assert main([*given, "--t", "1"]) == 1  # another time than theirs
    assert "differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("j", "samples", "message"),
    [
        (jacobian(ResNet(relu, width=sp.oo), "width"), None, "a gradient's mean square only"),
        (jacobian(MLP(relu)), (np.ones((60, 4)), np.ones((60, 4, 4))), "x0 must be the state"),
        (jacobian(TWO), np.ones((60, 2, 2)), "must be the pair"),
        (jacobian(TWO), (np.ones((60, 2)), np.ones((60, 2, 3))), "must have shapes"),
        (jacobian(TWO), (np.full((60, 2), np.nan), np.ones((60, 2, 2))), "60 samples are nan"),
        (jacobian(TWO), (np.ones((5, 2)), np.ones((5, 2, 2))), "too few"),
        (jacobian(TWO), ("a", "b"), "arrays of real numbers"),
    ],
    ids=["infinite width", "start", "one array", "shapes", "nan", "few", "words"],
)
def test_jacobians_that_cannot_be_compared(j, samples, message):
    with pytest.raises(ValueError, match=message):
        compare(j, samples, x0=[1.0, -0.5])


def test_jacobians_that_do_not_fit_in_memory_are_refused_before_they_are_derived():
    with pytest.raises(MemoryError, match=r"Jacobians of networks of 1000000 neurons take about .* GiB"):
        validate(jacobian(ResNet(tanh, width=10**6)))
