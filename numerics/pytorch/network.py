"""A network that was read off a PyTorch module: the formula, and where each matrix's law comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import sympy as sp

from derivations import Network, Scalings, scalings
from derivations.symbols import step
from numerics.pytorch.initialisers import Draw


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
    """

    modules: Sequence[tuple[str, Draw]] = field(default=())
    remarks: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "modules", tuple(self.modules))
        object.__setattr__(self, "remarks", tuple(self.remarks))

    @property
    def as_it_stands(self) -> sp.Expr:
        r"""The layer of the module itself, without :math:`\varepsilon`."""
        return self.layer.subs(step, 1)

    def scalings(self) -> Scalings:
        r"""How the module as it stands scales: what depth does to the norm, and which :math:`\varepsilon` has a limit.

        The same as :func:`derivations.scalings`, beside which the module stands with :math:`\varepsilon = 1`.

        Raises
        ------
        ValueError
            If no branch was found, or it was read with another ``scale``.
        """
        if not self.layer.has(step):
            raise ValueError(
                "the module has no branch that is multiplied by ε: nothing is added to its state, or it was read with scale="
            )
        return scalings(self, small={step: 0})

    def __str__(self) -> str:
        lines = [f"x -> {self.layer}"]
        for name, draw in self.modules:
            error = f" +- {draw.error:.2g}" if draw.error else ""
            biases = f", biases of variance {draw.bias_variance}" if draw.bias_variance else ""
            lines.append(
                f"  {name}: weights of variance {draw.variance}{error} over the neurons read{biases} ({draw.source})"
            )
        return "\n".join([*lines, *(f"  note: {remark}" for remark in self.remarks)])
