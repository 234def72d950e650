"""Laws in closed form: the transition density of a scalar diffusion, with its proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from derivations.loading import on_demand

if TYPE_CHECKING:
    from derivations.laws.base import Atom, Check, Law, Proof, Recipe
    from derivations.laws.initial import Normal
    from derivations.laws.passage import FirstPassage, first_passage
    from derivations.laws.piecewise_law import PiecewiseLaw
    from derivations.laws.recognition import LAWS, recognise

__all__ = [
    "LAWS",
    "Atom",
    "Check",
    "FirstPassage",
    "PiecewiseLaw",
    "Law",
    "Normal",
    "Proof",
    "Recipe",
    "first_passage",
    "recognise",
]

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "derivations.laws.base": "Atom Check Law Proof Recipe",
        "derivations.laws.initial": "Normal",
        "derivations.laws.passage": "FirstPassage first_passage",
        "derivations.laws.piecewise_law": "PiecewiseLaw",
        "derivations.laws.recognition": "LAWS recognise",
    },
)
