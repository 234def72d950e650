"""A network that was read off a PyTorch module: the formula, and where each matrix's law comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, overload

import sympy as sp

from derivations import Network, Scalings, TrainingScalings, scalings
from derivations.errors import DerivationError, unknown
from derivations.explain.recursion import recursion_step
from derivations.notation.text import line_text
from derivations.symbols import step, width
from numerics.pytorch.initialisers import Draw
from numerics.pytorch.values import identifier

#: Characters of a layer that is shown as one formula.
_LONG = 400
#: What is remarked of a module that stops gradients, or has its own.
STOPPED = "gradients are stopped by detach or no_grad, which changes training alone"
OWN_GRADIENTS = "gradients of a torch.autograd.Function are its own, which changes training alone"


@dataclass(frozen=True)
class TorchNetwork(Network):
    r"""A :class:`derivations.Network` with what is known of the module that it was read from.

    Parameters
    ----------
    layer, width, inputs, parameters
        As of :class:`derivations.Network`; each branch beside the state is multiplied by :math:`\varepsilon`.
    modules : sequence of (str, Draw)
        For each module with weights its dotted name and the law of its matrix.
    remarks : sequence of str
        What was taken as something simpler, such as the small number inside a norm.
    matrices : sequence of (str, tuple of str)
        For each module with weights the names of the layer's matrices that it became; the parts of what it puts out have their own.
    frozen : sequence of str
        Modules whose weights have ``requires_grad=False``: training leaves them as they are.
    """

    modules: Sequence[tuple[str, Draw]] = field(default=())
    remarks: Sequence[str] = field(default=())
    matrices: Sequence[tuple[str, tuple[str, ...]]] = field(default=())
    frozen: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "modules", tuple(self.modules))
        object.__setattr__(self, "remarks", tuple(self.remarks))
        object.__setattr__(self, "matrices", tuple(self.matrices))
        object.__setattr__(self, "frozen", tuple(self.frozen))

    @property
    def wholes(self) -> dict[str, str]:
        """The matrices that are parts of one module's, and its name."""
        parts = [(identifier(module), names) for module, names in self.matrices if len(names) > 1]
        return {name: module for module, names in parts for name in names}

    @property
    def as_it_stands(self) -> sp.Expr:
        r"""The layer of the module itself, without :math:`\varepsilon`."""
        return self.layer.subs(step, 1)

    @overload
    def scalings(self, training: Literal[False] = False) -> Scalings: ...

    @overload
    def scalings(self, training: Literal[True] | str | Sequence[str]) -> TrainingScalings: ...

    def scalings(self, training: bool | str | Sequence[str] = False) -> Scalings | TrainingScalings:
        r"""How the module scales: what depth does to it as it stands, which :math:`\varepsilon` has a limit, and what a first step of training moves.

        The same as :func:`derivations.scalings`. Without training the module stands with :math:`\varepsilon = 1`; the first step is that of the
        network with :math:`\varepsilon`, which is :math:`L^{-1/2}` unless ``.at()`` is asked for another exponent.

        Parameters
        ----------
        training : bool, str or sequence of str
            Whether to answer for the first step of training; names of modules say which of them are trained.

        Returns
        -------
        Scalings or TrainingScalings

        Raises
        ------
        ValueError
            Where neither a branch beside the state nor the layer as a whole has a size that could shrink with the depth, or gradients are
            stopped on the way or a function's own.
        """
        if training is False:
            return scalings(self, small={step: 0}) if self.layer.has(step) else self._without_branch()
        if STOPPED in self.remarks or OWN_GRADIENTS in self.remarks:
            own = OWN_GRADIENTS in self.remarks
            does = (
                "has gradients of its own (torch.autograd.Function)" if own else "stops gradients by detach or no_grad"
            )
            raise ValueError(f"the module {does}, which the first step of training does not know; take it away")
        if training is True and self.frozen:
            training = [name for name, _ in self.matrices if name not in self.frozen]
            if not training:
                raise ValueError(
                    "all weights of the module have requires_grad=False, so that training moves none of them"
                )
        return scalings(self, training=True if training is True else self._matrices_of(training))

    def _without_branch(self) -> Scalings:
        try:
            return scalings(self)
        except DerivationError as error:
            raise ValueError(
                "no branch of the module is added to a state that passes through unchanged or up to a norm, so that there is no ε; of the layer "
                f"as a whole: {error}"
            ) from error

    def _matrices_of(self, named: str | Sequence[str]) -> list[str]:
        """The matrices of the layer that modules became."""
        own = dict(self.matrices)
        found: list[str] = []
        for name in (named,) if isinstance(named, str) else named:
            inside = [key for key in own if key == name or key.startswith(f"{name}.")]
            if not inside:
                raise ValueError(unknown("module with weights", str(name), own))
            found += [matrix for key in inside for matrix in own[key]]
        return list(dict.fromkeys(found))

    def __str__(self) -> str:
        lines = [f"x -> {self.layer}"]
        if len(lines[0]) > _LONG:  # a part that is read several times stands there each time
            lines = ["one layer, statement by statement:"]
            finite = replace(self, width=width) if self.width == sp.oo else self
            said = recursion_step(finite.program(), self.inputs, step).lines
            lines += [f"  {line_text(line)}" for line in said if line.relation != "~"]  # laws stand below, by module
        for name, draw in self.modules:
            error = f" +- {draw.error:.2g}" if draw.error else ""
            biases = f", biases of variance {draw.bias_variance}" if draw.bias_variance else ""
            lines.append(
                f"  {name}: weights of variance {draw.variance}{error} over the neurons read{biases} ({draw.source})"
            )
        return "\n".join([*lines, *(f"  note: {remark}" for remark in self.remarks)])
