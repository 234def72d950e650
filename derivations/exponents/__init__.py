"""Scalings: at which exponents of its sizes in the depth a network has a limit, and what it does at others."""

from derivations.exponents.found import Verdict
from derivations.exponents.front import Scalings, TrainingScalings, scalings
from derivations.exponents.maps import FixedPoint, LayerMaps
from derivations.exponents.moved import Moved, StepVerdict
from derivations.exponents.regimes import ScalingRegime
from derivations.exponents.scores import ScoreRegime

__all__ = [
    "FixedPoint",
    "LayerMaps",
    "Moved",
    "ScalingRegime",
    "Scalings",
    "ScoreRegime",
    "StepVerdict",
    "TrainingScalings",
    "Verdict",
    "scalings",
]
