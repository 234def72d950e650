"""The width where a formula says it: in a factor or a variance, not as a number of neurons."""

from __future__ import annotations

import sympy as sp

from derivations.language.weights import Weights
from derivations.symbols import width


def with_width(expr: sp.Expr, value: sp.Expr) -> sp.Expr:
    r"""A layer with a value in the place of the width n; how many neurons a matrix puts out stays said in n.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> A = Weights("A", out=4 * width, variance=1 + 1 / width)
    >>> with_width(A(state) / sp.sqrt(width), sp.Integer(9)).args[0]
    1/3
    >>> [(w.out, w.variance) for w in with_width(A(state) / width, sp.Integer(9)).atoms(Weights)]
    [(4*n, 10/9)]
    """
    neurons = sp.Dummy("n", integer=True, positive=True)
    held = {w: w.func(w.args[0], w.out.xreplace({width: neurons}), *w.args[2:]) for w in expr.atoms(Weights)}
    return expr.xreplace(held).xreplace({width: value}).xreplace({neurons: width})
