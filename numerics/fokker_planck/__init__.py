r"""The forward (Fokker–Planck) equation on a grid: the law of a scalar diffusion where no closed form of it is known."""

from __future__ import annotations

from numerics.fokker_planck.density import GridMeasure, SolvedDistribution
from numerics.fokker_planck.solve import StartingDensity, solve_fokker_planck

__all__ = ["GridMeasure", "SolvedDistribution", "StartingDensity", "solve_fokker_planck"]
