r"""The mean of a new state's Gram matrix given the layer before, where one matrix puts out the new state."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import sympy as sp

from derivations.language import Program
from derivations.language.entries import Correlated
from derivations.language.statements import Back, Mask, Matrix, Mix
from derivations.symbols import state
from numerics.compile.programs import CompiledProgram, Rules, Values, matrix_applied


def output_matrix(program: Program) -> Matrix:
    """The statement whose matrix puts out the new state.

    Raises
    ------
    ValueError
        If the update is anything else, the matrix is applied once more, on which its output would depend, or its entries are correlated.
    """
    drawn = {s.symbol: s for s in program.statements if isinstance(s, Matrix) and not s.weights.is_mean}
    found = [s for symbol, s in drawn.items() if symbol in program.update.free_symbols]
    masks = {s.symbol for s in program.statements if isinstance(s, Mask | Mix | Back)}
    neurons = {state, *drawn, *masks}
    applied = Counter(s.weights for s in drawn.values())
    if len(found) == 1 and applied[found[0].weights] == 1 and not isinstance(found[0].weights.law, Correlated):
        (last,) = found
        coefficient = sp.diff(program.update, last.symbol)
        rest = program.update.subs(last.symbol, 0)
        if not (coefficient.free_symbols | rest.free_symbols) & neurons:
            return last
    raise ValueError(
        "given the layer before, the Gram matrix has a mean by itself where the new state is the output of one matrix applied once, "
        f"of uncorrelated entries, got the "
        f'update {program.update}; use record="gram" or "gap", which are of the states themselves'
    )


def conditional_rows(layer: CompiledProgram, values: Values | None, size: float, rules: Rules) -> Any:
    """Rows whose Gram matrix is the mean of the new states' given the layer before: features, bias and mean of its matrix."""
    assert values is not None
    last = output_matrix(layer.program)
    numbers, update, u = layer.numbers[last.weights], layer.program.update, last.symbol
    features = rules.features(last.weights, rules.evaluated(last.body, values, size, int(last.source.size)))
    biased = np.ones(features.shape[2]) if rules.biased is None else rules.biased
    bias = np.broadcast_to(np.sqrt(numbers.bias_variance) * biased, (len(features), 1, len(biased)))
    centred = np.concatenate([features * np.sqrt(numbers.variance / numbers.columns), bias], axis=1)
    mean = matrix_applied(None, features, rules.biased, numbers)[:, :1]
    here = {s: rules.form(rules.columns(v)[:, :1]) for s, v in values.items()} | {u: rules.form(mean)}
    scaled = sp.diff(update, u) * u
    rows = [
        rules.evaluated(scaled, here | {u: rules.form(centred)}, size, centred.shape[1]),
        rules.evaluated(update, here, size, 1),
    ]
    return rules.form(np.concatenate([rules.columns(part) for part in rows], axis=1))
