"""Every recipe in every regime through every command: it runs, or says why not in the user's terms."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    AttentionBlock,
    ConvBlock,
    ConvResNet,
    DerivationError,
    GatedBlock,
    MLPBlock,
    Network,
    PreNormResNet,
    ResNet,
    ShapedAttention,
    ShapedMLP,
    ShrinkingResNet,
    TransformerBlock,
    Weights,
    attention,
    average,
    derive,
    drop_branch,
    dropout,
    epsilon,
    layer_norm,
    mixed,
    relu,
    rms_norm,
    shaped_slopes,
    symbols,
    tanh,
)
from derivations import RECIPES as ALL_RECIPES
from numerics import compare, distribution, kernel_matrix, simulate_network, simulate_sde, validate
from numerics.report import Start, report
from numerics.validation import scores, subjects

A, B, C = Weights("A"), Weights("B"), Weights("C")
HALF = sp.Rational(1, 2)
BIASED = Weights("A", bias_variance=1)

LAYERS = {
    "two matrices": lambda x: x + epsilon * A(relu(B(x))),
    "pre-norm": lambda x: x + epsilon * A(relu(B(rms_norm(x)))),
    "layer norm": lambda x: x + epsilon * A(relu(B(layer_norm(x)))),
    "post-norm": lambda x: rms_norm(x + epsilon * A(relu(B(x)))),
    "gate": lambda x: x + epsilon * A(relu(B(x)) * C(x)),
    "dropout": lambda x: x + epsilon * A(dropout(relu(B(x)), HALF)),
    "shared dropout": lambda x: x + epsilon * A(dropout(relu(B(x)), HALF, shared=True)),
    "dropped branch": lambda x: x + epsilon * drop_branch(A(relu(B(x))), HALF),
    "biases": lambda x: x + epsilon * BIASED(relu(x)),
    "mean subtracted": lambda x: x + epsilon * (A(relu(x)) - average(A(relu(x)))),
    "transpose": lambda x: x - epsilon**2 * A.T(A(x)),
    "signs": lambda x: x + epsilon * Weights("A", law="rademacher")(relu(x)),
    "orthogonal": lambda x: x + epsilon * Weights("A", law="orthogonal")(relu(x)),
    "variance of depth": lambda x: x + epsilon * Weights("A", variance=1 + symbols.time)(relu(x)),
}
#: Over two positions.
GRIDDED = {
    "filter": lambda x: x + epsilon * Weights("W", filter=1, padding="zeros")(relu(x)),
    "mixed": lambda x: x + epsilon * A(mixed([[0, 1], [1, 0]], x)),
    "linear attention": lambda x: x + epsilon * attention(*(W(rms_norm(x)) for W in (A, B, C)), kind="linear"),
}
RECIPES = {
    "resnet": lambda n, m: ResNet(relu, width=n, inputs=m),
    "shrinking": lambda n, m: ShrinkingResNet(tanh, relu, width=n, inputs=m, bias_variance=1),
    "conv": lambda n, m: ConvResNet(tanh, relu, width=n, inputs=m, positions=(2,), filter=(1,)),
    "mlp": lambda n, m: MLP(relu, width=n, inputs=m),
    "shaped": lambda n, m: ShapedMLP(relu, c_plus=0, c_minus=-1, width=n, inputs=m),
    "prenorm": lambda n, m: PreNormResNet(relu, width=n, inputs=m),
    "mlp-block": lambda n, m: MLPBlock(relu, width=n, inputs=m, norm="rms", keep=HALF),
    "gated-block": lambda n, m: GatedBlock(relu, width=n, inputs=m, norm="rms", place="post"),
    "shaped value": lambda n, m: MLP(shaped_slopes(0, -1), width=n, inputs=m),
    "attention": lambda n, m: AttentionBlock(width=n, positions=(2,), inputs=m, size=3, norm="rms", masked=True),
    "transformer": lambda n, m: TransformerBlock(width=n, positions=(2,), inputs=m, activation=relu, size=3),
    "shaped attention": lambda n, m: ShapedAttention(width=n, positions=(2,), inputs=m),
    "conv block": lambda n, m: ConvBlock(relu, width=n, positions=(2,), filter=(1,), inputs=m),
    **{name: (lambda n, m, layer=layer: Network(layer, width=n, inputs=m)) for name, layer in LAYERS.items()},
    **{
        name: (lambda n, m, layer=layer: Network(layer, width=n, inputs=m, positions=2))
        for name, layer in GRIDDED.items()
    },
}
#: Order and width.
REGIMES = {"depth": 3, "width": sp.oo, "joint": 16}


def _start(d) -> float | np.ndarray:
    m = d.architecture.coordinates
    if d.order == "depth" and m > 1:
        return np.random.default_rng(0).standard_normal((int(d.architecture.width), m))
    return 1.0


def _paths(d):
    m = d.architecture.coordinates
    if d.order == "depth":
        start = _start(d)
        return simulate_sde(d.limit, x0=np.ravel(start) if np.ndim(start) else start, steps=4, samples=3)
    gram = 0.7 * np.eye(m) + 0.3
    place = {f"{a + 1}{b + 1}": gram[a, b] for a in range(m) for b in range(a, m)}
    start = [place.get(str(s).split("_")[-1], 1.0) for s in d.limit.states]
    return simulate_sde(d.limit, x0=start, steps=4, samples=3)


def _origin(d):
    """Where a neuron of one state starts, else states of several or their second moments."""
    m = d.architecture.coordinates
    return _start(d) if d.order == "depth" else 1.0 if m == 1 else 0.7 * np.eye(m) + 0.3


COMMANDS = {
    "derive": lambda d: (str(d), d.latex(), d.to_json()),
    "distribution": lambda d: distribution(d),
    "network": lambda d: simulate_network(d.architecture, 4, 3, x0=_start(d)),
    "paths": _paths,
    "kernel": lambda d: kernel_matrix(
        d.architecture,
        np.eye(2).reshape(2, -1, *d.architecture.positions) if d.architecture.positions else np.eye(2),
        t=0.25,
    ),
    "validate": lambda d: validate(d, t=0.25, samples=50, depth=16),
    "compare": lambda d: compare(
        d, np.ones((60, 3 if d.order == "depth" else 16, d.architecture.coordinates)), _origin(d), t=0.25
    ),
    "report": lambda d: report(d, Start(t=0.25, depth=8, samples=50)).html(),
}
QUICK = ("derive", "distribution", "network", "paths")
#: A report makes all checks with as many samples as they need: one recipe of each kind.
REPORTED = ("resnet", "shaped")
#: Paths among which fifty networks are ranked.
RANKS = 512
#: A reason has no type of ours or of Python's in it, none of NumPy's words, and says more than a word.
PYTHON = ("object", "NoneType", "attribute", "Traceback", "axis", "broadcast", "out of bounds")


def _cell(recipe: str, regime: str, inputs: int, commands: tuple[str, ...]) -> dict[str, str]:
    """What each command says: ran, or its reason."""
    said = {}
    try:
        d = derive(RECIPES[recipe](REGIMES[regime], inputs), order=regime)
    except DerivationError as error:
        return {"derive": str(error)}
    for command in commands:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                COMMANDS[command](d)
                said[command] = ""
            except ValueError as error:
                said[command] = str(error)
    return said


def _check(said: dict[str, str]) -> None:
    for command, reason in said.items():
        if reason:
            assert len(reason) > 30, (command, reason)
            assert not any(word in reason for word in PYTHON), (command, reason)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("recipe", ["resnet", "mlp", "shaped", "prenorm", "two matrices", "pre-norm", "biases"])
def test_quick_commands_run_or_say_why(recipe, regime):
    said = _cell(recipe, regime, 1, QUICK)
    _check(said)
    if said.get("derive") == "" and regime == "depth":
        assert said["network"] == said["paths"] == ""


def test_the_check_sees_what_is_no_reason():
    for reason in (
        "no limit",
        "source: axis -2 is out of bounds for array of dimension 1",
        "'NoneType' object has no attribute 'x'",
    ):
        with pytest.raises(AssertionError):
            _check({"paths": reason})
    _check({"paths": "a kernel is that of an infinitely wide network, got width=3; use width=oo"})


def test_the_table_has_every_recipe():
    assert {type(make(3, 1)) for make in RECIPES.values()} == set(ALL_RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_command_runs_or_says_why(monkeypatch, recipe, regime, inputs):
    monkeypatch.setattr(subjects, "RANKED", RANKS)
    monkeypatch.setattr(scores, "RANKED", RANKS)
    reported = recipe in REPORTED and inputs == 1
    said = _cell(recipe, regime, inputs, tuple(c for c in COMMANDS if c != "report" or reported))
    _check(said)
    if said.get("derive") == "":
        # what simulates and compares is refused only for what has no numbers yet, or too many
        for reason in (said["validate"], said.get("report", "")):
            assert reason == "" or any(why in reason for why in ("cannot compute", "nothing moves", "take too long")), (
                reason
            )
