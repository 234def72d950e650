r"""The flows of kernels over pairs as one machine-code loop, printed from the derived rates and the closed means of the array code.

The kernel takes ``(t, left, right, kernels, limit, least, speed)``: the depth, the values of rows and of columns, a row a symbol, K and perhaps Θ
stacked, the largest correlation and the least variance that the means may see, and where the rates of change go. They are the array
code's, pair by pair, without its temporaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import sympy as sp

from derivations.kernels.means import PAIR
from numerics.compile.jit import Kernel, compiled_kernel, printed_function, warmed


class JointLaw(NamedTuple):
    """Means over one pair of centred neurons.

    Parameters
    ----------
    law : three Expr
        Both variances and the covariance between them.
    names : tuple of Symbol
    products : tuple of Expr
        The means, in ``PAIR``.
    """

    law: tuple[sp.Expr, ...]
    names: tuple[sp.Symbol, ...]
    products: tuple[sp.Expr, ...]


def pair_source(
    symbols: tuple[Sequence[sp.Symbol], Sequence[sp.Symbol], Sequence[sp.Symbol]],
    laws: Sequence[JointLaw],
    rates: Sequence[sp.Expr],
) -> str:
    """The source of the rates of a pair.

    Parameters
    ----------
    symbols : three sequences of Symbol
        The time and the values of a row; those of a column; those of the pair.
    laws : sequence of JointLaw
        Each may hold the means of earlier ones.
    rates : sequence of Expr
        Of the values of the pair.
    """
    first, second, both = symbols
    known = [*first, *second, *both]
    given = ["t", *(f"left[{k}, i]" for k in range(len(first) - 1))]
    given += [*(f"right[{k}, j]" for k in range(len(second))), *(f"kernels[{k}, i, j]" for k in range(len(both)))]
    functions, lines = [], []
    for k, (law, names, products) in enumerate(laws):
        functions += [printed_function(f"law{k}", known, law), printed_function(f"means{k}", PAIR, products)]
        lines += [
            f"v, c, w = law{k}({', '.join(given)})",
            "v, w = max(v, least), max(w, least)",
            "most = sqrt(v)*sqrt(w)*limit",
            f"mean{k} = means{k}(v, min(max(c, -most), most), w)",
        ]
        known += names
        given += [f"mean{k}[{i}]" for i in range(len(names))]
    functions.append(printed_function("rates", known, rates))
    lines.append(f"rate = rates({', '.join(given)})")
    lines += [f"speed[{k}, i, j] = rate[{k}]" for k in range(len(rates))]
    body = "\n            ".join(lines)
    return (
        "\n\n\n".join(functions)
        + f"""


def kernel(t, left, right, kernels, limit, least, speed):
    for i in range(left.shape[1]):
        for j in range(right.shape[1]):
            {body}
"""
    )


@lru_cache(maxsize=64)
def pair_kernel(
    symbols: tuple[tuple[sp.Symbol, ...], ...], laws: tuple[JointLaw, ...], rates: tuple[sp.Expr, ...]
) -> Kernel:
    """The compiled kernel."""
    first, second, both = symbols
    left, right = np.empty((len(first) - 1, 0)), np.empty((len(second), 0))
    pairs = np.empty((len(both), 0, 0))
    return warmed(
        compiled_kernel(pair_source((first, second, both), laws, rates)), 0.0, left, right, pairs, 1.0, 0.0, pairs
    )
