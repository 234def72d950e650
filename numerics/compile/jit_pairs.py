r"""The flows of kernels over pairs as one machine-code loop, printed from the derived rates and the closed means of the array code.

The kernel takes ``(t, left, right, kernels, limit, least, speed)``: the depth, the values of rows and of columns, a row a symbol, K and perhaps Θ
stacked, the largest correlation and the least variance that the means may see, and where the rates of change go. They are the array
code's, pair by pair, without its temporaries.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import sympy as sp

from derivations.kernels.generic_pair import PairFlow
from derivations.kernels.means import PAIR
from derivations.symbols import time
from numerics.compile.jit import Kernel, compiled_kernel, printed_function, warmed


def pair_source(flow: PairFlow, products: tuple[sp.Expr, ...]) -> str:
    """The source of the rates of a pair.

    Parameters
    ----------
    flow : PairFlow
    products : tuple of Expr
        Its means over pairs of centred neurons, in ``PAIR``.
    """
    known = [time, *flow.first, *flow.second, *flow.both]
    given = ["t", *(f"left[{k}, i]" for k in range(len(flow.first)))]
    given += [f"right[{k}, j]" for k in range(len(flow.second))] + [
        f"kernels[{k}, i, j]" for k in range(len(flow.both))
    ]
    functions, lines = [], []
    laws = flow.joint_laws
    for k, law in enumerate(dict.fromkeys(laws)):
        some = [i for i, other in enumerate(laws) if other == law]
        functions += [
            printed_function(f"law{k}", known, law),
            printed_function(f"means{k}", PAIR, [products[i] for i in some]),
        ]
        lines += [
            f"v, c, w = law{k}({', '.join(given)})",
            "v, w = max(v, least), max(w, least)",
            "most = sqrt(v)*sqrt(w)*limit",
            f"mean{k} = means{k}(v, min(max(c, -most), most), w)",
        ]
        known += [flow.pairs[i].name for i in some]
        given += [f"mean{k}[{i}]" for i in range(len(some))]
    functions.append(printed_function("rates", known, flow.pair_rates))
    lines.append(f"rate = rates({', '.join(given)})")
    lines += [f"speed[{k}, i, j] = rate[{k}]" for k in range(len(flow.pair_rates))]
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
def pair_kernel(flow: PairFlow, products: tuple[sp.Expr, ...]) -> Kernel:
    """The compiled kernel."""
    left, right = np.empty((len(flow.first), 0)), np.empty((len(flow.second), 0))
    pairs = np.empty((len(flow.both), 0, 0))
    return warmed(compiled_kernel(pair_source(flow, products)), 0.0, left, right, pairs, 1.0, 0.0, pairs)
