r"""The front door: from a network recipe to its limit, its law and the derivation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy as sp

from derivations import explain, limits
from derivations.architectures.base import Recipe
from derivations.architectures.network import with_free_time
from derivations.calculus.gram import SubProcess, pair_correlation, squared_norm
from derivations.calculus.lamperti import LampertiForm
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.errors import DerivationError, NotClosed, shown, unknown
from derivations.language.single import OneMatrixLayer
from derivations.language.statements import Matrix
from derivations.laws.limit_law import lamperti_forms, limit_law, scalar
from derivations.limits.depth import DependentNoises
from derivations.notation import citations
from derivations.notation.citations import Source
from derivations.notation.means import with_named_means
from derivations.notation.printed import Printed
from derivations.notation.steps import Step
from derivations.symbols import width as any_width

if TYPE_CHECKING:
    from derivations.calculus.settling import Settling
    from derivations.existence import Existence
    from derivations.laws import PiecewiseLaw, Proof
    from derivations.norms import InitialSlope, NormDynamics

#: Positions times inputs up to which the Gram matrix's equation is written out without being asked for.
_MOST_COORDINATES = 4
_MOST_INPUTS = 1000  # whose covariance is derived entry by entry where it is read
#: States up to which a derivation's JSON holds the limit in parts.
_MOST_WRITTEN = 24


@dataclass(frozen=True, repr=False)
class Derivation(Printed):
    """A network's limit with everything that was derived on the way.

    Attributes
    ----------
    architecture : Recipe
        The recipe.
    order : str
        Which dimension went to infinity: ``"depth"``, ``"width"`` (then depth), or both (``"joint"``).
    limit : Diffusion, NeuronDiffusion or Flow
        The limit: ``.states``, ``.time``, ``.drift``, ``.covariance``.
    law : PiecewiseLaw or None
        The closed-form law of a scalar limit; None where none is known (``why_no_law`` says why).
    norm : NormDynamics or None
        The equations of the squared norm and of its logarithm, for more than one neuron.
    steps : tuple of Step
        The derivation, step by step.
    moments : JointMoments or None
        One layer's moments of the Gram matrix, where depth and width grow together.
    alone : GramLimit or None
        At a width that is a symbol, the Gram matrix's limit where that is all there is, because no neuron has an equation by itself.
    """

    architecture: Recipe
    order: str
    limit: Limit
    law: PiecewiseLaw | None
    _no_law: str | DerivationError = field(compare=False)
    norm: NormDynamics | None
    slope: InitialSlope | None
    moments: limits.JointMoments | None = field(default=None, compare=False)
    alone: limits.GramLimit | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """What was derived, in a few words."""
        a = self.architecture
        own = getattr(a, "activation", getattr(a, "inner", None))
        made = f"weights {', '.join(_matrices(a))}" if own is None else f"activation {own}"
        inputs = "1 input" if a.inputs == 1 else f"{a.inputs} inputs"
        order, width = self.order, a.width
        if self.order == "joint":  # whatever width the recipe has, it is taken to infinity
            order, width = "depth and width together", any_width
        return f"{type(a).__name__} with {made}, width {width}, {inputs}: limit of infinite {order}"

    @cached_property
    def why_no_law(self) -> str:
        """Why no closed form of the law is known; empty where one is."""
        return str(self._no_law)

    @property
    def gram_alone(self) -> bool:
        """Whether the limit is the Gram matrix's because no neuron has an equation by itself."""
        return self.alone is not None

    @cached_property
    def _closure(self) -> tuple[limits.GramLimit | None, str]:
        if self.alone is not None:
            return self.alone, ""
        if self.architecture.positions and self.architecture.coordinates > _MOST_COORDINATES:
            return (
                None,
                f"over more than {_MOST_COORDINATES} positions the Gram matrix is not looked at; ask gram_limit for it",
            )
        try:
            return limits.gram_limit(self.architecture.program(), self.architecture.coordinates), ""
        except NotClosed as error:
            return None, str(error)

    @property
    def closure(self) -> limits.GramLimit | None:
        """The Gram matrix's limit at finite width with its symbols, and whether it is that of the centred state; None where it has none."""
        return self._closure[0] if self.order == "depth" else None

    @property
    def gram(self) -> Diffusion | Flow | None:
        r"""The Gram matrix's own diffusion at every width, or flow at infinite width; None where it has none (:attr:`why_no_gram`).

        Of the centred state where only that closes, as with layer normalisation (:func:`~derivations.gram_limit` says which).
        """
        if self.order != "depth":
            return self.limit if isinstance(self.limit, Diffusion | Flow) else None
        return None if self.closure is None else self.closure.process

    @property
    def why_no_gram(self) -> str:
        """Why the Gram matrix is no diffusion by itself; empty where it is one."""
        return self._closure[1] if self.order == "depth" else ""

    @cached_property
    def gram_law(self) -> PiecewiseLaw | None:
        """The closed-form law of :attr:`gram` where that is scalar, None where none is known."""
        gram = self.gram
        if not isinstance(gram, Diffusion) or len(gram.states) != 1:
            return None
        return _law_of_gram(gram)[0]

    def structured(self) -> dict[str, Any]:
        """The limit and the Gram matrix's, each expression as SymPy's source and as LaTeX; :meth:`Diffusion.from_json` reads the limit back.

        Of more than 24 states nothing is written here; ``d.limit.to_json()`` does so.
        """
        found = {"limit": self.limit} | ({} if self.gram is None or self.gram is self.limit else {"gram": self.gram})
        small = {name: limit.structured() for name, limit in found.items() if _coordinates(limit) <= _MOST_WRITTEN}
        return {"order": self.order, **small, "law": None if self.law is None else self.law.name}

    @property
    def sources(self) -> tuple[Source, ...]:
        """Software, where the network was studied, and what the passage to a diffusion rests on."""
        noise = () if isinstance(self.limit, Flow) else (citations.CONVERGENCE,)
        return (*super().sources, *_STUDIED.get(type(self.architecture).__name__, ()), *noise)

    @cached_property
    def proof(self) -> Proof | None:
        """What was checked about :attr:`law`; None where no law is known."""
        return None if self.law is None else self.law.prove()

    @cached_property
    def _lamperti(self) -> tuple[tuple[LampertiForm, ...], bool]:
        return lamperti_forms(self.limit)

    @property
    def lamperti(self) -> tuple[LampertiForm, ...]:
        """A scalar limit in the coordinate that has unit noise, on each interval between zeros of the noise; else empty."""
        return self._lamperti[0]

    @cached_property
    def squared_norm(self) -> SubProcess | None:
        """In a joint limit of several inputs, how the squared norm of the first one moves; else None."""
        pair = self._pair
        return None if pair is None else squared_norm(*pair[:2])

    @cached_property
    def correlation(self) -> SubProcess | None:
        """In a joint limit of several inputs, how the correlation of the first two moves; else None."""
        pair = self._pair
        return None if pair is None else pair_correlation(pair[0], pair[1:])

    @property
    def _pair(self) -> tuple[Diffusion | Flow, sp.Symbol, sp.Symbol, sp.Symbol] | None:
        """The limit of a Gram matrix and its entries for the first two inputs."""
        if self.order != "joint" or len(self.limit.states) == 1 or isinstance(self.limit, NeuronDiffusion):
            return None
        states, m = self.limit.states, self.architecture.inputs
        if len(states) != m * (m + 1) // 2 or not states[0].is_positive:
            return None  # norms that a layer fixes, or means beside the Gram matrix
        return self.limit, states[0], states[1], states[m]

    @cached_property
    def settling(self) -> Settling | None:
        """In a joint limit, whether the squared norm of an input explodes or settles in a law; None where this is not decided."""
        limit = self.limit
        if (
            self.order != "joint"
            or not isinstance(limit, Diffusion)
            or limit.drift[0] == 0
            or isinstance(limit, limits.CollapseDiffusion)
            or not limit.states[0].is_positive
        ):
            return None
        try:
            from derivations.calculus.settling import settling

            norm = squared_norm(limit, limit.states[0]).process()
            return settling(norm) if isinstance(norm, Diffusion) else None
        except DerivationError:
            return None

    @cached_property
    def existence(self) -> Existence:
        """Whether the equation of the limit has a solution, a single one, and one for all times."""
        from derivations.existence import existence

        return existence(self.limit, self.architecture, self.order)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return with_named_means((*_STEPS[self.order](self), explain.existence_step(self.existence)))


