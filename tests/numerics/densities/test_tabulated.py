"""Densities at very many points, which are polynomials between some of them, against the same density a few points at a time."""

from __future__ import annotations

import numpy as np

from derivations import ResNet, derive, gelu
from numerics import distribution
from numerics.densities import tabulated


def off(points):
    """By how much the polynomials are off, of the largest density."""
    law = distribution(derive(ResNet(gelu, width=1)), x0=0.7, t=0.5)
    few = np.concatenate([law.pdf(part) for part in np.array_split(points, 20)])
    return np.max(np.abs(law.pdf(points) - few)) / few.max()


def test_many_points_have_the_density_of_few(monkeypatch):
    points = np.linspace(-3, 4, 2 * tabulated.MANY + 1)
    assert off(points) < 2e-8
    monkeypatch.setattr(tabulated, "_CLOSE", 0.1)
    assert off(points) > 1e-6  # the control: polynomials that need not be close
