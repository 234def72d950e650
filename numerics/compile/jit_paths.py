r"""One jit kernel a diffusion: steps outside, the paths of a block inside, normals drawn where they are used.

A kernel takes ``(x, time, h, steps, rng)``, x with the paths along its last axis, and moves x in place. Each step draws
its normals row by row, a row being one coordinate of all paths of the block: the order in which the array schemes
draw, so that both give the same numbers to rounding.
"""

from __future__ import annotations

from functools import lru_cache, singledispatch
from typing import Any

import numpy as np
import sympy as sp

from derivations.diffusion import Diffusion, NeuronDiffusion
from derivations.errors import kind_of
from derivations.limits import CollapseDiffusion
from derivations.sums import CoordinateSum
from numerics.compile.centred_sums import centred_sums
from numerics.compile.jit import Kernel, compiled_kernel, printed_function, warmed

_LARGEST_FACTOR = 16  # states whose factor is written out, in size³/6 lines


@singledispatch
def euler_source(limit: Any) -> str:
    r"""The source of the Euler–Maruyama kernel of a limit.

    Raises
    ------
    ValueError
        If the limit has no jit kernel: the array scheme steps it.
    """
    raise ValueError(f"no jit kernel for {kind_of(limit)}")


@lru_cache(maxsize=64)
def euler_kernel(limit: Diffusion | NeuronDiffusion) -> Kernel:
    """The compiled Euler–Maruyama kernel: of x of shape (states, paths), or (neurons, inputs, paths) for neurons."""
    kernel = compiled_kernel(euler_source(limit))
    shape = (1, limit.inputs, 1) if isinstance(limit, NeuronDiffusion) else (len(limit.states), 1)
    return warmed(kernel, np.ones(shape), 0.0, 1.0, 0, np.random.Generator(np.random.SFC64(0)))


@euler_source.register
def _(limit: CollapseDiffusion) -> str:
    raise ValueError("the coefficients are singular at t = 0, where paths start")


@euler_source.register
def _(limit: Diffusion) -> str:
    size = len(limit.states)
    diagonal = limit.covariance.is_diagonal()
    pairs = [(k, k) for k in range(size)] if diagonal else lower_triangle(size)
    coefficients = printed_function(
        "coefficients", (*limit.states, limit.time), [*limit.drift, *(limit.covariance[pair] for pair in pairs)]
    )
    here = ", ".join([*(f"x[{k}, s]" for k in range(size)), "t"])
    body = [f"c = coefficients({here})"]
    if diagonal:
        body += [f"x[{k}, s] += sqrt(max(c[{size + k}]*h, 0.0))*z[{k}, s] + c[{k}]*h" for k in range(size)]
    else:
        body += factor_lines(size, {pair: f"c[{size + n}]*h" for n, pair in enumerate(pairs)})
        body += [f"x[{a}, s] += {_correlated(a, 'z[{}, s]')} + c[{a}]*h" for a in range(size)]
    return f"""{coefficients}


def kernel(x, time, h, steps, rng):
    size, count = x.shape
    z = np.empty((size, count))
    for step in range(steps):
        t = time + step*h
        for k in range(size):
            for s in range(count):
                z[k, s] = rng.standard_normal()
        for s in range(count):
            {indented(body, 3)}
"""