def derive(architecture: Recipe, order: str | None = None) -> Derivation:
    r"""Derive the limit of a random network from its recursion.

    The increment of one layer is expanded in the small parameter, its conditional mean and
    covariance are matched per unit of time, and a scalar limit is compared with every solvable
    potential.

    Parameters
    ----------
    architecture : Recipe
        Such as ``ResNet(relu, width=1)`` or a :class:`~derivations.Network`.
    order : {"depth", "width", "joint"}, optional
        ``"depth"``: infinite depth at the given width; a small parameter that the recipe ties to the width is free there, and
        ``.architecture`` is that network. ``"width"``: infinite width first, then
        infinite depth; what a width of ``oo`` means in any case. ``"joint"``: both together, at the rates that the
        architecture states. By default ``"joint"`` for an architecture that states such rates (:class:`~derivations.MLP`,
        :class:`~derivations.ShapedMLP`, :class:`~derivations.PreNormResNet`), else ``"depth"``.

    Returns
    -------
    Derivation

    Raises
    ------
    NoLimit
        If the recursion has no limit in this scaling.
    DerivationError
        For an unknown order or something that is no architecture.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> d = derive(ResNet(relu, width=1))
    >>> d.limit.covariance
    Matrix([[Piecewise((0, x <= 0), (x**2, True))]])
    >>> d.law.name
    'geometric Brownian motion, frozen'
    """
    if not isinstance(architecture, Recipe):
        is_layer = isinstance(architecture, str | sp.Expr) or (
            callable(architecture) and not isinstance(architecture, type)
        )
        help_ = "; a layer becomes a network with a width: Network(layer, width=4)" if is_layer else ""
        raise DerivationError(
            f"derive expects an architecture such as ResNet(relu, width=1), got {shown(architecture)}{help_}"
        )
    if architecture.inputs > _MOST_INPUTS:
        raise DerivationError(f"at most {_MOST_INPUTS} inputs are followed jointly, got {architecture.inputs}")
    if order is None:
        order = "joint" if architecture.regime.is_joint else "depth"
    if not isinstance(order, str) or order not in _STEPS:
        raise DerivationError(unknown("order", order, _STEPS))
    if order == "joint":
        return _jointly(architecture)
    if order == "width" or architecture.width == sp.oo:
        return Derivation(
            architecture,
            "width",
            limits.width_limit(architecture),
            None,
            "the limit is a deterministic flow",
            None,
            None,
        )
    architecture = with_free_time(architecture)
    try:
        limit = limits.depth_limit(architecture)
    except DependentNoises as error:
        alone = _gram_alone(architecture, error)
        return Derivation(architecture, "depth", alone.process, *_law_of_gram(alone.process), None, None, alone=alone)
    law, why = limit_law(limit)
    norm = _norm(limit, architecture)
    return Derivation(architecture, "depth", limit, law, why, norm, _slope(norm))


