"""Gaussian means in code that SymPy prints: the node travels as its text, and is evaluated where the code runs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mpmath as mp
import sympy as sp
from sympy.functions.elementary.piecewise import ExprCondPair

from derivations.constants import Constant, Whole
from derivations.gaussian.joint import GaussianJointExpectation
from derivations.gaussian.pair import GaussianPairExpectation
from derivations.gaussian.single import GaussianExpectation
from derivations.gaussian.softmax import SoftmaxMean
from derivations.piecewise.continued import Continued, Positive
from derivations.special import ExpertGate


def gaussian_value(text: str, *values: Any) -> mp.mpf:
    """A mean at numbers for its parameters, to mpmath's working precision.

    Examples
    --------
    >>> from derivations.gaussian import expect
    >>> x, s = sp.Symbol("x", real=True), sp.Symbol("s", positive=True)
    >>> mp.nstr(gaussian_value(sp.srepr(sp.Tuple(expect(sp.tanh(x) ** 2, x, s), s)), 1), 12)
    '0.394294490398'
    """
    node, *parameters = read_node(text)
    numbers = [value if isinstance(value, sp.Expr) else _exact(value) for value in values]
    found = node.xreplace(dict(zip(parameters, numbers, strict=True)))._eval_evalf(mp.mp.prec)
    if found is None:
        raise ValueError(
            f"a Gaussian mean needs numbers for its parameters, got {values} for {tuple(parameters)}, and one or two dimensions"
        )
    return found._to_mpmath(mp.mp.prec)


def _exact(value: Any) -> sp.Expr:
    """A float or mpmath's number as the binary fraction that it is."""
    return sp.Rational(*map(int, mp.libmp.to_rational(mp.mpf(value)._mpf_)))


@lru_cache(maxsize=64)
def read_node(text: str) -> sp.Tuple:
    """A node and its parameters from their text."""
    means = (GaussianExpectation, GaussianPairExpectation, GaussianJointExpectation, SoftmaxMean)
    known = (*means, Continued, Positive, ExpertGate)
    names = {c.__name__: c for c in known}
    made: sp.Tuple = eval(
        text, {**vars(sp), "ExprCondPair": ExprCondPair, "Constant": Constant, "Whole": Whole, **names}
    )  # what srepr wrote; sympify would number the dummies anew
    return made
