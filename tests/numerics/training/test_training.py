"""Networks with parameters: the same networks as are simulated, their gradients, and descent from a random start."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

jax = pytest.importorskip("jax", reason="training needs the extra jax")
pytest.importorskip("optax", reason="training needs the extra jax")

from scipy.linalg import expm  # noqa: E402

from derivations import (  # noqa: E402
    MLP,
    AttentionBlock,
    ConvResNet,
    DerivationError,
    GatedBlock,
    MLPBlock,
    Network,
    PreNormResNet,
    ResNet,
    ShapedMLP,
    ShrinkingResNet,
    Weights,
    dropout,
    epsilon,
    identity,
    relu,
    silu,
    symbols,
    tanh,
)
from derivations.architectures import RECIPES  # noqa: E402
from numerics.statistics import Estimate  # noqa: E402
from numerics.training import TrainableNetwork, Training, TrainingDiverged, by_depth, train, trainability  # noqa: E402
from numerics.training.start import (  # noqa: E402
    NothingFalls,
    derived_gradients,
    derived_largest_rate,
    measured_gradients,
    measured_largest_rate,
)
from numerics.validation.trained import derived_loss  # noqa: E402


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def some_inputs(m, features, seed=0, grid=()):
    return np.random.default_rng(seed).normal(size=(m, features, *grid))


@pytest.mark.slow
def test_residual_network_written_out():
    network = TrainableNetwork(
        ShrinkingResNet(tanh, silu, width=5, weight_variance=2, bias_variance=sp.Rational(1, 2)),
        7,
        features=3,
        outputs=2,
        t=0.8,
    )
    p, a = network.initial(seed=3), some_inputs(4, 3)
    x = p["input"] @ a.T / np.sqrt(3)
    for w, b in zip(p["W"], p["W bias"], strict=True):
        u = np.sqrt(2 / 5) * w @ (x / (1 + np.exp(-x))) + np.sqrt(0.5) * b
        x = x + np.tanh(np.sqrt(0.8 / 7) * u)
    assert np.allclose(network(p, a), (p["output"] @ x / np.sqrt(5)).T, rtol=1e-12)


@pytest.mark.slow
def test_gated_block_written_out():
    network = TrainableNetwork(GatedBlock(silu, width=4, hidden=6), 5, features=4)
    p, a = network.initial(seed=1), some_inputs(3, 4, seed=1)
    x = p["input"] @ a.T / 2
    for A, B, C in zip(p["A"], p["B"], p["C"], strict=True):
        b = B @ x / 2
        x = x + np.sqrt(1 / 5) * A @ (b / (1 + np.exp(-b)) * (C @ x / 2)) / np.sqrt(6)
    assert np.allclose(network(p, a), (p["output"] @ x / 2).T, rtol=1e-12)


def test_variance_that_depends_on_time_is_that_of_each_layer():
    net = Network(lambda x: x + epsilon * Weights("A", variance=1 + symbols.time)(x), width=3)
    network = TrainableNetwork(net, 4, features=3)
    p, a = network.initial(), some_inputs(2, 3)
    x = p["input"] @ a.T / np.sqrt(3)
    for k, w in enumerate(p["A"]):
        x = x + 0.5 * np.sqrt((1 + (k + 0.5) / 4) / 3) * w @ x
    assert np.allclose(network(p, a), (p["output"] @ x / np.sqrt(3)).T, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*RECIPES, PreNormResNet], ids=lambda r: r.__name__)
@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_gradients_are_difference_quotients(recipe, parametrization):
    example = recipe.example()
    network = TrainableNetwork(example, 3, features=2, parametrization=parametrization)
    p, a, key = network.initial(seed=2), some_inputs(3, 2, grid=example.positions), jax.random.key(0)
    assert sum(v.size for v in p.values()) == network.parameters
    along = {name: np.random.default_rng(5).normal(size=v.shape) for name, v in p.items()}

    def moved(h):
        return float(network({name: p[name] + h * along[name] for name in p}, a, key).sum())

    slope = jax.grad(lambda q: network(q, a, key).sum())(p)
    inner = sum(float((slope[name] * along[name]).sum()) for name in p)
    assert np.isclose((moved(1e-5) - moved(-1e-5)) / 2e-5, inner, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
def test_both_parametrizations_start_as_the_same_network(parametrization):
    recipe, a = MLPBlock(relu, width=4, hidden=3, norm="rms", bias_variance=2), some_inputs(2, 3)
    one, other = (TrainableNetwork(recipe, 6, 3, parametrization=word) for word in ("ntk", parametrization))
    assert np.allclose(one(one.initial(4), a), other(other.initial(4), a), rtol=1e-12)


@pytest.mark.slow
def test_factors_of_a_layer_come_from_the_key():
    net = Network(lambda x: x + epsilon * Weights("A")(dropout(x, sp.Rational(1, 2))), width=4)
    network = TrainableNetwork(net, 5, features=2)
    p, a = network.initial(), some_inputs(2, 2)
    outs = [np.asarray(network(p, a, jax.random.key(k))) for k in (0, 0, 1)]
    assert np.array_equal(outs[0], outs[1])
    assert not np.allclose(outs[0], outs[2])
    with pytest.raises(ValueError, match=r"dropout.*key="):
        network(p, a)


@pytest.mark.slow
def test_training_goes_on_from_its_checkpoint_to_the_same_numbers(tmp_path):
    network = TrainableNetwork(ResNet(relu, width=6), 5, features=3)
    a = some_inputs(20, 3)
    options = {"learning_rate": 0.05, "batch": 8, "optimizer": "adam", "seed": 7}
    whole = train(network, a, a[:, :1], steps=45, **options)
    train(network, a, a[:, :1], steps=20, checkpoint=tmp_path / "kept", **options)
    seen = []
    rest = train(
        network,
        a,
        a[:, :1],
        steps=45,
        checkpoint=tmp_path / "kept",
        progress=lambda k, n: seen.append((k, n)),
        **options,
    )
    assert seen == [(40, 45), (45, 45)]
    assert np.array_equal(rest.losses, whole.losses)
    assert whole.losses[-1] < whole.losses[0]
    assert all(np.array_equal(rest.parameters[name], whole.parameters[name]) for name in whole.parameters)
    with pytest.raises(ValueError, match="another ensemble: it differs in seed"):
        train(network, a, a[:, :1], steps=45, checkpoint=tmp_path / "kept", **(options | {"seed": 8}))


@pytest.mark.slow
def test_a_run_of_more_steps_has_the_factors_of_one_that_never_stopped(tmp_path):
    A, B = Weights("A"), Weights("B", out=5)
    network = TrainableNetwork(
        Network(lambda x: x + epsilon * A(dropout(relu(B(x)), sp.S.Half)), width=4), 3, features=2
    )
    a, kept = some_inputs(6, 2), tmp_path / "kept"
    first = train(network, a, a[:, :1], 0.05, steps=7, checkpoint=kept)
    whole, rest = train(network, a, a[:, :1], 0.05, steps=12), train(network, a, a[:, :1], 0.05, 12, checkpoint=kept)
    assert np.array_equal(rest.losses, whole.losses)
    assert np.array_equal(first.losses, whole.losses[:7])
    assert not np.allclose(train(network, a, a[:, :1], 0.05, 12, seed=1).losses, whole.losses)  # the control
    with pytest.raises(ValueError, match="is 12 steps on, and 5 are asked for"):
        train(network, a, a[:, :1], 0.05, steps=5, checkpoint=kept)


def test_a_checkpoint_of_another_run_is_refused_before_any_work(tmp_path, monkeypatch):
    # it was refused after what is derived and measured at the start of each depth
    recipe, a, labels = ResNet(relu, width=2), some_inputs(6, 2), np.array([0, 1] * 3)
    train(TrainableNetwork(recipe, 3, 2, 2), a, labels, 0.01, steps=2, checkpoint=tmp_path / "depth 3")
    begun = []
    monkeypatch.setattr(by_depth, "_at_depth", lambda network, *_: begun.append(network.depth))

    def again(**other):
        trainability(recipe, [2, 3], a, labels, **{"steps": 2, "learning_rate": 0.01} | other, checkpoint=tmp_path)

    for other, says in (
        ({"seed": 1}, "depth 3 holds another ensemble: it differs in seed"),
        ({"learning_rate": 0.02}, "it differs in optimizer"),
        ({"learning_rate": None, "batch": 4}, "it differs in batch"),
        ({"steps": 1}, "depth 3 is 2 steps on, and 1 are asked for"),
    ):
        with pytest.raises(ValueError, match=says):
            again(**other)
    assert not begun
    again()  # the control: the same run goes on
    again(learning_rate=None)  # its rate follows from what is measured
    assert begun == [2, 3, 2, 3]


def test_each_pass_goes_through_all_inputs():
    from numerics.training.descent import _chosen

    passes = [np.concatenate([_chosen(12, 4, seed=0, step=3 * k + j) for j in range(3)]) for k in range(2)]
    assert all(sorted(p) == list(range(12)) for p in passes)
    assert list(passes[0]) != list(passes[1])


@pytest.mark.slow
def test_lost_loss_stops_with_its_step_and_the_checkpoint_stays(tmp_path):
    network = TrainableNetwork(ResNet(identity, width=6), 5, features=3)
    a = some_inputs(20, 3)
    with pytest.raises(
        TrainingDiverged, match=r"the loss is (nan|inf) at step \d+ of 60, with the learning rate 100"
    ) as stopped:
        train(network, a, a[:, :1], learning_rate=100, steps=60)
    assert len(stopped.value.losses) == stopped.value.step - 1
    assert np.isfinite(stopped.value.losses).all()


def test_weights_that_the_last_step_loses_stop_it_too(tmp_path):
    """The loss of the only step is that before it; weights that were not finite came back and into the checkpoint."""
    network = TrainableNetwork(ResNet(identity, width=6), 5, features=3)
    a, kept = some_inputs(20, 3), tmp_path / "run"
    with pytest.raises(TrainingDiverged, match="a weight is not finite after step 1 of 1, with") as stopped:
        train(network, a, 1e9 * a[:, :1], learning_rate=1e308, steps=1, checkpoint=kept)
    assert len(stopped.value.losses) == stopped.value.step == 1
    again = train(network, a, a[:, :1], learning_rate=1e-3, steps=1, checkpoint=tmp_path / "other")
    assert all(np.isfinite(value).all() for value in again.parameters.values())
    assert not list(kept.glob("*state*"))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm'; close names: adam"),
        ({"loss": "square"}, "unknown loss 'square'; close names: squared"),
        ({"batch": 21}, "batch must be from 1 to 20"),
        ({"learning_rate": -1.0}, "learning_rate must be finite and positive"),
        (
            {"targets": np.ones(20)},
            r"targets must be finite, of shape \(20, 2\), or labels from 0 to 1, got shape \(20,\)",
        ),
        ({"targets": np.full(20, 2)}, "labels must be whole numbers from 0 to 1"),
        ({"inputs": np.ones((20, 4))}, "expected inputs with 3 features"),
    ],
)
def test_what_cannot_be_trained_is_refused(asked, says):
    network = TrainableNetwork(ResNet(relu, width=4), 2, features=3, outputs=2)
    given = {"inputs": some_inputs(20, 3), "targets": np.zeros(20, dtype=int), "learning_rate": 0.1, "steps": 1}
    with pytest.raises(ValueError, match=says):
        train(network, **(given | asked))


def test_what_does_not_fit_in_memory_is_refused_with_its_size():
    network = TrainableNetwork(ResNet(relu, width=100_000), 10_000, features=3)
    with pytest.raises(MemoryError, match=r"training \d+ parameters .* GiB, and there are"):
        train(network, some_inputs(4, 3), np.zeros((4, 1)), 0.1, 1)
    with pytest.raises(MemoryError, match="GiB, and there are"):
        trainability(ResNet(relu, width=100_000), [2, 10_000], some_inputs(4, 3), np.zeros(4, int))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: TrainableNetwork(ResNet(relu, width=sp.oo), 2, 3), "a width that is a number"),
        (lambda: TrainableNetwork(ResNet(relu, width=2), 0, 3), "depth must be a whole number"),
        (lambda: TrainableNetwork(ResNet(relu, width=2), 2, 3, parametrization="mup"), "unknown parametrization"),
        (
            lambda: TrainableNetwork(
                Network(lambda x: x + epsilon * Weights("A", mean=symbols.time)(x), width=2), 2, 3
            ),
            "means that do not depend on the time, got A",
        ),
    ],
)
def test_networks_that_cannot_be_trained_are_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()


@pytest.mark.slow
def test_gradients_of_a_linear_network_grow_as_their_mean_says():
    # J = (I + W / sqrt(L))^(L-1): E |J^T g|^2 = (1 + 1/L)^(L-1) E |g|^2 exactly, at every width
    network = TrainableNetwork(ResNet(identity, width=24), 16, features=2)
    found = measured_gradients(network, some_inputs(1, 2), networks=1500, seed=1)
    grown, exact = Estimate.of(found[:, 0]), (1 + 1 / 16) ** 15  # the mean square of the readout's weights is 1
    assert grown.test(exact).p_value > 1e-3
    assert grown.test(1.1 * exact).p_value < 1e-6
    assert np.isclose(derived_gradients(network, some_inputs(1, 2))[0], np.exp(15 / 16))


@pytest.mark.slow
def test_largest_rate_is_where_the_tangent_kernel_says():
    # lambda_max of the kernel at width 256 is within a few per cent of its limit, and bisection stops at a ratio of 1.2
    network = TrainableNetwork(ResNet(relu, width=256), 16, features=8)
    a = some_inputs(24, 8)
    derived = derived_largest_rate(network, a)
    found = measured_largest_rate(network, a, np.tanh(a[:, :1]), seed=0)
    assert found.stable / 1.25 < derived < 1.25 * found.unstable
    assert (
        not found.stable / 1.25 < 2 * derived < 1.25 * found.unstable
    )  # a kernel without the readout's part, or without the half


def test_gradients_where_depth_and_width_grow_together():
    found = derived_gradients(TrainableNetwork(MLP(relu, width=8), 4, features=2), some_inputs(2, 2))
    assert np.allclose(found, 1)  # E relu'^2 = 1/2, with weights of variance 2/n


def test_gradients_over_positions_go_back_through_the_filter():
    F, p, depth = Weights("F", filter=3, padding="zeros"), 4, 8
    network = TrainableNetwork(Network(lambda x: x + epsilon * F(x), width=8, positions=p), depth, features=2)
    found = derived_gradients(network, some_inputs(6, 4).reshape(3, 2, 4))
    # second moments over positions C of a gradient: each weight of the filter takes position a from a - o, where that is one
    pairs = np.zeros((p * p, p * p))
    for a, b, o in np.ndindex(p, p, 3):
        if 0 <= a - o + 1 < p and 0 <= b - o + 1 < p:
            pairs[a * p + b, (a - o + 1) * p + b - o + 1] += 1 / 3
    end, same = np.full(p * p, 1 / p**2), np.eye(p).ravel()
    back = [same @ expm((1 - k / depth) * pairs) @ end for k in range(1, depth + 1)]
    assert np.allclose(found, np.array(back) / back[-1], rtol=1e-6)
    circular = np.exp(1 - np.arange(1, depth + 1) / depth)
    assert not np.allclose(found, circular, rtol=0.02)


@pytest.mark.slow
def test_gradients_over_positions_of_networks():
    F = Weights("F", filter=3, padding="zeros")
    network = TrainableNetwork(Network(lambda x: x + epsilon * F(relu(x)), width=32, positions=4), 32, features=3)
    a = some_inputs(6, 4).reshape(2, 3, 4) * np.array([1.0, 2.0, 0.5, 1.0])
    derived, found = derived_gradients(network, a)[0], measured_gradients(network, a, networks=300, seed=1)
    grown = Estimate.of(found[:, 0] / found[:, -1].mean())
    assert (
        abs(grown.value - derived) < 4 * grown.error + derived / 100
    )  # (1 + a/L)^L is exp(a)(1 - a²/(2L)), a < 1/2 here
    assert abs(grown.value - 1.15 * derived) > 4 * grown.error + derived / 100


def test_where_nothing_is_derived_it_says_why():
    network, a = TrainableNetwork(MLP(relu, width=8), 4, features=2), some_inputs(2, 2)
    with pytest.raises(DerivationError, match="depth and width grow together"):
        derived_largest_rate(network, a)
    with pytest.raises(DerivationError, match="moves with the state"):
        derived_gradients(TrainableNetwork(ShapedMLP(tanh, a=1, width=8), 4, features=2), a)
    image = TrainableNetwork(ConvResNet(tanh, relu, width=8, positions=(4, 4), filter=(3, 3)), 4, features=2)
    with pytest.raises(DerivationError, match="up to 9 positions, got 16"):
        derived_gradients(image, np.ones((1, 2, 4, 4)))
    with pytest.raises(DerivationError, match="NTK parametrization"):
        derived_largest_rate(TrainableNetwork(ResNet(relu, width=8), 4, 2, parametrization="standard"), a)
    with pytest.raises(DerivationError, match="draw factors anew at each step"):
        derived_largest_rate(TrainableNetwork(MLPBlock(relu, width=8, keep=0.5), 4, features=2), a)
    assert derived_largest_rate(TrainableNetwork(MLPBlock(relu, width=8), 4, features=2), a) > 0  # the control


@pytest.mark.slow
@pytest.mark.parametrize("depth", [10, 300])
def test_digits_are_learnt_at_every_depth(depth):
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with the extra sklearn")
    images, labels = datasets.load_digits(return_X_y=True)
    images = (images - images.mean()) / images.std()
    network = TrainableNetwork(ResNet(relu, width=32), depth, features=64, outputs=10)
    run = train(network, images[:1400], labels[:1400], learning_rate=0.3, steps=300, batch=128, seed=1)
    assert run.accuracy(images[1400:], labels[1400:]) > 0.65
    untrained = train(network, images[:1400], labels[:1400], learning_rate=1e-9, steps=1, batch=128, seed=1)
    assert untrained.accuracy(images[1400:], labels[1400:]) < 0.35


@pytest.mark.slow
def test_unscaled_branch_is_told_from_a_scaled_one():
    labels = (some_inputs(60, 4)[:, 0] > 0).astype(int)
    a = Weights("A")
    unscaled = trainability(
        Network(lambda x: x + a(relu(x)), width=8), [40], some_inputs(60, 4), labels, steps=20, networks=4
    )
    scaled = trainability(ResNet(relu, width=8), [40], some_inputs(60, 4), labels, steps=20, networks=4)
    (far,), (near,) = unscaled.rows, scaled.rows
    # E |J v|^2 grows by 3/2 a layer without the scale, by exp(1/2) in all with it
    assert far.growth.value > 1e3
    assert far.derived_gradients is None
    assert any("does not become continuous" in why for why in far.why)
    assert near.growth.value < 4
    assert np.isclose(near.derived_gradients[0], np.exp(0.5 * 39 / 40))
    assert near.losses[-1] < near.losses[0]
    assert 0.5 < near.measured_rate.stable / near.derived_rate < 4 * 1.2  # the kernel of width 8 fluctuates
    assert far.measured_rate is None or far.measured_rate.stable < 0.01 * near.measured_rate.stable
    assert "does not become continuous" in str(unscaled)


@pytest.mark.slow
def test_gradients_beyond_the_range_of_numbers_are_said():
    x = some_inputs(6, 4)
    a = Weights("A", variance=10**6)
    found = trainability(Network(lambda x: x + a(x), width=8), [120], x, np.zeros(6, int), steps=5, networks=3)
    (row,) = found.rows
    assert row.growth.value == np.inf  # 1e6^119
    assert "in 3 of 3 networks the gradient's square left the range of float" in str(found)
    assert str(found).count("out of range") == 4  # the growth, and the first, middle and last layer's weights
    assert "out of range" in str(found)


def test_rate_of_another_optimizer_must_be_given():
    with pytest.raises(ValueError, match="give learning_rate for adam"):
        trainability(ResNet(relu, width=8), [4], some_inputs(6, 4), np.zeros(6, int), optimizer="adam")


FACTORS = {
    "dropout": (lambda keep: MLPBlock(relu, width=6, keep=keep)),
    "dropped branch": (lambda keep: MLPBlock(relu, width=6, keep_branch=keep)),
    "gate": (lambda keep: GatedBlock(silu, width=6, keep=keep, keep_branch=keep, norm="rms")),
    "attention": (lambda keep: AttentionBlock(width=6, positions=2, keep_branch=keep)),
    "shared": (
        lambda keep: Network(lambda x: x + epsilon * Weights("A")(dropout(relu(x), keep, shared=True)), width=6)
    ),
}


@pytest.mark.parametrize("name", [n if n == "dropout" else pytest.param(n, marks=pytest.mark.slow) for n in FACTORS])
def test_trained_networks_are_asked_with_factors_at_their_means(name):
    half, one = (FACTORS[name](keep) for keep in (sp.Rational(1, 2), sp.S.One))
    x = np.random.default_rng(0).standard_normal((5, 3, *half.positions))
    network, plain = (TrainableNetwork(recipe, 3, 3, outputs=2) for recipe in (half, one))
    parameters = network.initial(seed=1)
    run = Training(network, parameters, np.zeros(1))
    without = np.asarray(plain.evaluated(parameters, x))
    assert np.allclose(run(x), without, atol=1e-5)
    assert 0 <= run.accuracy(x, np.array([0, 1, 0, 1, 1])) <= 1
    drawn = np.asarray(network(parameters, x, jax.random.key(0)))
    assert not np.allclose(drawn, without, atol=1e-3)  # the control


def test_no_largest_rate_is_looked_for_where_the_loss_rises_by_chance():
    recipe = MLPBlock(relu, width=4, keep=0.5)
    x, labels = np.random.default_rng(0).standard_normal((6, 2)), np.array([0, 1, 0, 1, 1, 0])
    with pytest.raises(NothingFalls, match="loss rises by chance"):
        measured_largest_rate(TrainableNetwork(recipe, 3, 2, 2), x, labels)
    with pytest.raises(DerivationError, match="the kernel of a step is random"):
        derived_loss(MLPBlock(relu, width=sp.oo, inputs=2, keep_branch=0.5))


@pytest.mark.slow
def test_recipes_with_dropout_have_a_table_with_an_accuracy():
    recipe = MLPBlock(relu, width=4, keep=0.5)
    x, labels = np.random.default_rng(0).standard_normal((6, 2)), np.array([0, 1, 0, 1, 1, 0])
    found = trainability(recipe, [3], x, labels, test=(x, labels), learning_rate=0.1, steps=3, networks=2)
    assert 0 <= found.rows[0].accuracy <= 1
    (note,) = found.rows[0].why
    assert "give learning_rate" in note
