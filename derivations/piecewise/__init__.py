r"""A function of one real variable: its smooth pieces, and all that is asked of it.

:func:`pieces` cuts a formula with kinks at its breakpoints, wherever they lie; everything with kinks (activations, their
derivatives, densities with atoms, Gaussian integrals over half-lines) passes through this one form, so that a ``Piecewise`` never
has to be compared, multiplied or integrated as such. :func:`analyse` finds domain, zeros, poles, removable points, kinks, jumps,
growth and parity, :func:`singularities` poles, jumps and kinks alone.
Points are exact: numbers, or zeros that a proved bracket isolates (:class:`IsolatedRoot`).
"""

from __future__ import annotations

from derivations.piecewise.analysis import Analysis, Growth, analyse
from derivations.piecewise.cuts import Point, singularities
from derivations.piecewise.piece import Piece, join, merged
from derivations.piecewise.root import IsolatedRoot
from derivations.piecewise.solving import Found, between, zeros
from derivations.piecewise.splitting import breakpoints, canonical, pieces
from derivations.piecewise.thresholds import in_order

__all__ = [
    "Analysis",
    "Found",
    "Growth",
    "IsolatedRoot",
    "Piece",
    "Point",
    "analyse",
    "between",
    "breakpoints",
    "canonical",
    "in_order",
    "join",
    "merged",
    "pieces",
    "singularities",
    "zeros",
]
