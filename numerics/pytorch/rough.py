"""How large a formula is, roughly, where the neurons of the state are standard normal: whether a small number beside it counts."""

from __future__ import annotations

import numpy as np
import sympy as sp

from derivations.language.nodes import Applied, Average, Other, OverPositions, Rotary
from derivations.piecewise.cases import Cases, outermost
from derivations.symbols import state

#: Draws that stand for the neurons.
_DRAWS = 256


def rough_mean(expr: sp.Expr) -> float:
    """The mean over the neurons of a formula, to a factor that matters for orders of magnitude alone.

    What matrices put out is taken as independent normal numbers, averages as means, and shares and masks of positions as 1, as are other symbols.
    Not finite where a variance is not.
    """
    return float(np.mean(_values(expr, np.random.default_rng(0))))


def _values(expr: sp.Expr, rng: np.random.Generator) -> np.ndarray:
    nodes = outermost(expr)
    names = {node: sp.Dummy() for node in nodes}
    body = expr.xreplace(names).replace(Cases, lambda *parts: sp.Piecewise(*parts))
    given = {state: rng.standard_normal(_DRAWS), **{names[node]: _drawn(node, rng) for node in nodes}}
    others = [s for s in body.free_symbols if s not in given]
    function = sp.lambdify([*given, *others], body, ["numpy", "scipy"])
    with np.errstate(all="ignore"):
        return np.asarray(function(*given.values(), *[1.0] * len(others)), dtype=float) * np.ones(_DRAWS)


def _drawn(node: sp.Basic, rng: np.random.Generator) -> np.ndarray:
    if isinstance(node, Applied):
        return rng.standard_normal(_DRAWS) * _spread(node, rng)
    if isinstance(node, Average):
        inside = _values(node.body, rng)
        root = rng.standard_normal(_DRAWS) * np.sqrt(np.mean(inside**2))
        return root if node.power != 1 else np.full(_DRAWS, np.mean(inside))
    if isinstance(node, Other | OverPositions | Rotary):
        return _values(node.body, rng)
    return np.ones(_DRAWS)


def _spread(node: Applied, rng: np.random.Generator) -> float:
    variance, bias = (complex(v.evalf()).real for v in (node.weights.variance, node.weights.bias_variance))
    return float(np.sqrt(variance * np.mean(_values(node.body, rng) ** 2) + bias))
