"""Whether a layer's functions grow at most linearly, so that fields keep their moments while they are trained."""

from __future__ import annotations

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.piecewise import analyse
from derivations.symbols import state

#: In place of averages, on whose values growth does not depend.
_SOME = sp.Rational(7, 5)


def require_linear_growth(expr: sp.Expr, neurons: set[sp.Symbol]) -> None:
    """Require that a formula is defined for all values of a neuron's numbers, without infinite slopes, and grows at most linearly in them.

    Raises
    ------
    DerivationError
        Naming the part that does not, or of which it is not known.
    """
    own = sorted(expr.free_symbols & neurons, key=sp.default_sort_key)
    if all(not sp.diff(expr, x).free_symbols & neurons for x in own):
        return
    if expr.is_Add:
        for term in expr.args:
            require_linear_growth(term, neurons)
        return
    if len(own) > 1:  # a function of one linear combination
        sums = {
            e for e in sp.preorder_traversal(expr) if e.is_Add and set(own) <= e.free_symbols and _is_linear(e, own)
        }
        inside = max(sums, key=sp.count_ops, default=None)
        opened = expr if inside is None else expr.xreplace({inside: state})
        if len(opened.free_symbols & (neurons | {state})) != 1:
            raise DerivationError(
                f"{brief(expr)} is a product of several of a neuron's numbers and grows faster than linearly, or is not seen not to: "
                "fields then have heavy tails while they are trained; leave out gates"
            )
        return require_linear_growth(opened, neurons | {state})
    (x,) = own
    found = analyse(expr.xreplace({s: _SOME for s in expr.free_symbols - {x}} | {x: state}), state)
    if found.poles or found.intervals != ((-sp.oo, sp.oo),):
        raise DerivationError(f"{brief(found.expr)} is not defined for all real numbers, and neurons take all of them")
    if any(q is not None and q < 1 for p in (*found.zeros, *found.kinks) for q in p.orders):
        raise DerivationError(
            f"the slope of {brief(found.expr)} is infinite at a point, and gradients have no second moments"
        )
    powers, what = _powers(found.expr), "grows faster than linearly"
    if None in powers:  # it oscillates: bounded slopes are enough
        what = "has slopes that are not bounded"
        powers = [None if p is None else p + 1 for p in _powers(_without_waves(sp.diff(found.expr, state)))]
    if None in powers:
        raise DerivationError(
            f"how fast {brief(found.expr)} grows is not known, and fields must keep their moments while they are trained; take another function"
        )
    if any(p is not None and p > 1 for p in powers):
        raise DerivationError(
            f"{brief(found.expr)} {what}: fields then have heavy tails while they are trained; take a function with bounded slopes"
        )


def _powers(expr: sp.Expr) -> list[sp.Expr | None]:
    """How a function grows at both ends; None where that is not known."""
    found = analyse(expr, state)
    return [found.growth(end).exponent for end in (sp.oo, -sp.oo)]


def _without_waves(expr: sp.Expr) -> sp.Expr:
    """With numbers, no two of them equal, in place of sines and cosines, which are bounded."""
    waves = sorted(expr.atoms(sp.sin, sp.cos), key=sp.default_sort_key)
    return expr.xreplace({wave: 1 + sp.Rational(1, k + 3) for k, wave in enumerate(waves)})


def _is_linear(expr: sp.Expr, own: list[sp.Symbol]) -> bool:
    return not any(sp.diff(expr, x).free_symbols & set(own) for x in own)
