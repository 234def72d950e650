r"""The front door: all scalings of a network that have a limit, and what it does at others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.errors import DerivationError, NoLimit, NotClosed, unknown
from derivations.explain import data, latex, text, typst
from derivations.explain.files import write_whole
from derivations.explain.steps import Step
from derivations.exponents.family import Family, Role, family
from derivations.exponents.found import Found
from derivations.exponents.terms import terms
from derivations.exponents.words import steps

_ORDERS = ("depth", "width", "joint")


@dataclass(frozen=True)
class Scalings(Found):
    """All scalings of a network with a limit that is not trivial, printable in every format."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return steps(self)

    @property
    def title(self) -> str:
        """What was asked, in a few words."""
        return f"Scalings of {type(self.net).__name__}, width {self.net.width}"

    def latex(self) -> str:
        """As LaTeX paragraphs, to paste into a document with amsmath."""
        return latex.body(self.steps)

    def typst(self) -> str:
        """As Typst sections."""
        return typst.body(self.steps)

    def to_json(self) -> str:
        """As JSON."""
        return data.document(self.title, self.steps)

    def _repr_latex_(self) -> str:
        """The regimes, for notebooks."""
        lines = [line for step in self.steps for line in step.lines if step.is_result]
        return f"$\\displaystyle {latex.aligned(tuple(lines))}$"

    def __str__(self) -> str:
        return text.document(self.title, self.steps)

    def write(self, path: str | Path) -> Path:
        """Write it to a file, in the format that its suffix names: .tex, .typ, .txt or .json.

        Raises
        ------
        DerivationError
            For another suffix.
        """
        path = Path(path)
        formats = {".tex": latex.document, ".typ": typst.document, ".txt": text.document, ".json": data.document}
        if path.suffix not in formats:
            raise DerivationError(
                f"unknown suffix {path.suffix!r} of {path.name}; name a file that ends in one of {', '.join(formats)}"
            )
        write_whole(path, formats[path.suffix](self.title, self.steps).encode())
        return path


def scalings(
    net: Recipe,
    small: Sequence[sp.Symbol] | Mapping[sp.Symbol, object] | None = None,
    order: str | None = None,
    means: bool | None = None,
) -> Scalings:
    r"""All scalings of a network that have a limit: exponents of branch, weights, shaping and width in powers of the depth.

    Each size of a layer is :math:`\sigma L^{-p}` with a free exponent p, and where the width grows too it is :math:`n = L^q`. A monomial of the
    sizes in one layer's conditional mean or covariance survives where it is of size 1/L, the time of a layer. All regimes follow from
    the monomials that occur: they are faces of a polyhedron of exponents.

    Parameters
    ----------
    net : Recipe
    small : sequence or mapping of Symbol, optional
        Parameters of the network whose exponents are free; a mapping gives those that it has as it stands, negative ones for what grows.
        By default the network's small parameters, one for each branch; where it has none, the size of its branch is introduced.
    order : {"depth", "width", "joint"}, optional
        At a fixed width, at infinite width, or with a width that is a power of the depth; by default as for :func:`~derivations.derive`.
    means : bool, optional
        Whether matrices whose output is added to the state get a mean of a free size. By default at a fixed width with one branch.

    Returns
    -------
    Scalings
        Printable; ``.regimes``, ``.at(exponents)``, ``.times(depth, values)``, ``.maps``.

    Raises
    ------
    NotClosed
        If one layer's moments have no closed form.
    DerivationError
        For a word or a parameter that makes no sense.

    Examples
    --------
    >>> from derivations import ResNet, relu, symbols
    >>> for regime in scalings(ResNet(relu, symbols.width)).regimes:
    ...     print(regime.kind, *regime.conditions)
    drift and noise Eq(p, 1/2) Eq(p_mu_W, 1/2)
    noise only Eq(p, 1/2) p_mu_W > 1/2
    drift only Eq(p, 1 - p_mu_W) p_mu_W < 1/2
    """
    if not isinstance(net, Recipe):
        raise DerivationError(f"scalings expects a network such as ResNet(relu, width=4), got {net!r}")
    if order is None:
        order = "joint" if net.regime.is_joint else "width" if net.width == sp.oo else "depth"
    if order not in _ORDERS:
        raise DerivationError(unknown("order", order, _ORDERS))
    if order == "depth" and net.width == sp.oo:
        raise DerivationError(
            "order='depth' is at a fixed width; give the width as a number or a symbol, or leave the order out"
        )
    plain = family(net, order, small)
    if means is None:
        means = order == "depth" and small is None and sum(size.role is Role.BRANCH for size in plain.sizes) == 1
    if means:
        try:
            return _found(net, family(net, order, small, means=True))
        except NotClosed:
            pass
    return _found(net, plain)


def _found(net: Recipe, made: Family) -> Scalings:
    if not made.sizes and made.order != "joint":
        return Scalings(
            net,
            made,
            None,
            "the layer has no small parameter, and none could be introduced: it keeps no share of the state below 1",
        )
    try:
        return Scalings(net, made, terms(made))
    except NoLimit as error:
        return Scalings(net, made, None, str(error))
