"""Dropout of neurons and of whole branches: i.i.d. factors while a module is in training mode."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import sympy as sp

from derivations import drop_branch, dropout
from numerics.pytorch.pairs import pairs_dropped
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.values import THERE, Part, Value, number


def dropped(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """I.i.d. factors in training, nothing else."""
    value = reader.value(x, name)
    if not module.training or module.p == 0:
        return value
    if THERE in value.axes:
        return pairs_dropped(reader, value, module.p, name)
    return _with_factors(reader, value, module.p, name)


def _with_factors(reader: Reader, value: Value, p: float, name: str) -> Value:
    """One factor for each neuron: every part of a list has its own."""
    keep = 1 - number(p)

    def thinned(parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple(replace(q, expr=dropout(q.expr, keep, name=_said(reader, name, keep, "neuron"))) for q in parts)

    return value.each(thinned)


def branch_dropped(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """A whole branch dropped for each input: torchvision's StochasticDepth in mode row, timm's DropPath."""
    value, p = reader.value(x, name), _dropped_share(module)
    if not module.training or p == 0:
        return value
    shared = getattr(module, "mode", "row") == "batch"
    keep = 1 - number(p)
    factor = _said(reader, name, keep, "layer, for all inputs" if shared else "input, for a whole branch")
    return value.map(lambda e: drop_branch(e, keep, name=factor, shared=shared))


def _said(reader: Reader, name: str, keep: sp.Expr, each: str) -> str:
    """A name of factors, with what they are said to the reader of the result."""
    factor = reader.factor(name)
    reader.remark(
        f"{factor} is 1 with probability {keep} and else 0, one for each {each}; what is kept is divided by {keep}"
    )
    return factor


def drops(module: Any) -> bool:
    """Whether somebody's own module drops the branches of inputs at random: seen by what it does to ones."""
    torch = import_module("torch")
    keep = 1 - _dropped_share(module)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = module.forward(torch.ones(400, 2, 3)).reshape(400, -1)  # not __call__, which is traced
    if not module.training or keep == 1:
        return bool((out == 1).all())
    kept = out[:, 0] != 0
    spread = (keep * (1 - keep) / 400) ** 0.5
    values = torch.where(kept, 1 / keep, 0.0)[:, None]
    return bool(torch.allclose(out, values.expand_as(out)) and abs(float(kept.double().mean()) - keep) < 5 * spread)


def _dropped_share(module: Any) -> float:
    return float(getattr(module, "p", getattr(module, "drop_prob", 0.0)) or 0.0)


def dropped_function(reader: Reader, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    """``F.dropout``."""
    value = reader.value(x, "dropout")
    if not training or p == 0:
        return value
    if THERE in value.axes:
        return pairs_dropped(reader, value, p, "d")
    return _with_factors(reader, value, p, "d_1")


def otherwise_dropped(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """Factors for a neuron at all positions, or with other values than 0: known after ``eval()``, where they are not there."""
    if module.training and module.p != 0:
        reader.refuse(
            name,
            "drops a neuron at all positions, or puts another number than 0 in its place, which has no rule in training mode; call eval(), or use Dropout",
        )
    return reader.value(x, name)


MODULES: dict[str, Rule] = {
    "Dropout": dropped,
    **dict.fromkeys(("Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"), otherwise_dropped),
}
FUNCTIONS: dict[str, Rule] = {"dropout": dropped_function}
