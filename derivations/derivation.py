r"""The front door: from a network recipe to its limit, its law and the derivation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import sympy as sp

from derivations.architectures.base import Architecture, Recipe
from derivations.architectures.network import Network
from derivations.architectures.scaling import ScaledArchitecture
from derivations.calculus.boundaries import crossed_zeros
from derivations.calculus.clock import own_clock
from derivations.calculus.lamperti import LampertiForm, split
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.emit import latex as typeset
from derivations.emit import narrate, narrate_law, narrate_norm, text
from derivations.emit.explain_program import gram_step, limit_step, moment_steps, program_steps
from derivations.emit.files import write_whole
from derivations.emit.narrate_existence import existence_steps
from derivations.emit.narrate_joint import joint_steps
from derivations.emit.steps import Step
from derivations.errors import DerivationError, NoClosedForm, NotClosed, unknown
from derivations.existence import Existence, existence
from derivations.language import program
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.laws.recognition import recognise
from derivations.limits import (
    CollapseDiffusion,
    GramLimit,
    depth_limit,
    gram_limit,
    joint_limit,
    kernel_flow,
    width_limit,
)
from derivations.norms import InitialSlope, NormDynamics, initial_slope, norm_dynamics

#: Positions times inputs up to which the Gram matrix's equation is written out without being asked for.
_MOST_COORDINATES = 4


@dataclass(frozen=True)
class Derivation:
    """A network's limit with everything that was derived on the way.

    Attributes
    ----------
    architecture : Architecture
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
    """

    architecture: Recipe
    order: str
    limit: Limit
    law: PiecewiseLaw | None
    why_no_law: str
    norm: NormDynamics | None
    slope: InitialSlope | None

    @property
    def title(self) -> str:
        """What was derived, in a few words."""
        a = self.architecture
        said = f"with layer {a.layer}" if isinstance(a, Network) else f"with activation {_activation(a)}"
        inputs = "1 input" if a.inputs == 1 else f"{a.inputs} inputs"
        order = "depth and width together" if self.order == "joint" else self.order
        return f"{type(a).__name__} {said}, width {a.width}, {inputs}: limit of infinite {order}"

    @cached_property
    def _closure(self) -> tuple[GramLimit | None, str]:
        if self.architecture.positions and self.architecture.coordinates > _MOST_COORDINATES:
            return (
                None,
                f"over more than {_MOST_COORDINATES} positions the Gram matrix is not looked at; ask gram_limit for it",
            )
        try:
            return gram_limit(self.architecture.program(), self.architecture.coordinates), ""
        except NotClosed as error:
            return None, str(error)

    @property
    def gram(self) -> Diffusion | Flow | None:
        r"""The Gram matrix's own diffusion at every width, or flow at infinite width; None where it has none (:attr:`why_no_gram`).

        Of the centred state where only that closes, as with layer normalisation (:func:`~derivations.gram_limit` says which).
        """
        if self.order != "depth":
            return self.limit if isinstance(self.limit, Diffusion | Flow) else None
        found, _ = self._closure
        return None if found is None else found.process

    @property
    def why_no_gram(self) -> str:
        """Why the Gram matrix is no diffusion by itself; empty where it is one."""
        return self._closure[1] if self.order == "depth" else ""

    @cached_property
    def gram_law(self) -> PiecewiseLaw | None:
        """The closed-form law of :attr:`gram` for one input, None where none is known."""
        return _law(self.gram)[0] if isinstance(self.gram, Diffusion) and len(self.gram.states) == 1 else None

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return tuple(_STEPS[self.order](self))

    @cached_property
    def existence(self) -> Existence | None:
        """Whether the equation of a limit of infinite depth has a solution, a single one, and one for all times; None for others."""
        if self.order != "depth" or isinstance(self.limit, Flow):
            return None
        return existence(self.limit, self.architecture)

    def latex(self) -> str:
        """The derivation as LaTeX paragraphs and aligned displays, to paste into a document with amsmath."""
        return "\n\n".join(typeset.step_latex(step) for step in self.steps)

    def _repr_latex_(self) -> str:
        """The limit and its law, for notebooks."""
        wanted = [line for step in self.steps for line in step.lines if step.name in _SHOWN]
        return f"$\\displaystyle {typeset.aligned(tuple(wanted))}$"

    def __str__(self) -> str:
        return text.text(self.title, self.steps)

    def to_json(self) -> str:
        """The derivation as JSON."""
        return text.to_json(self.title, self.steps)

    def write(self, path: str | Path) -> Path:
        """Write the derivation to a file, in the format that its suffix names; a file that is there is replaced as a whole.

        Parameters
        ----------
        path : path
            ``.tex`` (a document for pdflatex), ``.txt`` or ``.json``.

        Raises
        ------
        DerivationError
            For another suffix.
        """
        path = Path(path)
        writers: dict[str, Callable[[], str]] = {
            ".tex": lambda: typeset.document(typeset.escaped(self.title), self.steps),
            ".txt": lambda: str(self),
            ".json": self.to_json,
        }
        if path.suffix not in writers:
            raise DerivationError(
                f"{unknown('suffix', path.suffix, writers)}; write() makes them from the name of a file"
            )
        write_whole(path, writers[path.suffix]().encode())
        return path


_SHOWN = ("Limit for this activation", "Kernel flow for this activation", "Law")


def derive(architecture: Recipe, order: str | None = None) -> Derivation:
    r"""Derive the limit of a random network from its recursion.

    The increment of one layer is expanded in the small parameter, its conditional mean and
    covariance are matched per unit of time, and a scalar limit is compared with every solvable
    potential.

    Parameters
    ----------
    architecture : Architecture
        A recipe, e.g. ``ResNet(relu, width=1)``. Any object with the interface of
        :class:`~derivations.architectures.base.Architecture` will do.
    order : {"depth", "width", "joint"}, optional
        ``"depth"``: infinite depth at the given width. ``"width"``: infinite width first, then
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
        raise DerivationError(f"derive expects an architecture such as ResNet(relu, width=1), got {architecture!r}")
    if order is None:
        order = "joint" if isinstance(architecture, ScaledArchitecture) else "depth"
    if order not in _STEPS:
        raise DerivationError(unknown("order", order, _STEPS))
    if order == "joint":
        return _jointly(architecture)
    if order == "width" or architecture.width == sp.oo:
        return Derivation(
            architecture, "width", width_limit(architecture), None, "the limit is a deterministic flow", None, None
        )
    limit = depth_limit(architecture)
    law, why = _law(limit)
    norm = _norm(limit, architecture)
    return Derivation(architecture, "depth", limit, law, why, norm, _slope(norm))


