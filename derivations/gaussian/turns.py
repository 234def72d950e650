r"""Scores of queries and keys whose neurons are turned in pairs, each pair f by an angle :math:`\theta_f^\alpha` of its position's own.

A turned pair has :math:`(R^\alpha q)\cdot(R^\beta k) = \cos(\theta^\alpha-\theta^\beta)(q_1k_1+q_2k_2) + \sin(\theta^\alpha-\theta^\beta)(q_1k_2-q_2k_1)`,
and for i.i.d. neurons the four products are uncorrelated and have the same variance. So a covariance of scores
:math:`Q_{\alpha\gamma}C_{\beta\delta}` is multiplied by the mean over the pairs of
:math:`\cos(\theta^\alpha-\theta^\beta)\cos(\theta^\gamma-\theta^\delta) + \sin(\theta^\alpha-\theta^\beta)\sin(\theta^\gamma-\theta^\delta)`.
"""

from __future__ import annotations

import sympy as sp

#: The angles of neurons that are not turned.
UNTURNED = sp.ImmutableMatrix(0, 0, [])


def turned(angles: sp.ImmutableMatrix, a: int, b: int, c: int, d: int) -> sp.Expr:
    r"""By what turning multiplies the covariance of the scores of positions :math:`\alpha, \beta` and :math:`\gamma, \delta`.

    Parameters
    ----------
    angles : Matrix, shape (F, p)
        By which each of F kinds of pairs, equally many, is turned at each position; :data:`UNTURNED` for none.
    a, b, c, d : int
        The positions, from 0 on.

    Examples
    --------
    >>> turned(sp.ImmutableMatrix([[0, 1, 2]]), 0, 1, 0, 2)
    cos(1)
    >>> turned(UNTURNED, 0, 1, 0, 2)
    1
    """
    if not angles.rows:
        return sp.S.One
    parts = (sp.cos(angles[f, a] - angles[f, b] - angles[f, c] + angles[f, d]) for f in range(angles.rows))
    return sp.Add(*parts) / angles.rows
