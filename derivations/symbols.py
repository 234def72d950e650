r"""The notation table as code: each shared symbol once, with its assumptions and its LaTeX.

========== =================== ==========================================================
symbol     LaTeX               meaning
========== =================== ==========================================================
depth      :math:`L`           number of layers
width      :math:`n`           neurons in a layer
time       :math:`t`           depth in units of the limit, :math:`t = \ell / L` for a ResNet
step       :math:`\varepsilon` the small parameter of a layer; one layer takes :math:`\varepsilon^2` units of time
state      :math:`x`           one neuron's pre-activation, one input
initial    :math:`x_0`         the state at :math:`t = 0`
noise      :math:`u`           one neuron's centred Gaussian pre-activation :math:`(W\psi(x) + b)_i`
shift      :math:`m`           what the means of weights and biases add to it
========== =================== ==========================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import sympy as sp

from derivations.errors import DerivationError

depth = sp.Symbol("L", integer=True, positive=True)
width = sp.Symbol("n", integer=True, positive=True)
time = sp.Symbol("t", positive=True)
step = sp.Symbol("varepsilon", positive=True)
state = sp.Symbol("x", real=True)
initial = sp.Symbol("x_0", real=True)
noise = sp.Symbol("u", real=True)
shift = sp.Symbol("m", real=True)
correlation = sp.Symbol("rho", real=True)
#: The letter of the Gram matrix; and that of one input, its mean square over the neurons.
GRAM = "V"
mean_square = sp.Symbol(GRAM, positive=True)


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


#: Names in results, with what they stand for and the assumptions under which they do; None for any.
_TAKEN: tuple[tuple[str, str, tuple[str, ...] | None], ...] = (
    (r"x(_\d+)?(\^\d+)?", "a neuron's state", None),
    (r"varepsilon(_-)?", "the small parameter of a layer", None),
    (r"u(\^\d+)?", "a neuron's pre-activation", ("real",)),
    (r"m(\^\d+)?", "the mean of a pre-activation", ("real",)),
    (r"[KV]|[KV]_\d+|Theta(_\d+)?", "an entry of the Gram matrix or the tangent kernel", ("positive", "real")),
    (r"M(_\d+)?", "the mean of the states", ("real",)),
    (r"q", "the rescaled distance of two inputs", ("positive",)),
    (r"rho", "the correlation of two inputs", ("real",)),
    (r"S", "the squared norm of a layer", ("positive",)),
    (r"Lambda", "the logarithm of a layer's norm", ("real",)),
    (r"Q", "the gradient's norm", ("positive",)),
)


def positive(names: Iterable[str]) -> tuple[sp.Symbol, ...]:
    """Parameters of these names that are positive numbers.

    Examples
    --------
    >>> positive(["g", "s"])
    (g, s)
    """
    return tuple(sp.Symbol(name, positive=True) for name in names)


def require_free_names(what: str, *expressions: sp.Basic, timeless: bool = False) -> None:
    """Refuse parameters that are the same symbols as those in which results are written.

    Parameters
    ----------
    what : str
        What has the parameters.
    *expressions : Basic
        Where they occur, without the symbols that are meant as those of the table.
    timeless : bool
        Whether the limit's time, which a variance may depend on, is refused too.

    Raises
    ------
    DerivationError
        If a parameter has the name and assumptions of such a symbol.

    Examples
    --------
    >>> require_free_names("the activation", sp.Symbol("x_1", real=True) * 2)
    Traceback (most recent call last):
    derivations.errors.DerivationError: the parameter x_1 of the activation has the name of a neuron's state; rename it
    """
    for symbol in sorted(set().union(*(expr.free_symbols for expr in expressions)), key=str):
        meaning = "the limit's time" if timeless and symbol == time else _meaning(symbol)
        if meaning:
            raise DerivationError(f"the parameter {symbol} of {what} has the name of {meaning}; rename it")


def _meaning(symbol: sp.Symbol) -> str | None:
    if isinstance(symbol, sp.Dummy):
        return None
    for pattern, meaning, assumptions in _TAKEN:
        if re.fullmatch(pattern, symbol.name) and (
            assumptions is None or any(symbol == sp.Symbol(symbol.name, **{name: True}) for name in assumptions)
        ):
            return meaning
    return None
