r"""Frozen distributions: a law at one time from one start, as SciPy's frozen distributions are.

A distribution is a list of measures on disjoint intervals, from left to right. Nothing here knows where they come
from: the Lamperti maps arrive as plain functions of arrays (:func:`numerics.compile.compile_law` makes them).
"""

from __future__ import annotations

from numerics.densities.base import Chart, Measure, Moments
from numerics.densities.distribution import FrozenDistribution
from numerics.densities.kernel import KernelMeasure
from numerics.densities.plain import GaussianPiece, PointMass
from numerics.densities.scipy_distribution import as_scipy_distribution
from numerics.densities.spread import SpreadStart
from numerics.densities.transformed import TransformedMixture

__all__ = [
    "TransformedMixture",
    "Chart",
    "FrozenDistribution",
    "GaussianPiece",
    "KernelMeasure",
    "Measure",
    "Moments",
    "PointMass",
    "SpreadStart",
    "as_scipy_distribution",
]
