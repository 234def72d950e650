r"""One jit kernel a network layer, exact in law: pre-activations drawn where they are used.

The kernel takes ``(x, layers, size, rng)`` with x of shape (networks, n, m), :math:`\varepsilon` = ``size``, and moves x
through a number of layers in place. Normals come network by network, neuron by neuron, in the order in which the
array code draws a layer.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import sympy as sp

from derivations.architectures import Layer
from derivations.symbols import noise, shift, state, step
from numerics.compile.jit import Kernel, compiled_kernel, printed_function, warmed
from numerics.compile.jit_paths import factor_lines, indented, lower_triangle


def layer_source(layer: Layer, inputs: int) -> str:
    r"""The source of the kernel of a layer: :math:`x_i' = f(x_i, u_i, m, \varepsilon)` with :math:`u_i \sim N(0, G)`.

    Two passes over the neurons: one for G and the means, one that draws and moves.

    Raises
    ------
    ValueError
        If the layer reads a grid of positions: the array code draws it.
    """
    pre = layer.preactivation
    if pre.taps:
        raise ValueError("no jit kernel for layers over a grid of positions")
    pairs = lower_triangle(inputs)
    numbers = (pre.weight_variance, pre.bias_variance, pre.weight_mean, pre.bias_mean)
    functions = [
        printed_function("inner", (pre.inner.variable,), [pre.inner.expr]),
        printed_function("update", (state, noise, shift, step), [layer.update]),
        printed_function("numbers", (), numbers),
    ]
    features = [f"f{a} = inner(x[s, i, {a}])[0]" for a in range(inputs)]
    features += [f"g{a}_{b} += f{a}*f{b}" for a, b in pairs]
    zeros = [f"g{a}_{b} = 0.0" for a, b in pairs]
    means = [f"m{a} = bias_mean" for a in range(inputs)]
    if pre.weight_mean != 0:
        zeros += [f"e{a} = 0.0" for a in range(inputs)]
        features += [f"e{a} += f{a}" for a in range(inputs)]
        means = [f"m{a} = bias_mean + weight_mean*(e{a}/n)" for a in range(inputs)]
    entries = {(a, b): f"(g{a}_{b}*(weight_variance/n) + bias_variance)" for a, b in pairs}
    move = [f"z{a} = rng.standard_normal()" for a in range(inputs)]
    for a in range(inputs):
        drawn = " + ".join(f"l{a}_{b}*z{b}" for b in range(a + 1))
        move.append(f"x[s, i, {a}] = update(x[s, i, {a}], {drawn}, m{a}, size)[0]")
    return (
        "\n\n\n".join(functions)
        + f"""


def kernel(x, layers, size, rng):
    count, n, _ = x.shape
    weight_variance, bias_variance, weight_mean, bias_mean = numbers()
    for layer in range(layers):
        for s in range(count):
            {indented(zeros, 3)}
            for i in range(n):
                {indented(features, 4)}
            {indented([*means, *factor_lines(inputs, entries)], 3)}
            for i in range(n):
                {indented(move, 4)}
"""
    )


@lru_cache(maxsize=64)
def layer_kernel(layer: Layer, inputs: int) -> Kernel:
    """The compiled kernel of a layer whose variances and means are numbers."""
    pre = layer.preactivation
    numbers = sp.Tuple(pre.weight_variance, pre.bias_variance, pre.weight_mean, pre.bias_mean)
    if numbers.free_symbols:
        raise ValueError(f"expected numbers for variances and means, got {numbers}")
    kernel = compiled_kernel(layer_source(layer, inputs))
    return warmed(kernel, np.ones((1, 1, inputs)), 0, 0.0, np.random.Generator(np.random.SFC64(0)))