def _gram_alone(architecture: Recipe, why: NotClosed) -> limits.GramLimit:
    """The Gram matrix's own limit, at a width that is a symbol, where no neuron has one.

    Raises
    ------
    NotClosed
        If it has none, or all its entries are fixed.
    """
    try:
        found = limits.gram_limit(architecture.program(), architecture.coordinates)
    except NotClosed:
        raise why from None
    if not found.process.states:
        raise NotClosed(
            f"{why}, or follow inputs=2: the Gram matrix of one input is fixed by every layer, and that of several is a process by itself"
        ) from None
    return found


def _law_of_gram(gram: Limit) -> tuple[PiecewiseLaw | None, str | DerivationError]:
    """The law of a Gram matrix at finite width, or why none is known."""
    if gram.drift.has(sp.asin, sp.acos):  # to look for one takes minutes
        return None, "no solvable family has the angle between two inputs in it"
    try:
        return limit_law(gram)
    except DerivationError as error:  # it is of one family or another by the sign of a formula in the width
        return None, str(error)


def _jointly(architecture: Recipe) -> Derivation:
    together, moments = limits.limit_and_moments(architecture)
    law, why = limit_law(together)
    return Derivation(architecture, "joint", together, law, why, None, None, moments)


def _coordinates(limit: Limit) -> int:
    return limit.inputs if isinstance(limit, NeuronDiffusion) else len(limit.states)


def _matrices(recipe: Recipe) -> list[str]:
    """The names of a program's matrices, each once."""
    return sorted({s.weights.name for s in recipe.program().statements if isinstance(s, Matrix)})


