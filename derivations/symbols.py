r"""The notation table as code: each shared symbol once, with its assumptions and its LaTeX.

========== ================= ==========================================================
symbol     LaTeX             meaning
========== ================= ==========================================================
depth      :math:`L`         number of layers
width      :math:`n`         neurons in a layer
time       :math:`t`         depth in units of the limit, :math:`t = \ell / L` for a ResNet
step       :math:`\varepsilon` the small parameter of a layer; one layer takes :math:`\varepsilon^2` units of time
state      :math:`x`         one neuron's pre-activation, one input
initial    :math:`x_0`       the state at :math:`t = 0`
noise      :math:`u`         one neuron's centred Gaussian pre-activation :math:`(W\psi(x) + b)_i`
shift      :math:`m`         what the means of weights and biases add to it
========== ================= ==========================================================
"""

from __future__ import annotations

import sympy as sp

depth = sp.Symbol("L", integer=True, positive=True)
width = sp.Symbol("n", integer=True, positive=True)
time = sp.Symbol("t", positive=True)
step = sp.Symbol("varepsilon", positive=True)
state = sp.Symbol("x", real=True)
initial = sp.Symbol("x_0", real=True)
noise = sp.Symbol("u", real=True)
shift = sp.Symbol("m", real=True)
correlation = sp.Symbol("rho", real=True)


def input_symbols(stem: sp.Symbol, inputs: int) -> tuple[sp.Symbol, ...]:
    r"""One real symbol per network input: :math:`x` for one, :math:`x^{1}, x^{2}, \dots` for several.

    Examples
    --------
    >>> input_symbols(state, 2)
    (x^1, x^2)
    """
    if inputs == 1:
        return (stem,)
    return tuple(sp.Symbol(f"{stem.name}^{a}", real=True) for a in range(1, inputs + 1))


def neuron_symbols(stem: sp.Symbol, width: int, inputs: int) -> tuple[sp.Symbol, ...]:
    r"""One real symbol per neuron and input, neuron by neuron: :math:`x_1, x_2, \dots` or :math:`x_1^1, x_1^2, \dots`.

    Examples
    --------
    >>> neuron_symbols(state, 2, 1)
    (x_1, x_2)
    >>> neuron_symbols(state, 1, 1)
    (x,)
    """
    if width == 1:
        return input_symbols(stem, inputs)
    over = [""] if inputs == 1 else [f"^{a}" for a in range(1, inputs + 1)]
    return tuple(sp.Symbol(f"{stem.name}_{i}{a}", real=True) for i in range(1, width + 1) for a in over)
