r"""The share that one expert of a mixture has of an input: a softmax, over all experts or over the few with the largest scores (top-k gating)."""

from __future__ import annotations

from typing import Any

import sympy as sp

from derivations.binding import leading_term
from derivations.errors import DerivationError


class ExpertGate(sp.Function):
    r"""The share of an expert with the score s among others with the scores :math:`s_f`, of which the k largest are used.

    It is 0 where k others have larger scores. Else it is :math:`e^s / \sum_f e^{s_f}`, over all that are used, or over all experts.
    If not all are used, it jumps where an expert comes in, so that it has no derivative.

    Parameters
    ----------
    kept : Integer
        k, from 1 to the number of experts.
    renormalised : Integer
        1 where shares of those that are used add up to 1, 0 where shares are those of a softmax over all.
    score : Expr
        s.
    *others : Expr
        The scores of the others, in any order.

    Examples
    --------
    >>> a, b, c = sp.symbols("a b c", real=True)
    >>> ExpertGate(1, 1, a, b, c) == ExpertGate(1, 1, a, c, b)
    True
    >>> [ExpertGate(2, 1, *scores).evalf(3) for scores in ((0, 1, -1), (-1, 0, 1))]
    [0.269, 0]
    """

    is_extended_nonnegative = True
    is_finite = True

    @classmethod
    def eval(cls, kept: sp.Integer, renormalised: sp.Integer, score: sp.Expr, *others: sp.Expr) -> sp.Expr | None:
        """The order of the others says nothing, nor does where the shares of all are a softmax; different numbers have their value."""
        if kept == len(others) + 1 and renormalised == 0:
            return cls(kept, sp.S.One, score, *others)
        tied = kept < len(others) + 1 and len({score, *others}) <= len(others)
        if not tied and all(s.is_number and s.is_extended_real for s in (score, *others)):
            return _written(kept, renormalised, score, others)
        ordered = sorted(others, key=sp.default_sort_key)
        return None if list(others) == ordered else cls(kept, renormalised, score, *ordered)

    def explicit(self) -> sp.Expr:
        """By comparisons of two scores each, and exponentials of their differences, which stay in range."""
        kept, renormalised, score, *others = self.args
        if self.jumps and len({*self.args[2:]}) < len(self.args) - 2:
            raise DerivationError(
                f"which {kept} of {len(others) + 1} experts are used is not known where scores are equal, as here: {', '.join(map(str, self.args[2:]))}"
            )
        return _written(kept, renormalised, score, others)

    @property
    def jumps(self) -> bool:
        """Whether not all experts are used."""
        return bool(self.args[0] < len(self.args) - 2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """By a score."""
        if self.jumps:
            raise DerivationError(
                f"the choice of the {self.args[0]} largest of {len(self.args) - 2} scores jumps where an expert comes in, and has no derivative; let "
                "all experts take part, without top="
            )
        *how, score = self.args[:3]
        if argindex == 3:
            return self * (1 - self)
        others = list(self.args[3:])
        moved = others.pop(argindex - 4)
        return -self * self.func(*how, moved, score, *others)

    def _eval_power(self, power: sp.Expr) -> sp.Expr | None:
        """One expert's share is 0 or 1 if it is the only one that is used."""
        alone = self.args[0] == 1 and self.args[1] == 1
        return self if alone and power.is_Integer and power.is_positive else None

    def _eval_as_leading_term(self, x: sp.Symbol, logx: sp.Expr | None = None, cdir: int = 0) -> sp.Expr:
        return leading_term(self, x)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        value = self.func(*self.args[:2], *(s.evalf(prec) for s in self.args[2:]))
        return None if isinstance(value, ExpertGate) else value._eval_evalf(prec)

    def _numpycode(self, printer: Any, **settings: Any) -> str:
        return f"({printer._print(self.explicit())})"

    _pythoncode = _mpmathcode = _numpycode

    def _sympystr(self, printer: Any) -> str:
        score, *others = map(printer._print, self.args[2:])
        return f"{'_'.join(self._words)}({score} | {', '.join(others)})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        score, *others = map(printer._print, self.args[2:])
        power = "" if exp is None else f"^{{{exp}}}"
        name = r"\,".join(self._words)
        return rf"\operatorname{{{name}}}{power}\left({score} \mid {', '.join(others)}\right)"

    def _typst(self, printer: Any) -> str:
        score, *others = map(printer._print, self.args[2:])
        return f'op("{" ".join(self._words)}")({score} | {", ".join(others)})'

    @property
    def _words(self) -> tuple[str, ...]:
        """What the share is called in print: of a softmax over all, or over the k largest."""
        if not self.jumps:
            return ("softmax",)
        return (f"top{self.args[0]}", "softmax") if self.args[1] == 1 else ("softmax", f"top{self.args[0]}")


def _written(kept: sp.Expr, renormalised: sp.Expr, score: sp.Expr, others: Any) -> sp.Expr:
    every = [score, *others]
    used = [_is_used(s, every[:i] + every[i + 1 :], kept) for i, s in enumerate(every)]
    shares = [u if renormalised == 1 else sp.S.One for u in used]
    return used[0] / sp.Add(*(share * sp.exp(s - score) for share, s in zip(shares, every, strict=True)))


def _is_used(score: sp.Expr, others: list[sp.Expr], kept: sp.Expr) -> sp.Expr:
    """1 where less than k others are larger, else 0."""
    larger = sp.Add(*(sp.Piecewise((1, other > score), (0, True)) for other in others))
    return sp.Max(0, sp.Min(1, kept - larger))