def _norm(limit: Limit, architecture: Recipe) -> NormDynamics | None:
    if not isinstance(limit, NeuronDiffusion) or limit.inputs > 1:
        return None
    layer = OneMatrixLayer.of(architecture.program())
    if layer is None or not layer.is_coordinatewise:
        return None
    from derivations.norms import norm_dynamics

    try:
        return norm_dynamics(limit, layer.inner)
    except NotClosed:
        return None


def _slope(norm: NormDynamics | None) -> InitialSlope | None:
    if norm is None:
        return None
    from derivations.norms import initial_slope

    try:
        return initial_slope(norm)
    except NotClosed:
        return None


def _depth_steps(d: Derivation) -> list[Step]:
    named = bool(d.architecture.letters)
    moments = explain.ShownMoments(d.architecture)
    gram = None if named else d.closure
    steps = [*explain.network_steps(d.architecture), *moments.steps(gram)]
    if d.gram_alone:
        return [*steps, explain.gram_step(*d._closure, alone=True), *_law_steps(d)]
    steps += explain.neuron_steps(d.limit, moments, named, gram)
    if d.norm is not None:
        steps += explain.norm_steps(d.norm, d.slope, d.architecture.letters[0][1] if named else None)
    if not named:
        steps.append(explain.gram_step(*d._closure))
        if d.gram_law is not None:
            steps += explain.law_steps(d.gram_law, d.gram_law.prove(), " of V")
    return [*steps, *_law_steps(d)]


def _law_steps(d: Derivation) -> list[Step]:
    if scalar(d.limit) is None:
        return []
    form = [explain.lamperti_step(d.lamperti)] if d.lamperti else []
    if d.law is None or d.proof is None:
        return [
            *form,
            explain.no_law_step("the potential is none of the solvable ones" if d._lamperti[1] else d.why_no_law),
        ]
    return [*form, *explain.law_steps(d.law, d.proof)]


def _width_steps(d: Derivation) -> list[Step]:
    assert isinstance(d.limit, limits.KernelFlow)
    named = bool(d.architecture.letters)
    generic = limits.kernel_flow(explain.generic_program(d.architecture), d.architecture.coordinates) if named else None
    return [*explain.network_steps(d.architecture), *explain.width_steps(d.limit, generic)]


def _joint_steps(d: Derivation) -> list[Step]:
    assert not isinstance(d.limit, NeuronDiffusion)
    many = d.architecture.coordinates  # positions are summed over
    shown = many if d.architecture.program().has_positions else min(many, 2)
    moments = d.moments
    if moments is None or moments.chain.inputs != shown:
        moments = limits.JointMoments.of(d.architecture, shown)
    single = OneMatrixLayer.of(moments.chain.program)
    single = single if single is not None and single.is_linear else None
    steps = [explain.joint_recursion_step(moments, d.architecture.inputs, single)]
    if isinstance(d.limit, limits.CollapseDiffusion):
        return [*steps, *explain.collapse_steps(d.limit)]
    if limits.unshaped(moments.chain.program) is not None:
        assert isinstance(d.limit, Diffusion)
        return [*steps, explain.one_input_step(d.limit), *_law_steps(d)]
    steps += [] if single is None else [explain.expansion_step(moments, single)]
    steps += [
        explain.moment_step(moments, isinstance(d.limit, Flow)),
        *explain.gram_limit_steps(d.limit, moments.unit, named=single is not None),
    ]
    for name, part in (("Squared norm", d.squared_norm), ("Correlation", d.correlation)):
        steps += [] if part is None else [explain.sub_process_step(name, part)]
    return [*steps, *([] if d.settling is None else [explain.settling_step(d.settling)]), *_law_steps(d)]


#: Where published networks were studied.
_STUDIED = {
    "ResNet": (citations.HAYOU,),
    "ShrinkingResNet": (citations.PELUCHETTI,),
    "ConvResNet": (citations.PELUCHETTI,),
    "MLP": (citations.LI_NICA,),
    "ShapedMLP": (citations.LI_NICA_ROY, citations.LI_NICA),
    "ShapedAttention": (citations.NOCI,),
}
#: The steps of a derivation, order by order.
_STEPS: dict[str, Callable[[Derivation], list[Step]]] = {
    "depth": _depth_steps,
    "width": _width_steps,
    "joint": _joint_steps,
}
