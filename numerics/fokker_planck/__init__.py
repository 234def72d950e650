r"""The forward (Fokker–Planck) equation on a grid: the law of one state, or of two, where no closed form of it is known."""

from __future__ import annotations

from numerics.fokker_planck.density import GridMeasure, SolvedDistribution
from numerics.fokker_planck.plane_density import PlaneDistribution
from numerics.fokker_planck.solve import StartingDensity, solve_fokker_planck

__all__ = ["GridMeasure", "PlaneDistribution", "SolvedDistribution", "StartingDensity", "solve_fokker_planck"]
