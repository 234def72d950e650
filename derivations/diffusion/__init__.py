r"""The value that flows through the engine: a diffusion or a deterministic flow.

All stochastic differentials here are Itô's. The Stratonovich form is a type of its own
(:class:`derivations.calculus.ito.Stratonovich`), never a flag.
"""

from __future__ import annotations

from typing import TypeAlias

from derivations.diffusion.neurons import NeuronDiffusion
from derivations.diffusion.states import Boundary, Diffusion, Flow

__all__ = ["Boundary", "Diffusion", "Flow", "Limit", "NeuronDiffusion"]

Limit: TypeAlias = Diffusion | NeuronDiffusion | Flow
