"""One share of a softmax, as a function of its scores."""

from __future__ import annotations

import sympy as sp
from sympy.core.function import ArgumentIndexError


class SoftmaxShare(sp.Function):
    r"""The share :math:`m_k e^{y_k}/\sum_j m_j e^{y_j}` of one of p positions, whole while derivatives are taken.

    Parameters
    ----------
    place : Integer
        k, from 0 on.
    *numbers : Expr
        The p factors m, and the p scores y.
    """

    is_extended_nonnegative = True
    is_finite = True

    @classmethod
    def eval(cls, place: sp.Integer, *numbers: sp.Expr) -> sp.Expr | None:
        """Where all scores are equal."""
        masks, scores = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        return masks[int(place)] / sp.Add(*masks) if len(set(scores)) == 1 else None

    @property
    def masks(self) -> tuple[sp.Expr, ...]:
        """The factors."""
        return tuple(self.args[1 : 1 + len(self.args) // 2])

    @property
    def scores(self) -> tuple[sp.Expr, ...]:
        """The scores."""
        return tuple(self.args[1 + len(self.args) // 2 :])

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """By a score."""
        place, *numbers = self.args
        p = len(numbers) // 2
        if argindex <= p + 1:
            raise ArgumentIndexError(self, argindex)
        other = self.func(argindex - p - 2, *numbers)
        return self * (int(argindex - p - 2 == place) - other)

    def explicit(self) -> sp.Expr:
        """In exponentials of differences, which stay in range where exponentials of scores do not."""
        place, *numbers = self.args
        masks, scores = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        own = scores[int(place)]
        return masks[int(place)] / sp.Add(*(m * sp.exp(y - own) for m, y in zip(masks, scores, strict=True)))
