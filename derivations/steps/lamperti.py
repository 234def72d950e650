r"""Steps in the coordinate in which the noise is constant: logarithms for geometric Brownian motion."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, split
from derivations.diffusion import Limit
from derivations.errors import NoClosedForm
from derivations.laws.chart import antiderivative, inverted
from derivations.piecewise import Piece, join
from derivations.steps.base import Step, normals, size, written_out


def lamperti_step(limit: Limit) -> Step:
    r""":math:`x' = z^{-1}(z(x) + \beta(x)\,h + \sqrt h\,\xi)` with :math:`z = \int \mathrm{d}x/\varphi`, :math:`\beta = \mu/\varphi - \tfrac12\varphi'`.

    *Derivation.* :math:`\mathrm{d}Z = \beta\,\mathrm{d}t + \mathrm{d}B` has additive noise, for which Euler's step is Milstein's, of
    strong order 1; with constant :math:`\beta` it is exact. The process never leaves the interval in which it started. Each interval between
    zeros of the noise has its own z, and where there is no noise nothing moves.

    Parameters
    ----------
    limit : Diffusion
        Scalar, time-independent.

    Raises
    ------
    NoClosedForm
        If z or its inverse is not elementary, or z does not run over the whole line, so that a step could leave it.
    DerivationError
        If the diffusion is not scalar or depends on time.

    Examples
    --------
    >>> from derivations.diffusion import Diffusion
    >>> x = sp.Symbol("x", positive=True)
    >>> [sp.powsimp(sp.expand(u)) for u in lamperti_step(Diffusion((x,), [0], [[x**2]], sp.Interval.open(0, sp.oo))).update]
    [x*exp(sqrt(h)*xi_1 - h/2)]
    """
    process = written_out(limit)
    parts = split(process)
    (x,), (xi,) = process.states, normals(1)
    moved = []
    for part in parts:
        if isinstance(part, Piece):
            moved.append(Piece(part.left, part.right, x))
            continue
        z = antiderivative(part)
        _require_line(part, z)
        back = inverted(part, z, positive=False)
        target = z + part.beta * size + sp.sqrt(size) * xi
        moved.append(Piece(*part.interval, back(target)))
    first, last = moved[0], moved[-1]
    if len(moved) == 1:
        update = first.expr
    else:
        ends = (Piece(-sp.oo, first.right, first.expr), *moved[1:-1], Piece(last.left, sp.oo, last.expr))
        update = join(ends, x)
    return Step(process.states, process.time, size, (xi,), (), (update,))


def _require_line(part: LampertiForm, z: sp.Expr) -> None:
    left, right = part.interval
    ends = (sp.limit(z, part.state, left, "+"), sp.limit(z, part.state, right, "-"))
    if ends != (-sp.oo, sp.oo):
        raise NoClosedForm(
            f"the Lamperti coordinate {z} of {part.state} runs over {ends}, not over the whole line: a step could leave it; "
            "use Milstein's scheme"
        )
