"""The size of a branch that is added to the state, wherever the sum stands.

Inside a norm, as after-norm blocks have it, ``rms_norm(x + A(relu(x)))``, or read by a later branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy as sp

from derivations.errors import NoLimit, NotClosed
from derivations.language import Program
from derivations.language.statements import Back, Mask, Matrix, Mean, Mix
from derivations.limits.elimination.moments import LayerMoments
from derivations.symbols import state


def with_branch_size(program: Program, size: sp.Symbol) -> Program | None:
    """The layer with a factor in front of what is drawn and added to the state, if it rests where that is 0; else None.

    A sum is one of a skip and a branch where a summand is the state, up to averages, once branches inside it are 0. The same sums are
    changed wherever they stand: in the new state, in the norms, and in what a later branch reads, which is a part of the sum.

    Parameters
    ----------
    program : Program
        Without small parameters.
    size : Symbol
    """
    drawn = _drawn(program)
    changed: dict[sp.Expr, sp.Expr] = {}
    sums = {part for s in program.statements for part in getattr(s, "body", state).atoms(sp.Add)}

    def scaled(total: sp.Expr) -> sp.Expr:
        still = [term.xreplace({size: sp.S.Zero}) for term in total.args]
        if not any(_is_skip(term, drawn) for term in still):
            return total
        kept: list[sp.Expr] = []
        branches: dict[frozenset[sp.Expr], list[sp.Expr]] = {}
        for term, rest in zip(total.args, still, strict=True):
            if _is_free(rest, drawn):
                kept.append(term)
            else:  # what is read together, as the heads of an attention are, is one branch
                read = frozenset(part for part in sums if term in part.args and set(part.args) < set(total.args))
                branches.setdefault(read, []).append(term)
        return sp.Add(*kept, *(size * sp.Add(*terms) for terms in branches.values()))

    def visited(body: sp.Expr) -> sp.Expr:
        """From the inside out, so that a later branch finds the state behind an earlier norm."""
        if not body.args or body in changed:
            return changed.get(body, body)
        new = body.func(*map(visited, body.args))
        if new.is_Add:
            new = changed.setdefault(body, scaled(new))
        return new

    update = visited(program.update)
    if update == program.update:
        return None
    for part in [part for part in sums if _is_part(part, changed)]:
        visited(part)
    norms = {s.symbol: visited(s.body) for s in program.statements if isinstance(s, Mean) and update.has(s.symbol)}
    statements = tuple(
        replace(s, body=norms.get(s.symbol, s.body.xreplace(changed))) if hasattr(s, "body") else s
        for s in program.statements
    )
    found = replace(program, statements=statements, update=update)
    try:
        LayerMoments(found, 1, infinite=True, order=0).at_rest()
    except (NoLimit, NotClosed):
        return None
    return found


def _is_part(part: sp.Expr, sums: Mapping[sp.Expr, sp.Expr]) -> bool:
    """Whether a sum has some of the summands of another one."""
    return part not in sums and any(total.is_Add and set(part.args) < set(total.args) for total in sums)


def _drawn(program: Program) -> set[sp.Symbol]:
    """The symbols of what is drawn, and of sums of it over positions."""
    found: set[sp.Symbol] = set()
    for s in program.statements:
        if isinstance(s, Matrix | Back | Mask) or (isinstance(s, Mix) and s.body.free_symbols & found):
            found.add(s.symbol)
    return found


def _is_free(term: sp.Expr, drawn: set[sp.Symbol]) -> bool:
    return not term.free_symbols & drawn


def _is_skip(term: sp.Expr, drawn: set[sp.Symbol]) -> bool:
    """Whether a summand is the state times numbers of the layer."""
    return _is_free(term, drawn) and bool(term.has(state)) and not sp.diff(term, state).has(state)