@euler_source.register
def _(limit: NeuronDiffusion) -> str:
    m, pairs = limit.inputs, lower_triangle(limit.inputs)
    covariance = [limit.neuron_covariance[pair] for pair in pairs]
    both, coordinates, columns = centred_sums(sp.Tuple(*covariance, *limit.neuron_drift), limit.neuron)
    sums = sorted(both.atoms(CoordinateSum), key=sp.default_sort_key)
    stand_ins = [sp.Symbol(f"sum_{k}", real=True) for k in range(len(sums))]
    *shared, _ = opened = [e.xreplace(dict(zip(sums, stand_ins, strict=True))) for e in both]
    if any(e.free_symbols & set(coordinates) for e in shared[: len(pairs)]):
        raise ValueError("the covariance of a neuron must be the same for all neurons")
    drift = opened[len(pairs) :]
    functions = [
        printed_function("columns", (*limit.neuron, limit.time), columns),
        printed_function("summands", (*coordinates, limit.time), [s.at(coordinates) for s in sums]),
        printed_function("gram", (*stand_ins, limit.time), opened[: len(pairs)]),
        printed_function("velocity", (*coordinates, *stand_ins, limit.time), drift),
    ]
    totals = [f"total[{k}, s]" for k in range(len(sums))]
    state = [f"x[i, {a}, s]" for a in range(m)]
    neuron = state + [f"c[{k}] - mean[{k}, s]" for k in range(len(columns))]
    own = [f"c = columns({', '.join([*state, 't'])})"] if columns else []
    means = [*own, *(f"mean[{k}, s] += c[{k}]/n" for k in range(len(columns)))] or ["pass"]
    accumulate = [*own, f"f = summands({', '.join([*neuron, 't'])})", *(f"{v} += f[{k}]" for k, v in enumerate(totals))]
    factor = [f"g = gram({', '.join([*totals, 't'])})"]
    factor += factor_lines(m, {pair: f"g[{n}]*h" for n, pair in enumerate(pairs)})
    factor += [f"root[{n}, s] = l{a}_{b}" for n, (a, b) in enumerate(pairs)]
    moved = any(entry != 0 for entry in drift)
    move = [*own, f"v = velocity({', '.join([*neuron, *totals, 't'])})"] if moved else []
    for a in range(m):
        terms = [f"root[{n}, s]*z[{b}, s]" for n, (row, b) in enumerate(pairs) if row == a]
        move.append(f"x[i, {a}, s] += " + " + ".join(terms + ([f"v[{a}]*h"] if moved else [])))
    return (
        "\n\n\n".join(functions)
        + f"""


def kernel(x, time, h, steps, rng):
    n, m, count = x.shape
    total, root, z = np.empty(({len(sums)}, count)), np.empty(({len(pairs)}, count)), np.empty((m, count))
    mean = np.empty(({len(columns)}, count))
    for step in range(steps):
        t = time + step*h
        total[:] = 0.0
        mean[:] = 0.0
        for i in range(n):
            for s in range(count):
                {indented(means, 4)}
        for i in range(n):
            for s in range(count):
                {indented(accumulate, 4)}
        for s in range(count):
            {indented(factor, 3)}
        for i in range(n):
            for k in range(m):
                for s in range(count):
                    z[k, s] = rng.standard_normal()
            for s in range(count):
                {indented(move, 4)}
"""
    )


def lower_triangle(size: int) -> list[tuple[int, int]]:
    """The places of a lower triangle, row by row."""
    return [(a, b) for a in range(size) for b in range(a + 1)]


def factor_lines(size: int, entries: dict[tuple[int, int], str]) -> list[str]:
    """Lines that compute :func:`numerics.linalg.semidefinite_factor` of a small matrix, written out."""
    if size == 1:
        return [f"l0_0 = sqrt(max({entries[0, 0]}, 0.0))"]
    if size > _LARGEST_FACTOR:
        raise ValueError(f"factors are written out up to {_LARGEST_FACTOR} states, got {size}")
    lines = [f"r{a}_{b} = {entries[a, b]}" for a, b in lower_triangle(size)]
    lines += [f"small{j} = {4 * size}*2.220446049250313e-16*r{j}_{j}" for j in range(size)]
    for j in range(size):
        lines.append(f"i{j} = 1.0/sqrt(r{j}_{j}) if r{j}_{j} > small{j} else 0.0")
        lines += [f"l{a}_{j} = r{a}_{j}*i{j}" for a in range(j, size)]
        lines += [f"r{a}_{b} -= l{a}_{j}*l{b}_{j}" for a in range(j + 1, size) for b in range(j + 1, a + 1)]
    return lines


def _correlated(row: int, noise: str) -> str:
    return " + ".join(f"l{row}_{b}*{noise.format(b)}" for b in range(row + 1))


def indented(lines: list[str], depth: int) -> str:
    """Lines of a body at a depth of blocks, the first where it is put."""
    return ("\n" + "    " * depth).join(lines)