def _jointly(architecture: Recipe) -> Derivation:
    if not isinstance(architecture, Architecture):
        raise DerivationError(
            "depth and width together are derived for recipes with one matrix a layer (MLP, ShapedMLP, PreNormResNet, ResNet), got a "
            "Network; its Gram matrix at finite width is derive(net).gram, where it closes"
        )
    together = joint_limit(architecture)
    law, why = _law(together)
    return Derivation(architecture, "joint", together, law, why, None, None)


def _activation(architecture: Recipe) -> object:
    assert isinstance(architecture, Architecture)
    return getattr(architecture, "activation", None) or architecture.layer().preactivation.inner


def _scalar(limit: Limit) -> Diffusion | None:
    return limit if isinstance(limit, Diffusion) and len(limit.states) == 1 else None


def _law(limit: Limit) -> tuple[PiecewiseLaw | None, str]:
    process = _scalar(limit)
    if process is None:
        return None, "the limit is a deterministic flow" if isinstance(
            limit, Flow
        ) else "the limit has more than one coordinate"
    if isinstance(process, CollapseDiffusion):
        return None, "the solution is an exponential functional of Brownian motion, without a density in closed form"
    try:
        if process.time in process.drift.free_symbols | process.covariance.free_symbols:
            clock = own_clock(process)
            known = recognise(clock.base).name
            return (
                None,
                f"it is the law of another process ({known}) at the time C = {clock.reading}, of the same start",
            )
        return recognise(process), ""
    except NoClosedForm as error:
        return None, str(error)


