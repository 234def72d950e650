r"""The front door: all scalings of a network that have a limit, and what it does at others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.errors import DerivationError, NoLimit, NotClosed, shown, unknown
from derivations.exponents.answer import steps
from derivations.exponents.family import Family, Role, family
from derivations.exponents.found import Found
from derivations.exponents.terms import terms
from derivations.exponents.training import FirstStep, trained_names
from derivations.exponents.training_words import training_steps
from derivations.kernels.flows import require_slopes
from derivations.language.statements import Back, Matrix
from derivations.limits.elimination.moments import SCALE
from derivations.notation.printed import Printed
from derivations.notation.steps import Step

_ORDERS = ("depth", "width", "joint")


@dataclass(frozen=True, repr=False)
class TrainingScalings(Printed, FirstStep):
    """What the first step of training moves, at which exponents of the learning rate and of the branch, printable in every format."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return training_steps(self)

    @property
    def title(self) -> str:
        """What was asked, in a few words."""
        return f"First step of training of {type(self.net).__name__}"


@dataclass(frozen=True, repr=False)
class Scalings(Printed, Found):
    """All scalings of a network with a limit that is not trivial, printable in every format."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return steps(self)

    @property
    def title(self) -> str:
        """What was asked, in a few words."""
        width = {
            "depth": f"width {self.net.width}",
            "width": "infinite width",
            "joint": "a width that grows with the depth",
        }
        return f"Scalings of {type(self.net).__name__}, {width[self.family.order]}"


@overload
def scalings(
    net: Recipe,
    small: Sequence[sp.Symbol] | Mapping[sp.Symbol, object] | None = None,
    order: str | None = None,
    means: bool | None = None,
    training: Literal[False] = False,
) -> Scalings: ...


@overload
def scalings(
    net: Recipe,
    small: Sequence[sp.Symbol] | Mapping[sp.Symbol, object] | None = None,
    order: str | None = None,
    means: bool | None = None,
    *,
    training: Literal[True] | str | Sequence[str],
) -> TrainingScalings: ...


def scalings(
    net: Recipe,
    small: Sequence[sp.Symbol] | Mapping[sp.Symbol, object] | None = None,
    order: str | None = None,
    means: bool | None = None,
    training: bool | str | Sequence[str] = False,
) -> Scalings | TrainingScalings:
    r"""All scalings of a network that have a limit: exponents of branch, weights, shaping and width in powers of the depth.

    Each size of a layer is :math:`\sigma L^{-p}` with a free exponent p, and where the width grows too it is :math:`n = L^q`. A monomial of the
    sizes in one layer's conditional mean or covariance survives where it is of size 1/L, the time of a layer. All regimes follow from
    the monomials that occur: they are faces of a polyhedron of exponents.

    Parameters
    ----------
    net : Recipe
    small : sequence or mapping of Symbol, optional
        Parameters of the network whose exponents are free; a mapping gives those that it has as it stands, negative ones for what grows.
        By default the network's small parameters, one for each branch; where it has none, sizes of its branches are introduced.
    order : {"depth", "width", "joint"}, optional
        At a fixed width, at infinite width, or with a width that is a power of the depth; by default as for :func:`~derivations.derive`.
    means : bool, optional
        Whether matrices whose output is added to the state get a mean of a free size. By default at a fixed width with one branch.
    training : bool, str or sequence of str
        Whether to answer for the first step of training instead; names say which of the layer's matrices are trained.

    Returns
    -------
    Scalings or TrainingScalings
        Printable. The first has ``.regimes``, ``.at(exponents)``, ``.times(depth, values)``, ``.maps``; the second ``.moved(rule)``,
        ``.conditions(rule)`` and ``.at(rule)``.

    Raises
    ------
    NotClosed
        If one layer's moments have no closed form.
    DerivationError
        For a word or a parameter that makes no sense.

    Examples
    --------
    >>> from derivations import ResNet, relu, symbols
    >>> for regime in scalings(ResNet(relu, width=symbols.width)).regimes:
    ...     print(regime.kind, *regime.conditions)
    drift and noise Eq(p, 1/2) Eq(p_mu_W, 1/2)
    noise only Eq(p, 1/2) p_mu_W > 1/2
    drift only Eq(p, 1 - p_mu_W) p_mu_W < 1/2

    One step of Adam's kind moves the features at every depth by order 1 at learning rates of :math:`n^{-1}L^{-1/2}`:

    >>> verdict = scalings(ResNet(relu, width=symbols.width), training=True).at("sign", readout=1)
    >>> verdict.kind, verdict.a, verdict.b
    ('features move', 1, 1/2)
    """
    if not isinstance(net, Recipe):
        raise DerivationError(f"scalings expects a network such as ResNet(relu, width=4), got {net!r}")
    asked = order
    if order is None:
        order = "joint" if net.regime.is_joint else "width" if net.width == sp.oo else "depth"
    if order not in _ORDERS:
        raise DerivationError(unknown("order", order, _ORDERS))
    if order == "depth" and net.width == sp.oo:
        raise DerivationError(
            "order='depth' is at a fixed width; give the width as a number or a symbol, or leave the order out"
        )
    if means is not None and not isinstance(means, bool):
        raise DerivationError(f"means is True, False or None, got {shown(means)}")
    if training is not False:
        if asked is not None or means is not None:
            raise DerivationError(
                "the first step of training is derived for widths that grow and weights without means; leave order and means out"
            )
        require_slopes(net.program(), "first step of training")
        return _training(net, small, training)
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
    if not made.sizes and made.order != "joint" and made.introduced is None:
        why = "the state goes through a function, alone or with its branch, so that a layer whose branch is 0 is not the identity"
        return Scalings(net, made, None, why)
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
        return Scalings(net, made, None, str(error).removesuffix(f"; {SCALE}"))


def _training(
    net: Recipe,
    small: Sequence[sp.Symbol] | Mapping[sp.Symbol, object] | None,
    training: str | Sequence[str] | Literal[True],
) -> TrainingScalings:
    made = family(net, "joint", small, at_start=False)
    matrices = [s.weights for s in made.program.statements if isinstance(s, Matrix | Back)]
    names = trained_names(training, (w.name for w in matrices if w.name not in net.mean_of))
    try:
        start: Found | None = scalings(net, small, means=False)
        why = ""
    except DerivationError as error:
        start, why = None, str(error)
    return TrainingScalings(net, made, start, why, names, training is True)
