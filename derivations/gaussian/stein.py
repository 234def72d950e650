r"""Gaussian moments with sigmoids by Stein's lemma, down to Sheppard's orthant formula.

For :math:`X \sim N(m, K)` and any smooth or piecewise smooth h,

.. math:: \mathbb{E}\,X_i h(X) = m_i\,\mathbb{E} h(X) + \sum_j K_{ij}\,\mathbb{E}\,\partial_j h(X),

which lowers the degree of :math:`x^k \prod_l S_l(x)` by one (integration by parts against the
density; for :math:`h` a monomial it is Wick's theorem). Where the derivative falls on a sigmoid,
that sigmoid is gone and the law is the posterior of :meth:`Gaussian.observed`: the truncated moments,
the arc-cosine kernels and Price's theorem :math:`\partial_{K_{12}} \mathbb{E} f g = \mathbb{E} f'g'` are
all this one step. What is left at degree 0 is :math:`\mathbb{E}\prod_l S_l`:

* none: 1.
* one: :math:`P(y > 0) - P(y < 0) = \operatorname{erf}(\mu/\sqrt{2v})`, :math:`y \sim N(\mu, v)`.
* an odd number, all centred (:math:`\mu = 0`): 0, by the reflection :math:`x \to 2m - x`.
* two, both centred: :math:`\tfrac{2}{\pi}\arcsin r`, the mean of :math:`\operatorname{sgn} y \operatorname{sgn} z` at
  correlation r. (With :math:`z = r y + \sqrt{1 - r^2}\,w` the angle of :math:`(y, w)` is uniform, and the
  signs agree on two sectors of angle :math:`\tfrac{\pi}{2} + \arcsin r`.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from derivations.errors import NoClosedForm
from derivations.gaussian.law import Gaussian, root
from derivations.gaussian.terms import Sigmoid
from derivations.gaussian.tidy import spread

Placed = tuple[int, Sigmoid]  # a sigmoid and the coordinate that it acts on


@dataclass(frozen=True)
class Memo:
    """Moments and posterior laws met before; start with an empty one."""

    moments: dict[object, sp.Expr] = field(default_factory=dict)
    posteriors: dict[object, tuple[sp.Expr, Gaussian]] = field(default_factory=dict)

    def observed(self, law: Gaussian, placed: Placed) -> tuple[sp.Expr, Gaussian]:
        """Density and posterior of :meth:`Gaussian.observed`, computed once."""
        if (law, placed) not in self.posteriors:
            self.posteriors[law, placed] = law.observed(*placed)
        return self.posteriors[law, placed]


def moment(law: Gaussian, powers: tuple[int, ...], sigmoids: tuple[Placed, ...], memo: Memo) -> sp.Expr:
    r""":math:`\mathbb{E}\,\prod_i X_i^{k_i} \prod_l S_l(X_{i_l})`.

    Parameters
    ----------
    law : Gaussian
    powers : tuple of int
        One exponent per coordinate.
    sigmoids : tuple of (int, Sigmoid)
        Each with its coordinate.
    memo : Memo

    Raises
    ------
    NoClosedForm
        If two sigmoids that are not centred, or more than three, remain.

    Examples
    --------
    >>> s = sp.Symbol("s", positive=True)
    >>> moment(Gaussian((sp.S.Zero,), ((s,),)), (4,), (), Memo())
    3*s**2
    """
    key = (law, powers, sigmoids)
    if key not in memo.moments:
        memo.moments[key] = spread(_lowered(law, powers, sigmoids, memo))
    return memo.moments[key]


def _lowered(law: Gaussian, powers: tuple[int, ...], sigmoids: tuple[Placed, ...], memo: Memo) -> sp.Expr:
    axis = next((i for i, k in enumerate(powers) if k), None)
    if axis is None:
        return _signs(law, sigmoids)
    rest = _less(powers, axis)
    total = law.mean[axis] * moment(law, rest, sigmoids, memo) if law.mean[axis] != 0 else sp.S.Zero
    for other, k in enumerate(rest):
        if k and law.covariance[axis][other] != 0:
            total += law.covariance[axis][other] * k * moment(law, _less(rest, other), sigmoids, memo)
    for index, (other, sigmoid) in enumerate(sigmoids):
        weight = 2 * sigmoid.slope * law.covariance[axis][other]
        if weight != 0:
            density, posterior = memo.observed(law, (other, sigmoid))
            total += weight * density * moment(posterior, rest, sigmoids[:index] + sigmoids[index + 1 :], memo)
    return total


def _less(powers: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(k - (i == axis) for i, k in enumerate(powers))


def _signs(law: Gaussian, sigmoids: tuple[Placed, ...]) -> sp.Expr:
    latent = [law.latent(axis, sigmoid) for axis, sigmoid in sigmoids]
    if not sigmoids:
        return sp.S.One
    if len(sigmoids) == 1:
        mu, twice = latent[0]
        return sp.erf(mu / root(twice))
    if all(mu == 0 for mu, _ in latent):
        if len(sigmoids) % 2:
            return sp.S.Zero
        if len(sigmoids) == 2:
            (i, first), (j, second) = sigmoids
            common = 2 * first.slope * second.slope * law.covariance[i][j]
            return 2 * sp.asin(common / (root(latent[0][1]) * root(latent[1][1]))) / sp.pi
    raise NoClosedForm(
        f"the orthant probability of {len(sigmoids)} Gaussians with means {[mu for mu, _ in latent]} has no closed "
        "form; closed are one threshold, and two at the mean"
    )