def _norm(limit: Limit, architecture: Recipe) -> NormDynamics | None:
    if not isinstance(limit, NeuronDiffusion) or limit.inputs > 1 or not isinstance(architecture, Architecture):
        return None
    try:
        return norm_dynamics(limit, architecture.layer().preactivation.inner)
    except NotClosed:
        return None


def _slope(norm: NormDynamics | None) -> InitialSlope | None:
    if norm is None:
        return None
    try:
        return initial_slope(norm)
    except NotClosed:
        return None


def _depth_steps(d: Derivation) -> list[Step]:
    if not isinstance(d.architecture, Architecture):
        steps = [*program_steps(d.architecture), *moment_steps(d.architecture), limit_step(d.architecture, d.limit)]
        steps.append(gram_step(*d._closure))
        if d.gram_law is not None:
            steps += [replace(s, name=f"{s.name} of V") for s in narrate_law.law_steps(d.gram_law)]
        return steps + _law_steps(d) + _existence_steps(d)
    increments, generic = narrate.increment_steps(d.architecture)
    steps = [
        *narrate.recursion_steps(d.architecture),
        *increments,
        *narrate.limit_steps(d.architecture, d.limit, generic),
    ]
    if d.norm is not None:
        steps += narrate_norm.norm_steps(d.norm, d.slope)
    return steps + _law_steps(d) + _existence_steps(d)


def _existence_steps(d: Derivation) -> list[Step]:
    return [] if d.existence is None else existence_steps(d.existence)


def _law_steps(d: Derivation) -> list[Step]:
    process = _scalar(d.limit)
    if process is None:
        return []
    if process.time in process.drift.free_symbols | process.covariance.free_symbols:
        return [narrate_law.no_law_step(False, d.why_no_law)]
    try:
        forms, split_up = (
            tuple(form for form in split(process) if isinstance(form, LampertiForm)),
            not crossed_zeros(process),
        )
    except NoClosedForm:  # the potential is a function of x all the same, on any interval between zeros of the noise
        (x,), (mu,), (a,) = process.states, process.drift, process.covariance
        root = sp.sqrt(a).replace(sp.Abs, lambda inside: inside)  # the potential does not see the sign of the noise
        forms, split_up = (LampertiForm(x, (-sp.oo, sp.oo), mu, root),), False
    told = narrate_law.law_steps(d.law) if d.law is not None else [narrate_law.no_law_step(split_up, d.why_no_law)]
    return narrate_law.lamperti_steps(forms) + told


def _width_steps(d: Derivation) -> list[Step]:
    assert isinstance(d.limit, Flow)
    if not isinstance(d.architecture, Architecture):
        return [*program_steps(d.architecture), *narrate.width_steps(d.limit, d.limit)[1:]]
    generic = kernel_flow(
        program(d.architecture.generic_layer().expression(), d.architecture.width, parameters=None),
        d.architecture.coordinates,
    )
    assert isinstance(d.limit, Flow)
    return [*narrate.recursion_steps(d.architecture), *narrate.width_steps(d.limit, generic)]


def _joint_steps(d: Derivation) -> list[Step]:
    assert not isinstance(d.limit, NeuronDiffusion)
    assert isinstance(d.architecture, Architecture)
    steps = joint_steps(d.architecture, d.limit)
    return steps if isinstance(d.limit, CollapseDiffusion) else steps + _law_steps(d)


#: What tells a derivation, order by order.
_STEPS: dict[str, Callable[[Derivation], list[Step]]] = {
    "depth": _depth_steps,
    "width": _width_steps,
    "joint": _joint_steps,
}
